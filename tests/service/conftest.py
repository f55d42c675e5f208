"""A plain connection beside the workers: it publishes, and asks the server what is so."""

from __future__ import annotations

from collections.abc import AsyncIterator

import nats
import pytest_asyncio
from nats.aio.client import Client
from nats.js import JetStreamContext

from eventbus_runtime.testing.server import NatsServer


@pytest_asyncio.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    """A nats-py connection to the test's server."""
    client = await nats.connect(server.url)
    yield client
    await client.close()


@pytest_asyncio.fixture
async def js(client: Client) -> JetStreamContext:
    """Its JetStream context."""
    return client.jetstream()
