"""Fetching while the consumer's leader changes, on three real nodes (S-31)."""

from __future__ import annotations

import asyncio

import pytest

from eventbus_runtime.errors import BusError, PublishError
from eventbus_runtime.message import Message
from eventbus_runtime.triggers.fetch import Fetcher
from tests.cluster import cluster_of_three, consumer_leader
from tests.triggers.live import connected, make_consumer, make_stream, until
from tests.triggers.test_fetch import is_waiting

pytestmark = pytest.mark.seed("S-31")


async def test_a_change_of_leaders_costs_a_waiting_caller_nothing() -> None:
    """Its request dies with the old leader; within its time it asks the new one."""
    async with cluster_of_three() as cluster, connected(next(iter(cluster.nodes.values())).url) as bus:
        await make_stream(bus, num_replicas=3)
        await make_consumer(bus)
        fetcher = Fetcher(bus, "S", "c")
        fetched = asyncio.create_task(fetcher.fetch(3, 60.0))
        await until(lambda: is_waiting(bus))
        before = await consumer_leader(bus)
        await bus.api("CONSUMER.LEADER.STEPDOWN.S.c")

        async def has_another() -> bool:
            return await consumer_leader(bus) != before

        await until(has_another, within=20.0)
        for number in range(3):
            await bus.publish("s.a", b"%d" % number)
        raws = await fetched
        assert [Message(raw).payload for raw in raws] == [b"0", b"1", b"2"]
        await fetcher.close()


async def test_the_loss_of_the_leader_itself_too() -> None:
    async with cluster_of_three() as cluster:
        async with connected(next(iter(cluster.nodes.values())).url) as bus:
            await make_stream(bus, num_replicas=3)
            await make_consumer(bus)
            leader = await consumer_leader(bus)
        async with connected(cluster.others(leader)[0].url) as bus:
            fetcher = Fetcher(bus, "S", "c")
            fetched = asyncio.create_task(fetcher.fetch(1, 60.0))
            await until(lambda: is_waiting(bus))
            cluster.nodes[leader].kill()

            async def is_stored() -> bool:
                try:
                    return (await bus.publish("s.a", b"late", id="1")).sequence > 0
                except (BusError, PublishError):
                    return False

            await until(is_stored, within=30.0)
            (raw,) = await fetched
            assert raw[2] == b"late"
            await fetcher.close()
