"""Streams that are full and refuse what is new: it waits where it is."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.scene import Scene, running, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(90)]

RETRY = 'retry = { delays = ["200ms"] }'
DEAD = """
[streams.DEAD]
subjects = ["dead.>"]
max_msgs = 10
discard = "new"
"""
SECOND = """
[triggers.second]
stream = "WORK"
filter_subjects = ["work.b"]
pipeline = "work"
dead_letter = "dead.work"
"""


async def set_limit(scene: Scene, stream: str, messages: int) -> None:
    """As an operator raises it."""
    config = (await scene.bus.api(f"STREAM.INFO.{stream}"))["config"]
    await scene.bus.api(f"STREAM.UPDATE.{stream}", {**config, "max_msgs": messages})


async def stored(scene: Scene, stream: str) -> int:
    return int((await scene.bus.api(f"STREAM.INFO.{stream}"))["state"]["messages"])


async def test_what_a_full_dead_letter_stream_refuses_stays_until_there_is_room(scene: Scene) -> None:
    await scene.worker(trigger=RETRY, more=DEAD)
    await scene.publish(30, "reject")
    await scene.publish(100)
    await until(lambda: scene.ledger.runs == 100, "the good ones are handled all the same")
    await until(lambda: is_stored(scene, "DEAD", 10), "the dead-letter stream is full")
    await asyncio.sleep(1)  # the scenario: several tries
    info = await scene.bus.api("CONSUMER.INFO.WORK.work")
    assert info["num_ack_pending"] == 20
    await set_limit(scene, "DEAD", 1000)
    await scene.drained()
    balance = await scene.close(dead="DEAD")
    assert (balance.handled, balance.dead_lettered, balance.left) == (100, 30, 0)


async def is_stored(scene: Scene, stream: str, messages: int) -> bool:
    return await stored(scene, stream) == messages


async def test_handlers_that_publish_into_their_own_full_stream_lose_nothing(scene: Scene) -> None:
    """Each of the first ones is to publish a second one, and there is no room until an operator makes some."""
    worker = await scene.worker(
        stream='retention = "workqueue"\nmax_msgs = 60\ndiscard = "new"',
        consumer='filter_subjects = ["work.a"]',
        trigger=f"{RETRY}\nattempts = 1000",
        more=SECOND,
    )
    assert await scene.stop(worker) == 0
    for _ in range(60):
        second = scene.ledger.next()
        first = await scene.publish(1, f"publish work.b {second}")
        assert first
        scene.ledger.confirm(second)
    assert await scene.publish(5) == []
    worker.start()
    await running(worker)
    await asyncio.sleep(1)  # the scenario: several tries
    assert scene.ledger.runs == 0
    assert await stored(scene, "WORK") == 60
    await set_limit(scene, "WORK", 1000)
    await scene.drained()
    await scene.drained(consumer="second")
    balance = await scene.close(consumers=("work", "second"))
    assert (balance.handled, balance.dead_lettered, balance.left) == (120, 0, 0)
    assert await stored(scene, "WORK") == 0
