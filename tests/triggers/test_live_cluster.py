"""A trigger on a cluster of three, where leaders move, and end on nodes that we are not connected to: nothing lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from eventbus_runtime.message import Message
from eventbus_runtime.testing.server import NatsServer
from tests.cluster import Cluster, cluster_of_three, consumer_leader
from tests.provisioning.conftest import BINARIES
from tests.triggers.live import connected, make_consumer, make_stream, running, until


@pytest.fixture(params=BINARIES, ids=lambda binary: str(binary or "present"))
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with cluster_of_three(request.param) as found:
        yield found


async def make_replicated(cluster: Cluster, *, ack_wait: float) -> str:
    """Make stream and consumer with three replicas; return the name of the node that leads the consumer."""
    async with connected(cluster.nodes["n1"].url) as bus:
        await make_stream(bus, num_replicas=3)
        await make_consumer(bus, ack_wait=ack_wait)
        return await consumer_leader(bus)


async def test_an_ack_wait_that_an_election_may_outlast_is_warned_about_once(cluster: Cluster) -> None:
    async def handler(message: Message) -> None:
        pass

    leader = await make_replicated(cluster, ack_wait=14.9)
    async with running(cluster.nodes[leader], handler, make=False) as live:
        await live.outside.api("CONSUMER.LEADER.STEPDOWN.S.c")
        await until(lambda: live.trigger.counters.pull_restarts > 0)
        await live.publish_stored(1)
        await until(live.drained, within=20)
        (warning,) = live.warnings()
        assert "3 replicas" in warning
        assert "14.9 s" in warning
        assert "ack_wait of 15 s" in warning


@pytest.mark.parametrize("settings", [{"ack_wait": 15.0}, {"ack_wait": 1.0, "num_replicas": 1}])
async def test_a_long_ack_wait_and_a_single_replica_are_not_warned_about(
    cluster: Cluster, settings: dict[str, Any]
) -> None:
    async def handler(message: Message) -> None:
        pass

    stream = {"num_replicas": 3}
    async with running(cluster.nodes["n1"], handler, stream=stream, consumer=settings) as live:
        await live.publish_stored(1)
        await until(live.drained)
        assert live.warnings() == []


async def test_a_leader_that_steps_down_under_load_costs_no_message_and_doubles_none(cluster: Cluster) -> None:
    """An ack to a leader that goes is lost in silence: the fence sends it again before the next pull."""
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        await asyncio.sleep(0.02)
        handled[message.sequence] += 1

    leader = await make_replicated(cluster, ack_wait=2.0)
    async with running(cluster.others(leader)[0], handler, make=False, max_in_flight=8) as live:
        await live.publish_stored(2000)
        for _ in range(3):
            before = await consumer_leader(live.outside)
            wanted = len(handled) + 100
            await live.outside.api("CONSUMER.LEADER.STEPDOWN.S.c")
            await until(lambda wanted=wanted: len(handled) >= wanted, within=15)  # type: ignore[misc]
            assert await consumer_leader(live.outside) != before
        await until(live.drained, within=20)
        assert handled == dict.fromkeys(range(1, 2001), 1)
        assert live.trigger.counters.pull_restarts < 10
        assert len(live.facts) < 20
        assert live.failures() == []


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill])
async def test_when_the_leaders_node_ends_it_goes_on_with_the_next_and_asks_seldom_meanwhile(
    cluster: Cluster, end: Callable[[NatsServer], None]
) -> None:
    """An election takes 4 to 9 s after a kill; a loop that asks on and on would send thousands of pulls."""
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        await asyncio.sleep(0.02)
        handled[message.sequence] += 1

    leader = await make_replicated(cluster, ack_wait=2.0)
    async with running(cluster.others(leader)[0], handler, make=False, max_in_flight=8) as live:
        await live.publish_stored(800)
        await until(lambda: len(handled) >= 100)
        counters = live.trigger.counters
        await asyncio.to_thread(end, cluster.nodes[leader])
        pulls, wanted = counters.pulls, counters.received + 20
        await until(lambda: counters.received >= wanted, within=30)
        assert counters.pulls - pulls < 60
        await until(live.drained, within=20)
        assert handled == dict.fromkeys(range(1, 801), 1)
        assert counters.pull_restarts < 10
        assert len(live.facts) < 20
        assert live.failures() == []


async def test_stopped_away_from_the_leader_it_leaves_the_rest_to_a_successor_on_another_node(cluster: Cluster) -> None:
    """What the leader had under way when we unsubscribed comes again after the ack_wait: none is handled twice."""
    started: Counter[int] = Counter()

    async def uneven(message: Message) -> None:
        started[message.sequence] += 1
        await asyncio.sleep(0.5 if message.sequence % 2 else 0.01)

    async def quick(message: Message) -> None:
        started[message.sequence] += 1

    leader = await make_replicated(cluster, ack_wait=4.0)
    there, elsewhere = cluster.others(leader)
    for published in (500, 1000, 1500):
        async with running(there, uneven, make=False, max_in_flight=64) as live:
            await live.publish_stored(500)
            await until(lambda live=live: live.trigger.counters.received > 100)  # type: ignore[misc]
            live.trigger.stop(5.0)
            async with running(elsewhere, quick, make=False) as successor:
                await until(live.ended.is_set)
                await until(successor.drained, within=15)
        assert live.trigger.cancelled == 0
        assert started == dict.fromkeys(range(1, published + 1), 1)
