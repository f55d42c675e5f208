"""Builds the contenders that are not Python, in a folder of their own. Each says why when it can't be had."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / ".venv-bench" / "native"
DEBIAN = BUILD / "debian"
HEADERS = tuple(
    folder / "nats/version.h" for folder in (Path("/usr/include"), Path("/usr/local/include"), DEBIAN / "usr/include")
)
C_PROGRAM, GO_PROGRAM = BUILD / "consume", BUILD / "consume-go"
_WITHIN = 300.0


class _BuildError(Exception):
    pass


def build_c() -> str:
    """Build the C contender against libnats: the installed one, else Debian's, unpacked without installing it.

    Returns:
        Why it can't be had; empty when it is there.
    """
    source = HERE / "consume.c"
    try:
        if _older(C_PROGRAM, source):
            if not any(header.exists() for header in HEADERS):
                _unpack_debian(DEBIAN)
            folders = [str(path) for path in (DEBIAN / "usr/lib").glob("*-linux-gnu")]
            where = [part for folder in folders for part in (f"-L{folder}", f"-Wl,-rpath,{folder},--disable-new-dtags")]
            include = f"-I{DEBIAN / 'usr/include'}"
            _run(["gcc", "-O2", "-Wall", include, str(source), "-o", str(C_PROGRAM), *where, "-lnats"], HERE)
    except _BuildError as error:
        return str(error)
    return ""


def build_go() -> str:
    """Build the Go contender.

    Returns:
        Why it can't be had; empty when it is there.
    """
    folder = HERE / "go"
    try:
        if any(_older(GO_PROGRAM, folder / name) for name in ("main.go", "go.mod", "go.sum")):
            _run(["go", "build", "-o", str(GO_PROGRAM), "."], folder)
    except _BuildError as error:
        return str(error)
    return ""


def libnats_version() -> str:
    """The version that the C contender is built with; empty without it."""
    header = next((header for header in HEADERS if header.exists()), None)
    found = re.search(r'NATS_VERSION_STRING\s+"(.+)"', header.read_text()) if header else None
    return found[1] if found else ""


def _unpack_debian(root: Path) -> None:
    """libnats-dev and what it needs that is not installed."""
    packages = BUILD / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    needs = _run(["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "libnats-dev"], packages)
    names = sorted(set(re.findall(r"^(libnats\S*|libprotobuf-c\d+|libsodium\d+)$", needs, re.MULTILINE)))
    if not names:
        raise _BuildError("apt knows no libnats-dev; install libnats with its headers, or run `apt-get update`")
    _run(["apt-get", "download", *names], packages)
    for package in packages.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(root)], packages)


def _older(target: Path, source: Path) -> bool:
    return not target.exists() or target.stat().st_mtime < source.stat().st_mtime


def _run(command: Sequence[str], folder: Path) -> str:
    """Run it; its output."""
    if not shutil.which(command[0]):
        raise _BuildError(f"{command[0]} is not installed")
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_WITHIN, check=False)
    except subprocess.TimeoutExpired:
        raise _BuildError(f"{' '.join(command[:2])} took longer than {_WITHIN:g} s") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise _BuildError(f"{' '.join(command[:2])} failed: {last}")
    return done.stdout
