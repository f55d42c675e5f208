"""Which server the suite is held against: the one of the origin's gates, else one of our own (S-70)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from eventbus_runtime.testing.server import NatsServer

PROVIDER, END_TO_END = "INTEGRATION_NATS_DO", "INTEGRATION_NATS"
_DEFAULT = "nats://127.0.0.1:4222"


def gated(gate: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The address of a server that runs already, where the gate is open (`=1`); None: one is to be started."""
    return environ.get("NATS_URL") or _DEFAULT if environ.get(gate) == "1" else None


@contextmanager
def server_of(gate: str) -> Iterator[str]:
    """The address of the server that the gate chooses, until the block ends."""
    if uri := gated(gate):
        yield uri
        return
    with NatsServer() as server:
        yield server.url
