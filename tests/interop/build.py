"""The host programs, built with the Go toolchain, whose own cache knows what has changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def built(cache: Path, folder: Path) -> Path:
    """The program of a folder. Skips where there is no Go on PATH, or where it can't get the modules; says which."""
    if shutil.which("go") is None:
        pytest.skip("there is no go on PATH")
    listed = _go(folder, "list", "-mod=readonly", "-deps", ".")
    if listed.returncode:
        pytest.skip(f"go can't get the modules of {folder.name}: {listed.stderr.strip()}")
    program = cache / folder.name
    made = _go(folder, "build", "-mod=readonly", "-o", str(program), ".")
    assert made.returncode == 0, made.stderr
    return program


def _go(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["go", *arguments], cwd=folder, capture_output=True, text=True, check=False)
