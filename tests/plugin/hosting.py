"""A plugin process as its host sees it, and the server from outside."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.contracts import (
    ClusterConfig,
    ConsumerConfig,
    Message,
    PublishRequest,
    PublishResponse,
    StreamConfig,
)
from eventbus_runtime.plugin.client import PluginProcess
from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.plugin.handshake import COOKIE
from eventbus_runtime.plugin.host import Fired
from eventbus_runtime.plugin.messages import PLUGIN_SERVICE
from eventbus_runtime.testing.server import NatsServer
from tests.triggers.live import connected, until

BUS, STREAM, CONSUMER = "infra.eventbus", "infra.eventbus.stream", "infra.eventbus.consumer"
PUBLISH, CONSUME, ACK = "step.eventbus.publish", "step.eventbus.consume", "step.eventbus.ack"
SUBSCRIBE = "trigger.eventbus.subscribe"

COMMAND = (sys.executable, "-P", "-m", "eventbus_runtime.plugin")
NATS = ClusterConfig(provider="nats", deploy_target="kubernetes")
ORDERS = StreamConfig(name="ORDERS", subjects=("orders.>",))
BILLING = ConsumerConfig(name="billing", stream_name="ORDERS")


def variables(server: NatsServer | None = None, **more: str) -> dict[str, str]:
    """What a host gives a plugin: its own variables, without those of whoever runs the tests."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("EVENTBUS", "NATS_", "PLUGIN_"))}
    return own | {COOKIE[0]: COOKIE[1]} | ({"NATS_URL": server.url} if server else {}) | more


def unstarted(
    server: NatsServer | None = None, *, command: Sequence[str | Path] = COMMAND, **more: str
) -> PluginProcess:
    """A plugin process whose bus is `server`, not yet started."""
    return PluginProcess(command, environment={"NATS_URL": "", **variables(server, **more)})


@asynccontextmanager
async def plugin(
    server: NatsServer | None = None, *, command: Sequence[str | Path] = COMMAND, **more: str
) -> AsyncIterator[PluginProcess]:
    """The same, started; ended with the block, whatever happens."""
    async with unstarted(server, command=command, **more) as process:
        yield process


@asynccontextmanager
async def stocked(server: NatsServer) -> AsyncIterator[tuple[PluginProcess, NatsBus]]:
    """A plugin process with the bus `main`, the stream ORDERS and its consumer `billing`; a bystander."""
    async with plugin(server) as process, connected(server.url, name="outside") as outside:
        await process.run_module(BUS, "main", NATS)
        await process.run_module(STREAM, "orders", ORDERS)
        await process.run_module(CONSUMER, "billing", BILLING)
        yield process, outside


async def publish(process: PluginProcess, subject: str, payload: bytes = b"") -> PublishResponse:
    """Publish by a step of its own."""
    step = await process.create_step(PUBLISH, "publish")
    return await process.execute_step(step, PublishRequest(subject=subject, payload=payload), PublishResponse)


async def refused(call: Awaitable[Any]) -> str:
    """What the plugin says against a call."""
    try:
        await call
    except PluginError as error:
        return str(error)
    raise AssertionError("it was not refused")


def unary(process: PluginProcess, method: str) -> Callable[[bytes], Awaitable[bytes]]:
    """A method of the plugin's service, known or not, that takes and gives bytes."""
    assert process._channel is not None
    call: Any = process._channel.unary_unary(f"/{PLUGIN_SERVICE}/{method}")
    return cast("Callable[[bytes], Awaitable[bytes]]", call)


async def counts(outside: NatsBus, consumer: str = "billing") -> tuple[int, int, int]:
    """What the server says of a consumer of ORDERS: delivered, waiting for their acknowledgement, left to deliver."""
    info = await outside.api(f"CONSUMER.INFO.ORDERS.{consumer}")
    return info["delivered"]["stream_seq"], info["num_ack_pending"], info["num_pending"]


async def until_counts(outside: NatsBus, expected: tuple[int, int, int]) -> None:
    """Return once the server says so of `billing`; see `counts`."""

    async def reached() -> bool:
        return await counts(outside) == expected

    await until(reached)


async def alive(process: PluginProcess) -> bool:
    """Whether it still answers."""
    return process.returncode is None and await process.healthy() and bool((await process.manifest()).name)


class Workflow:
    """The host's workflow: notes what it was run for, and fails as often as it is told to."""

    def __init__(self, *, failures: int = 0) -> None:
        self.fired: list[Fired] = []
        self._failures = failures
        self._came = asyncio.Condition()

    async def __call__(self, fired: Fired) -> None:
        async with self._came:
            self.fired.append(fired)
            self._came.notify_all()
        if len(self.fired) <= self._failures:
            raise RuntimeError("the ledger is closed")

    async def wait(self, count: int, within: float = 10.0) -> list[Fired]:
        """What it was run for, once that was so often."""
        async with asyncio.timeout(within), self._came:
            await self._came.wait_for(lambda: len(self.fired) >= count)
        return self.fired

    def messages(self) -> list[Message]:
        """The messages that it was run for."""
        return [fired.message for fired in self.fired if fired.message is not None]
