"""Clean stops: nothing is lost, nothing is doubled, and who comes next is served at once."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import Any

import pytest

from eventbus_runtime.testing.server import NatsServer
from tests.chaos.proxy import Proxy
from tests.chaos.scene import Scene, running, until
from tests.triggers.live import Observer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


@pytest.mark.core
async def test_a_clean_stop_amid_load_and_a_successor_double_nothing(scene: Scene) -> None:
    """Each stop finds some 60 handlers at work, which take longer than what the stop itself has to wait for."""
    worker = await scene.worker("0", work=0.6)
    async with scene.feed(rate=100):
        for number in range(1, 4):
            await scene.more(100)
            worker.signal(signal.SIGTERM)
            successor = await scene.worker(str(number), work=0.6)
            assert await asyncio.to_thread(worker.wait) == 0
            worker = successor
        await scene.more(100)
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_three_clean_stops_with_one_attempt_and_unstarted_deliveries_dead_letter_none(
    scene: Scene, server: NatsServer
) -> None:
    """A delivery that was handed back counts, though nobody has tried it. On a line this slow, some come that late."""
    async with Proxy(server.port) as proxy, Observer(server.url) as observer, scene.feed(rate=200):
        for number in range(3):
            worker = await scene.worker(str(number), url=proxy.url, trigger="attempts = 1")
            proxy.delay = 0.4
            await scene.more(60)
            assert await scene.stop(worker) == 0
            proxy.mend()
        await observer.flush()
        handed_back = sum(words == [b"-NAK"] for words in observer.settlements().values())
    await scene.worker("last", trigger="attempts = 1")
    await scene.drained()
    scene.notes.append(f"{handed_back} unstarted deliveries handed back")
    assert handed_back > 0
    balance = await scene.close()
    assert (balance.left, balance.dead_lettered) == (0, 0)


@pytest.mark.core
@pytest.mark.timed
async def test_after_a_sigterm_amid_a_30_s_pull_a_successor_gets_the_next_messages_inside_1_s(scene: Scene) -> None:
    first = await scene.worker("first")
    await scene.publish(10)
    await scene.drained()
    first.signal(signal.SIGTERM)
    await asyncio.sleep(0.1)
    second = await scene.worker("second", wait=False)
    await scene.publish(20)
    await running(second)
    began = time.monotonic()
    await scene.publish(20)
    await until(lambda: scene.ledger.runs == 50, "all are handled")
    took = max(run.ended for run in scene.ledger.history()) - began
    scene.notes.append(f"all handled {1000 * took:.0f} ms after the successor's start")
    assert took < 1
    assert await asyncio.to_thread(first.wait) == 0
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_a_second_instance_shares_fairly(scene: Scene) -> None:
    """Ten messages of 2.8 s, one in flight in each, the second one started 1 s after the first."""
    parts: dict[str, Any] = {"in_flight": 1, "work": 2.8}
    await scene.worker("first", **parts)
    await scene.publish(10)
    await asyncio.sleep(1)  # the scenario
    await scene.worker("second", **parts)
    await scene.drained()
    shares = Counter(run.worker for run in scene.ledger.history())
    delivered = (await scene.bus.api("CONSUMER.INFO.WORK.work"))["delivered"]["consumer_seq"]
    scene.notes.append(f"shared {'/'.join(map(str, sorted(shares.values())))} in {delivered} deliveries")
    assert sorted(shares.values()) in ([5, 5], [4, 6])
    assert delivered == 10
    await scene.close()
