"""A consumer with a finite `max_deliver`, and workers that die on each delivery: nothing is lost, and nothing twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy

from eventbus_runtime.testing.server import NatsServer
from tests.service.suspects import dead_letters, pending
from tests.service.worker import Worker, wait_for

ADVISORIES = """
    [streams.ADVISORIES]
    subjects = ["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>"]
    max_age = "30d"
"""
CONFIG = """
    [runtime]
    shutdown_timeout = "5s"
    [buses.main]
    url = "{url}"
    [streams.ORDERS]
    declare = false
    {advisories}
    [consumers.work]
    stream = "ORDERS"
    declare = false
    [triggers.work]
    {end}
    retry = {{ delays = ["100ms"] }}
    [consumers.sibling]
    stream = "OTHER"
    [streams.OTHER]
    subjects = ["other.>"]
    [triggers.sibling]
"""
DEAD = 'dead_letter = "dead.work"'
HANDLERS = """
    import os, signal
    from eventbus_runtime import Message, pipeline

    @pipeline
    async def work(message: Message) -> None:
        if message.payload == b"killer":
            os.kill(os.getpid(), signal.SIGKILL)
        print("handled", message.payload.decode(), flush=True)

    @pipeline
    async def sibling(message: Message) -> None:
        print("sibling", flush=True)
"""
IDLE = ("--stop-when-idle", "700ms")


def worker(folder: Path, server: NatsServer, *arguments: str, advisories: str = ADVISORIES, end: str = DEAD) -> Worker:
    return Worker(folder, CONFIG.format(url=server.url, advisories=advisories, end=end), HANDLERS, *arguments)


async def by_hand(js: JetStreamContext, retention: str = "limits", max_deliver: int = 3) -> None:
    """The stream and the consumer, as somebody made them who wanted a limit."""
    await js.add_stream(name="ORDERS", subjects=["orders.>"], retention=RetentionPolicy(retention))
    policy = ConsumerConfig(durable_name="work", ack_policy=AckPolicy.EXPLICIT, ack_wait=1, max_deliver=max_deliver)
    await js.add_consumer("ORDERS", policy)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("retention", ["limits", "workqueue", "interest"])
async def test_what_killed_its_worker_on_each_delivery_is_dead_lettered_once_by_the_next(
    tmp_path: Path, server: NatsServer, js: JetStreamContext, retention: str
) -> None:
    await by_hand(js, retention)
    await js.publish("orders.created", b"killer")
    for number in range(3):
        assert worker(tmp_path / f"{number}", server).run(within=60) == -signal.SIGKILL
    await js.publish("orders.created", b"other")
    one = worker(tmp_path / "last", server, *IDLE)
    assert one.run() == 0
    assert one.lines == ["handled other"]
    assert await dead_letters(js) == [(b"killer", "exhausted")]
    (line,) = [line for line in one.log if line["event"] == "delivery failed"]
    assert (line["trigger"], line["settlement"], line["sequence"]) == ("work", "dead_letter", 1)
    assert await pending(js) == (0, 0)
    left = (await js.stream_info("ORDERS")).state.messages
    assert left == (2 if retention == "limits" else 0)


def refusal(one: Worker) -> str:
    """Why its trigger has failed."""
    one.wait_logged("trigger work: failed")
    return next(str(line["reason"]) for line in one.log if line["event"] == "trigger work: failed")


async def test_a_limit_is_refused_by_name_where_no_stream_stores_the_advisories(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await by_hand(js)
    with worker(tmp_path, server, advisories="") as one:
        reason = refusal(one)
        for part in (
            "the consumer work of stream ORDERS has max_deliver = 3",
            "no stream stores $JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.ORDERS.work",
            "nats consumer edit ORDERS work --max-deliver=-1",
            '[streams.ADVISORIES]\nsubjects = ["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>"]\nmax_age = "30d"',
        ):
            assert part in reason
        await js.publish("other.one", b"")
        wait_for(lambda: one.lines == ["sibling"], "the sibling's handler")
        await js.publish("orders.created", b"never pulled")
        one.signal()
        assert one.wait() == 0
        assert one.lines == ["sibling"]


async def test_a_limit_is_refused_where_nothing_is_said_about_what_is_given_up(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await by_hand(js)
    with worker(tmp_path, server, end="") as one:
        reason = refusal(one)
        assert "the trigger work has no end for it" in reason
        assert "or give [triggers.work] a dead_letter" in reason
