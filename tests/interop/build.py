"""The host programs, built with the Go toolchain, whose own cache knows what has changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = "EVENTBUS_WORKFLOW_SOURCE"
_OWNER = "github.com/GoCodeAlone/"


def goplugin(cache: Path) -> Path:
    """The host on the go-plugin library. Skips where there is no Go, or where its modules can't be had."""
    return _built(cache / "goplugin", HERE, "./goplugin")


def workflow(cache: Path) -> Path:
    """The host on the engine's own package.

    The modules of the engine's owner come from the module proxy; where that has them not, from below the folder that
    EVENTBUS_WORKFLOW_SOURCE names: a checkout of each, or a `go.mod` alone for one that is required but never compiled.
    Skips where they can't be had.
    """
    source = os.environ.get(SOURCE)
    modules = _modules(Path(source)) if source else {}
    replaced = "".join(f'replace {name} => "{folder}"\n' for name, folder in sorted(modules.items()))
    module = cache / "workflow.mod"
    module.write_text((HERE / "workflow/go.mod").read_text() + replaced)
    sums = module.with_suffix(".sum")
    if (engine := modules.get(f"{_OWNER}workflow")) and not sums.exists():
        shutil.copy(engine / "go.sum", sums)
    return _built(cache / "workflow", HERE / "workflow", ".", "-mod=mod", f"-modfile={module}")


def _modules(source: Path) -> dict[str, Path]:
    """The modules of the engine's owner below a folder, by name; the first found of each."""
    found: dict[str, Path] = {}
    for path in sorted(source.resolve().rglob("go.mod"), key=lambda path: len(path.parts)):
        named = re.match(rf"module ({_OWNER}\S+)", path.read_text())
        if named:
            found.setdefault(named[1], path.parent)
    return found


def _built(program: Path, folder: Path, package: str, *flags: str) -> Path:
    if shutil.which("go") is None:
        pytest.skip("there is no go on PATH")
    listed = _go(folder, "list", *flags, "-deps", package)
    if listed.returncode:
        pytest.skip(f"the modules of {program.name} can't be had: {listed.stderr.strip()}")
    built = _go(folder, "build", *flags, "-o", str(program), package)
    assert built.returncode == 0, built.stderr
    return program


def _go(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["go", *arguments], cwd=folder, capture_output=True, text=True, check=False)
