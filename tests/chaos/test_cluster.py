"""A cluster of three with everything replicated: leaders move and die, a node is lost, and then the quorum."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from eventbus_runtime.errors import BusError
from eventbus_runtime.testing.server import NatsServer
from tests.chaos.scene import IN_FLIGHT, Scene, until
from tests.cluster import Cluster, cluster_of_three, consumer_leader

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]

REPLICATED = "num_replicas = 3"
LONG = 15.0
"""An `ack_wait` that outlasts an election."""


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with cluster_of_three() as made:
        yield made


@pytest_asyncio.fixture
async def scene(tmp_path: Path, cluster: Cluster, say: Callable[[str], None]) -> AsyncIterator[Scene]:
    """A scene on all three nodes, with two workers and their load."""
    async with Scene(tmp_path, [node.url for node in cluster.nodes.values()], say) as made:
        for name in ("one", "two"):
            await made.worker(name, stream=REPLICATED, ack_wait=LONG)
        yield made


async def leader(scene: Scene) -> str:
    return await consumer_leader(scene.bus, "WORK", "work")


async def groups(scene: Scene) -> list[dict[str, Any]]:
    """What the stream and its consumer say of their replicas; empty while they do not answer."""
    try:
        infos = [await scene.bus.api(of, timeout=1.0) for of in ("STREAM.INFO.WORK", "CONSUMER.INFO.WORK.work")]
    except BusError:
        return []
    return [info.get("cluster", {}) for info in infos]


async def until_whole(scene: Scene) -> None:
    """Wait until every replica of the stream and of its consumer has all that the others have."""

    async def is_whole() -> bool:
        peers = [group.get("replicas") or [] for group in await groups(scene)]
        return bool(peers) and all(len(each) == 2 and all(peer["current"] for peer in each) for each in peers)

    await until(is_whole, "all replicas are current", 60)


def longest_pause(scene: Scene, since: float) -> float:
    """Seconds between two messages that were handled one after the other, at most."""
    ends = sorted(run.ended for run in scene.ledger.history() if run.ended > since)
    return max(later - earlier for earlier, later in zip([since, *ends], ends, strict=False))


async def test_a_leader_that_steps_down_three_times_loses_nothing_and_doubles_nothing(scene: Scene) -> None:
    async with scene.feed():
        for _ in range(3):
            await scene.more(300)
            before = await leader(scene)
            await scene.bus.api("CONSUMER.LEADER.STEPDOWN.WORK.work")
            await scene.more(300)
            assert await leader(scene) != before
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_when_a_leaders_node_is_killed_its_group_answers_after_the_election(
    scene: Scene, cluster: Cluster
) -> None:
    """The new leader may hand out again, before the `ack_wait` is over, what it has no acks of; the workers know it."""
    async with scene.feed():
        for _ in range(2):
            await scene.more(300)
            before = await leader(scene)
            since = time.monotonic()
            await asyncio.to_thread(cluster.nodes[before].kill)
            elected = await until_elected(scene, before) - since
            await scene.more(1000, within=40)
            pause = longest_pause(scene, since)
            scene.notes.append(f"elected after {elected:.1f} s, answered after {pause:.1f} s")
            assert pause < elected + 3
            await asyncio.to_thread(cluster.nodes[before].start)
            await until_whole(scene)
    await scene.drained()
    assert (await scene.close()).left == 0


async def until_elected(scene: Scene, before: str) -> float:
    """When, by the monotonic clock, the stream and the consumer both had another leader."""

    async def elected() -> bool:
        leaders = {group.get("leader") for group in await groups(scene)}
        return bool(leaders) and not leaders & {before, None}

    await until(elected, "stream and consumer have another leader")
    return time.monotonic()


async def test_a_follower_that_is_lost_and_comes_back_holds_up_nothing(scene: Scene, cluster: Cluster) -> None:
    """The stream's leader and the consumer's are others; clients of that node go to one of them."""
    async with scene.feed():
        await scene.more(300)
        stream = (await scene.bus.api("STREAM.INFO.WORK"))["cluster"]["leader"]
        leaders = {stream, await leader(scene)}
        follower = next(name for name in cluster.nodes if name not in leaders)
        since = time.monotonic()
        await asyncio.to_thread(cluster.nodes[follower].kill)
        await scene.more(1000)
        pause = longest_pause(scene, since)
        scene.notes.append(f"longest pause {pause:.1f} s")
        assert pause < 3
        await asyncio.to_thread(cluster.nodes[follower].start)
        await until_whole(scene)
        await scene.more(300)
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_a_quorum_that_is_lost_and_comes_back_loses_nothing(scene: Scene, cluster: Cluster) -> None:
    """Without acks for about as long as the `ack_wait`, what one worker has handled may come to the other."""
    async with scene.feed():
        await scene.more(300)
        name = await leader(scene)
        lost = [cluster.nodes[name], cluster.others(name)[0]]
        with scene.ledger.disturbance("quorum lost", doubles=2 * IN_FLIGHT):
            for node in lost:
                await asyncio.to_thread(node.kill)
            await asyncio.sleep(8)  # the scenario: nothing can be stored or settled for so long
            for node in lost:
                await asyncio.to_thread(node.start)
            await scene.more(1000, within=60)
        await until_whole(scene)
    await scene.drained(60)
    assert (await scene.close()).left == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGUSR2], ids=["stopped", "lame duck"])
async def test_nodes_that_are_restarted_one_by_one_lose_nothing_and_double_nothing(
    scene: Scene, cluster: Cluster, how: signal.Signals
) -> None:
    """As an update of the servers does it: each node hands over its leaders before it goes."""
    async with scene.feed():
        for node in cluster.nodes.values():
            await scene.more(300)
            await asyncio.to_thread(end, node, how)
            await asyncio.to_thread(node.start)
            await until_whole(scene)
        await scene.more(300)
    await scene.drained()
    assert (await scene.close()).left == 0


def end(node: NatsServer, how: signal.Signals) -> None:
    """Signal a node, and wait for its end."""
    leaving = psutil.Process(node.pid)
    node.send_signal(how)
    leaving.wait(60)
    node.kill()
