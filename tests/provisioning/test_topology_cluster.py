"""Replicated streams on a cluster of three, where answers depend on elections."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.provisioning.dead_letters import check_dead_letter, dead_letter_stream
from eventbus_runtime.provisioning.topology import Changed, ensure_consumer, ensure_stream
from tests.cluster import cluster_of_three, meta_leader, once_complete
from tests.provisioning.conftest import BINARIES

ORDERS = StreamConfig(subjects=("orders.>",), num_replicas=3)


@pytest.fixture(params=BINARIES, ids=lambda binary: str(binary or "present"))
async def buses(request: pytest.FixtureRequest) -> AsyncIterator[list[NatsBus]]:
    """A bus to each server of a cluster that has a leader."""
    async with cluster_of_three(request.param) as cluster, AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(NatsBus("main", BusConfig(), urls=[node.url]))
            for node in cluster.nodes.values()
        ]
        for bus in found:
            await bus.wait_connected()
        yield found


async def test_processes_that_start_at_once_all_get_their_stream_and_consumer(buses: list[NatsBus]) -> None:
    made = await asyncio.gather(*(once_complete(partial(ensure_stream, bus, "ORDERS", ORDERS)) for bus in buses))
    assert Changed.UPDATED not in made
    billing = ConsumerConfig(stream="ORDERS", max_ack_pending=5)
    made = await asyncio.gather(*(once_complete(partial(ensure_consumer, bus, "billing", billing)) for bus in buses))
    assert Changed.UPDATED not in made
    assert await ensure_stream(buses[0], "ORDERS", ORDERS) is Changed.UNCHANGED
    assert await ensure_consumer(buses[1], "billing", billing) is Changed.UNCHANGED


async def test_dead_letters_are_as_replicated_as_their_origin(buses: list[NatsBus]) -> None:
    bus = buses[0]
    await once_complete(partial(ensure_stream, bus, "ORDERS", ORDERS))
    name, warnings = await check_dead_letter(
        bus,
        trigger="billing",
        subject="dead.billing",
        stream="ORDERS",
        filter_subjects=(),
        ack_wait=30.0,
        longest_delay=30.0,
        declared=dead_letter_stream("billing", "dead.billing", 30.0, 30.0),
        note=lambda what, changed: None,
    )
    assert (name, warnings) == ("DEAD_BILLING", [])
    assert (await bus.api("STREAM.INFO.DEAD_BILLING"))["config"]["num_replicas"] == 3


@pytest.mark.parametrize("binary", BINARIES, ids=lambda binary: str(binary or "present"))
async def test_streams_whose_first_leader_is_away_are_created_once_another_is_elected(binary: Path | None) -> None:
    """Such an election takes 4 to 9 s, and nobody answers before. Of 20 streams some 7 are to be led by the one that
    is away, which nobody knows of yet."""
    async with cluster_of_three(binary) as cluster:
        leader = await meta_leader(cluster.monitors["n1"])
        away = cluster.others(leader)[0]
        async with NatsBus("main", BusConfig(), urls=[cluster.nodes[leader].url]) as bus:
            await bus.wait_connected()
            away.send_signal(signal.SIGSTOP)
            try:
                streams = {f"S{number}": StreamConfig(subjects=(f"s{number}",), num_replicas=3) for number in range(20)}
                made = await asyncio.gather(*(ensure_stream(bus, name, each) for name, each in streams.items()))
            finally:
                away.send_signal(signal.SIGCONT)
    assert made == [Changed.CREATED] * 20
