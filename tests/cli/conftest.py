"""A server, and a configuration whose triggers have dead letters on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.testing.server import NatsServer
from tests.cli.dead_letters import CONFIG, make_streams
from tests.triggers.live import connected


@pytest.fixture
def file(server: NatsServer, tmp_path: Path) -> Path:
    """The configuration."""
    path = tmp_path / "app.toml"
    path.write_text(CONFIG.format(url=server.url))
    return path


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[NatsBus]:
    """A connection beside the command's, on a server with the streams ORDERS and DEAD, both empty."""
    async with connected(server.url) as bus:
        await make_streams(bus)
        yield bus
