"""An operator deletes the consumer, and the stream, while the worker runs."""

from __future__ import annotations

import asyncio

import pytest

from eventbus_runtime.errors import NotFoundError
from tests.chaos.scene import IN_FLIGHT, Scene, until
from tests.triggers.live import delete_consumer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


async def test_a_consumer_deleted_amid_load_goes_on_where_it_was(scene: Scene) -> None:
    """It is made again from its ack floor; what was settled above that comes again, and is recognised."""
    await scene.worker()
    async with scene.feed():
        for _ in range(3):
            await scene.more(300)
            await delete_consumer(scene.bus, "WORK", "work")
            await scene.more(300)
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_a_consumer_deleted_with_95_of_100_acked_brings_5_and_not_100(scene: Scene) -> None:
    await scene.worker()
    await scene.publish(95)
    await scene.drained()
    await scene.publish(5, "work 1.5")
    await until(lambda: in_flight(scene, 5), "five are in flight")
    await delete_consumer(scene.bus, "WORK", "work")
    await until(lambda: scene.ledger.runs >= 100, "all are handled")
    await scene.drained()
    assert (await scene.close()).left == 0


async def in_flight(scene: Scene, count: int) -> bool:
    return bool((await scene.bus.api("CONSUMER.INFO.WORK.work"))["num_ack_pending"] == count)


async def test_a_stream_deleted_amid_load_is_made_again_and_takes_what_comes(scene: Scene) -> None:
    await scene.worker()
    for _ in range(3):
        async with scene.feed():
            await scene.more(300)
        await scene.bus.api("STREAM.DELETE.WORK")
        scene.ledger.removed()
        await until_there(scene)
    async with scene.feed():
        await scene.more(300)
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_no_message_of_a_stream_made_anew_is_settled_by_a_token_of_the_old_one(scene: Scene) -> None:
    """The same sequences run in both: what the old ones end with must not count for the new ones, which fail first."""
    await scene.worker(trigger='retry = { delays = ["200ms"] }')
    config = (await scene.bus.api("STREAM.INFO.WORK"))["config"]
    await scene.publish(IN_FLIGHT // 2, "work 1")
    await until(lambda: in_flight(scene, IN_FLIGHT // 2), "all are in flight")
    await scene.bus.api("STREAM.DELETE.WORK")
    scene.ledger.removed()
    await scene.bus.api("STREAM.CREATE.WORK", config)
    await scene.publish(IN_FLIGHT // 2, "flaky 1.5")
    await scene.drained()
    assert (await scene.close()).left == 0


async def until_there(scene: Scene) -> None:
    """Wait until the worker has made the stream again."""

    async def is_there() -> bool:
        try:
            return bool(await scene.bus.api("CONSUMER.INFO.WORK.work"))
        except NotFoundError:
            return False

    await until(is_there, "stream and consumer are made again")


async def test_a_stream_that_another_hand_makes_anew_at_once_is_used(scene: Scene) -> None:
    await scene.worker()
    config = (await scene.bus.api("STREAM.INFO.WORK"))["config"]
    for _ in range(3):
        async with scene.feed():
            await scene.more(300)
        await scene.bus.api("STREAM.DELETE.WORK")
        scene.ledger.removed()
        await scene.bus.api("STREAM.CREATE.WORK", config)
        await asyncio.sleep(0)
        await scene.publish(100)
    await scene.drained()
    assert (await scene.close()).left == 0
