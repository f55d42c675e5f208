"""Replicated streams on a cluster of three, where answers depend on elections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.errors import BusUnavailableError
from eventbus_runtime.provisioning.dead_letters import check_dead_letter, dead_letter_stream
from eventbus_runtime.provisioning.topology import Changed, ensure_consumer, ensure_stream
from eventbus_runtime.testing.server import NatsServer, free_port
from tests.provisioning.conftest import BINARIES

ORDERS = StreamConfig(subjects=("orders.>",), num_replicas=3)


@pytest.fixture(params=BINARIES, ids=lambda binary: str(binary or "present"))
async def buses(request: pytest.FixtureRequest) -> AsyncIterator[list[NatsBus]]:
    """A bus to each server of a cluster that has a leader."""
    binary: Path | None = request.param
    ports = [free_port() for _ in range(3)]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    async with AsyncExitStack() as stack:
        found = []
        for port in ports:
            cluster = f'cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{routes}] }}'
            node = NatsServer(f"server_name: n{port}\n{cluster}", binary=binary)
            stack.callback(node.remove)
            await asyncio.to_thread(node.start)
            found.append(await stack.enter_async_context(NatsBus("main", BusConfig(), urls=[node.url])))
        async with asyncio.timeout(30):
            for bus in found:
                await bus.wait_connected()
            while not await has_leader(found[0]):
                pass
        yield found


async def has_leader(bus: NatsBus) -> bool:
    try:
        await bus.api("STREAM.NAMES", timeout=0.3)
    except BusUnavailableError:
        return False
    return True


async def test_processes_that_start_at_once_all_get_their_stream_and_consumer(buses: list[NatsBus]) -> None:
    made = await asyncio.gather(*(ensure_stream(bus, "ORDERS", ORDERS) for bus in buses))
    assert Changed.UPDATED not in made
    billing = ConsumerConfig(stream="ORDERS", max_ack_pending=5)
    made = await asyncio.gather(*(ensure_consumer(bus, "billing", billing) for bus in buses))
    assert Changed.UPDATED not in made
    assert await ensure_stream(buses[0], "ORDERS", ORDERS) is Changed.UNCHANGED
    assert await ensure_consumer(buses[1], "billing", billing) is Changed.UNCHANGED


async def test_dead_letters_are_as_replicated_as_their_origin(buses: list[NatsBus]) -> None:
    bus = buses[0]
    await ensure_stream(bus, "ORDERS", ORDERS)
    name, warnings = await check_dead_letter(
        bus,
        trigger="billing",
        subject="dead.billing",
        stream="ORDERS",
        filter_subjects=(),
        ack_wait=30.0,
        longest_delay=30.0,
        declared=dead_letter_stream("billing", "dead.billing", 30.0, 30.0),
    )
    assert (name, warnings) == ("DEAD_BILLING", [])
    assert (await bus.api("STREAM.INFO.DEAD_BILLING"))["config"]["num_replicas"] == 3
