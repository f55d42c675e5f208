"""The programs of both sides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.build import built

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Path:
    """Where host programs are kept from one session to the next."""
    return Path(request.config.cache.mkdir("interop"))


@pytest.fixture(scope="session")
def goplugin(programs: Path) -> Path:
    """The host on the go-plugin library."""
    return built(programs, HERE / "goplugin")


@pytest.fixture(scope="session")
def workflow(programs: Path) -> Path:
    """The host on the engine's own package; some hundred packages, a minute or two when Go's cache is cold."""
    return built(programs, HERE / "workflow")


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
