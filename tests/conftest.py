"""Real servers for all tests."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from eventbus_runtime.testing.server import NatsServer

MakeServer = Callable[..., NatsServer]


@pytest.fixture(autouse=True)
def _paths_restored() -> Iterator[None]:
    """Loading a configuration makes its folder importable: the next test must not find this one's `handlers`."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    importlib.invalidate_caches()


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
