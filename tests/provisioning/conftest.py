"""A real server, and a bus on it. EVENTBUS_TEST_SERVERS names more nats-server binaries to run all of this on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.testing.server import NatsServer
from tests.config.project import Project
from tests.provisioning.planned import Site

BINARIES = [None, *(Path(path) for path in os.environ.get("EVENTBUS_TEST_SERVERS", "").split(os.pathsep) if path)]


@pytest.fixture(params=BINARIES, ids=lambda binary: str(binary or "present"))
def server(request: pytest.FixtureRequest) -> Iterator[NatsServer]:
    with NatsServer(binary=request.param) as running:
        yield running


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[NatsBus]:
    async with NatsBus("main", BusConfig(), urls=[server.url]) as connected:
        await connected.wait_connected()
        yield connected


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: NatsServer, bus: NatsBus) -> Site:
    """A folder with a file, and an empty server."""
    monkeypatch.chdir(tmp_path)
    return Site(Project(tmp_path), bus, server.url)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)
