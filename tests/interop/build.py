"""The host programs, built with the Go toolchain, whose own cache knows what has changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# Seconds: hundreds of modules may have to come over a slow line, and be compiled beside other tests.
_FETCH_WITHIN, _BUILD_WITHIN = 300, 600


def built(cache: Path, folder: Path) -> Path:
    """The program of a folder. Skips where there is no Go on PATH, or where it can't get the modules; says which."""
    if shutil.which("go") is None:
        pytest.skip("there is no go on PATH")
    try:
        listed = _go(folder, _FETCH_WITHIN, "list", "-mod=readonly", "-deps", ".")
    except subprocess.TimeoutExpired:
        pytest.skip(f"go did not get the modules of {folder.name} within {_FETCH_WITHIN} s")
    if listed.returncode:
        pytest.skip(f"go can't get the modules of {folder.name}: {listed.stderr.strip()}")
    program = cache / folder.name
    made = _go(folder, _BUILD_WITHIN, "build", "-mod=readonly", "-o", str(program), ".")
    assert made.returncode == 0, made.stderr
    return program


def _go(folder: Path, within: float, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["go", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=within)
