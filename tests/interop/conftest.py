"""The programs of both sides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop import build


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Path:
    """Where host programs are kept from one session to the next."""
    return Path(request.config.cache.mkdir("interop"))


@pytest.fixture(scope="session")
def goplugin(programs: Path) -> Path:
    """The host on the go-plugin library."""
    return build.goplugin(programs)


@pytest.fixture(scope="session")
def workflow(programs: Path) -> Path:
    """The host on the engine's own package."""
    return build.workflow(programs)


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A host's folder of plugins, with ours installed."""
    folder = tmp_path / "plugins"
    program = str(Path(sys.executable).with_name("eventbus-plugin"))
    subprocess.run([program, "install", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture
def launcher(plugins: Path) -> Path:
    """What a host starts."""
    return plugins / "workflow-plugin-eventbus" / "workflow-plugin-eventbus"
