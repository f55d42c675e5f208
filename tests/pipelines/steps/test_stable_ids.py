"""The ids of what steps publish: the same when the delivery comes again, and no other message's (S-30)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from eventbus_runtime.testing.server import NatsServer
from tests.pipelines.steps.scene import running
from tests.triggers.live import until

pytestmark = pytest.mark.seed("S-30")

FAIL_ONCE = """
        from eventbus_runtime import Delivery, Retry

        async def fail_once(delivery: Delivery) -> None:
            if delivery.attempt == 1:
                raise Retry(delay=0)
"""


async def test_what_comes_of_another_consumed_message_is_another_message(server: NatsServer, tmp_path: Path) -> None:
    """Its id must not be that of the try before: the stream would drop it, and it is acknowledged behind that."""
    tables = """
        attempts = 3
        on_exhausted = "terminate"
        [streams.SEEN]
        subjects = ["seen.>"]
        [pipelines.work]
        steps = [
          { consume = { consumer = "rest", max_wait = "5s" } },
          { publish = { subject = "seen.x", payload = { from = "/messages/0/payload" } } },
          { ack = { ack_token = { from = "/messages/0/ack_token" } } },
          { call = "handlers:fail_once" },
        ]
    """
    async with running(server, tmp_path, tables, FAIL_ONCE) as scene:
        for number in range(2):
            await scene.outside.publish("out.x", b"%d" % number)
        await scene.publish()
        await scene.settled()
        assert base64.b64decode((await scene.stored(1, "SEEN"))[1]) == b"0"
        assert base64.b64decode((await scene.stored(2, "SEEN"))[1]) == b"1"


async def test_a_step_that_publishes_less_at_the_second_time_costs_those_behind_it_nothing(
    server: NatsServer, tmp_path: Path
) -> None:
    tables = """
        attempts = 3
        on_exhausted = "terminate"
        [pipelines.work]
        steps = [
          { call = "handlers:some" },
          { call = "handlers:fail_once" },
          { publish = { subject = "out.end" } },
        ]
    """
    handlers = """
        from eventbus_runtime import Publish

        async def some(delivery: Delivery) -> list[Publish]:
            return [Publish("out.some")] if delivery.attempt == 1 else []
    """
    async with running(server, tmp_path, tables, FAIL_ONCE + handlers) as scene:
        await scene.publish()
        await scene.settled()
        assert [(await scene.stored(at))[0] for at in (1, 2)] == ["out.some", "out.end"]


async def test_a_delivery_that_comes_again_publishes_nothing_twice(server: NatsServer, tmp_path: Path) -> None:
    """The steps before the one that failed run again, with the same ids."""
    tables = """
        attempts = 3
        on_exhausted = "terminate"
        [pipelines.work]
        steps = [
          { publish = { subject = "out.once" } },
          { call = "handlers:fail_once" },
          { publish = { subject = "out.two" } },
        ]
    """
    async with running(server, tmp_path, tables, FAIL_ONCE) as scene:
        await scene.publish()
        await scene.settled()
        assert await scene.count() == 2
        await until(lambda: scene.runtime.trigger_counters()["work"][1].acked == 1)


@pytest.mark.seed("S-31")
async def test_what_a_handler_publishes_of_another_consumed_message_is_another_message(
    server: NatsServer, tmp_path: Path
) -> None:
    tables = """
        [streams.SEEN]
        subjects = ["seen.>"]
    """
    handlers = """
        from eventbus_runtime import AckStep, ConsumeStep, Delivery, PublishStep, Retry, pipeline
        from eventbus_runtime.contracts import AckRequest, ConsumeRequest, PublishRequest

        @pipeline
        async def work(delivery: Delivery, publish: PublishStep, consume: ConsumeStep, ack: AckStep) -> None:
            found = await consume(ConsumeRequest(consumer="rest"))
            await publish(PublishRequest(subject="seen.x", payload=found.messages[0].payload))
            await ack(AckRequest(ack_token=found.messages[0].ack_token))
            if delivery.attempt == 1:
                raise Retry(delay=0)
    """
    async with running(server, tmp_path, tables, handlers) as scene:
        for number in range(2):
            await scene.outside.publish("out.x", b"%d" % number)
        await scene.publish()
        await scene.settled()
        assert [(await scene.stored(at, "SEEN"))[1] for at in (1, 2)] == [b"0", b"1"]
