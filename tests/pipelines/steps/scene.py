"""A configuration whose pipelines have steps, run on a real server, and what the server says of it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from eventbus_runtime import Runtime
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.events import DeliveryFailed, Fact
from eventbus_runtime.testing.server import NatsServer
from tests.triggers.live import connected, until

CONFIG = """
    [buses.main]
    url = "{url}"
    [streams.ORDERS]
    subjects = ["orders.>"]
    [streams.OUT]
    subjects = ["out.>"]
    [consumers.rest]
    stream = "OUT"
    [triggers.work]
    stream = "ORDERS"
    retry = {{ delays = ["1h"], jitter = 0 }}
"""
"""What a test adds stands in `[triggers.work]`, up to the next table."""


class Facts(list[Fact]):
    """A listener that remembers."""

    def on_fact(self, fact: Fact) -> None:
        self.append(fact)


class Scene:
    """A running configuration, and a connection beside it."""

    def __init__(self, runtime: Runtime, outside: NatsBus, facts: Facts) -> None:
        self.runtime, self.outside, self.facts = runtime, outside, facts

    async def publish(self, payload: bytes = b"{}", headers: dict[str, str] | None = None) -> None:
        """One order."""
        await self.outside.publish("orders.created", payload, headers or {})

    async def info(self, stream: str = "ORDERS", consumer: str = "work") -> dict[str, Any]:
        """What the server says of a consumer."""
        return await self.outside.api(f"CONSUMER.INFO.{stream}.{consumer}")

    async def settled(self, count: int = 1) -> None:
        """Return once the server has the acks of so many orders."""

        async def reached() -> bool:
            return bool((await self.info())["ack_floor"]["stream_seq"] >= count)

        await until(reached)

    async def failed(self) -> DeliveryFailed:
        """The first delivery that did not end well, once there is one."""
        found: list[DeliveryFailed] = []

        def is_told() -> bool:
            found.extend(fact for fact in self.facts if isinstance(fact, DeliveryFailed))
            return bool(found)

        await until(is_told)
        return found[0]

    async def stored(self, sequence: int = 1, stream: str = "OUT") -> tuple[str, bytes, bytes]:
        """Subject, payload and header block of a stored message."""
        message = (await self.outside.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence}))["message"]
        decode = base64.b64decode
        return message["subject"], decode(message.get("data", "")), decode(message.get("hdrs", ""))

    async def count(self, stream: str = "OUT") -> int:
        """How many messages a stream holds."""
        return int((await self.outside.api(f"STREAM.INFO.{stream}"))["state"]["messages"])


def order(**fields: Any) -> bytes:
    """An order as JSON."""
    return json.dumps(fields).encode()


@asynccontextmanager
async def running(server: NatsServer, folder: Path, tables: str, handlers: str = "") -> AsyncIterator[Scene]:
    """Run `CONFIG` with these tables beside handlers.py, until the block ends.

    Args:
        server: where.
        folder: an empty one.
        tables: keys of `[triggers.work]`, then other tables.
        handlers: the user's code.
    """
    (folder / "handlers.py").write_text(dedent(handlers))
    path = folder / "app.toml"
    path.write_text(dedent(CONFIG.format(url=server.url)) + dedent(tables))
    facts = Facts()
    async with connected(server.url, name="outside") as outside, Runtime.from_file(path, listeners=[facts]) as runtime:
        await until(lambda: not runtime.unready())
        yield Scene(runtime, outside, facts)
