"""Real servers for all tests."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from eventbus_runtime.pipelines import registry
from eventbus_runtime.testing.server import NatsServer

MakeServer = Callable[..., NatsServer]


@pytest.fixture(autouse=True)
def _process_restored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Loading a configuration makes its folder importable, imports modules of it, and these register pipelines: the
    next test must find no `handlers` of this one, by path, by module or by registration."""
    paths, modules, registered = list(sys.path), set(sys.modules), len(registry._registrations)
    yield
    sys.path[:] = paths
    importlib.invalidate_caches()
    temporary = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(temporary):
            del sys.modules[name]
    del registry._registrations[registered:]


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
