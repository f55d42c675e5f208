"""Real servers for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from eventbus_runtime.testing.server import NatsServer

MakeServer = Callable[..., NatsServer]


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Start servers with the arguments of `NatsServer`; all are removed after the test."""
    with ExitStack() as stack:

        def make(config: str = "", *, jetstream: bool = True) -> NatsServer:
            return stack.enter_context(NatsServer(config, jetstream=jetstream))

        yield make


@pytest.fixture
def server(make_server: MakeServer) -> NatsServer:
    """A server with JetStream and nothing in it."""
    return make_server()
