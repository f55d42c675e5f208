"""What imports what: the layers, and how little `eventbus-run` loads before it works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Start-up is a feature: each other name here costs every start of every worker.
ALLOWED = {
    "annotated_types",
    "anyio",
    "dotenv",
    "eventbus_runtime",
    "nats",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "structlog",
    "typing_extensions",
    "typing_inspection",
    "uvloop",
}


def surplus(import_log: str) -> set[str]:
    """Top-level names in the output of `-X importtime` that are neither allowed, nor of the standard library."""
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in import_log.splitlines() if "|" in line}
    ours = {name for name in names if name not in sys.stdlib_module_names and not name.startswith("_sysconfigdata")}
    return ours - ALLOWED - made_by_the_interpreter(ours)


def made_by_the_interpreter(names: Iterable[str]) -> set[str]:
    """The log's heading, Cython's module of shared types, the main module and the demo's handlers."""
    return {
        name for name in names if name.startswith(("imported package", "_cython_", "cython_runtime", "demo_handlers"))
    }


def without_coverage() -> dict[str, str]:
    """Our environment, without what would load coverage's tracer into the child."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@pytest.mark.parametrize("arguments", [["--check"], []], ids=["checked", "run for a second"])
def test_eventbus_run_imports_nothing_that_it_does_not_need(arguments: list[str], tmp_path: Path) -> None:
    for name in ("demo.toml", "demo_handlers.py"):
        shutil.copy(ROOT / "config" / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "eventbus_runtime.cli.run", *arguments, "demo.toml"],
        cwd=tmp_path,
        env=without_coverage() | {"DEMO_SECONDS": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    log = "\n".join(line for line in done.stderr.splitlines() if line.startswith("import time:"))
    assert "eventbus_runtime" in log
    assert surplus(log) == set()


def test_a_surplus_import_is_found() -> None:
    log = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   json.decoder
import time:       100 |        100 |     rich.console
import time:       100 |        100 | structlog._config
"""
    assert surplus(log) == {"rich"}


def test_the_layers_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout


def test_every_module_has_a_layer() -> None:
    package = ROOT / "eventbus_runtime"
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    placed = {name.strip(" ()") for layer in contract["layers"] for name in layer.split(":")}
    modules = {path.relative_to(package).with_suffix("").parts for path in package.rglob("[!_]*.py")}
    without = {module for module in modules if not placed & {".".join(module[:1]), ".".join(module)}}
    assert without == set()
