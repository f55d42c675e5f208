"""Attached to a consumer of somebody else's, who changes it while the trigger runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventbus_runtime.message import Message
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers.pull import Limits
from tests.buses.helpers import server_version
from tests.triggers.live import QUICK, Gate, Live, Observer, running, sequence_of, until

CHECKING = Limits(QUICK.expires, QUICK.heartbeat, check=0.3)


async def change(live: Live, **fields: Any) -> None:
    """Update the consumer, as its owner does."""
    config = (await live.outside.api("CONSUMER.INFO.S.c"))["config"]
    await live.outside.api("CONSUMER.CREATE.S.c", {"stream_name": "S", "config": {**config, **fields}})


@pytest.mark.parametrize("busy", [False, True], ids=["idle beside", "busy beside"])
async def test_an_ack_wait_that_was_lowered_is_noticed_and_nothing_runs_twice(server: NatsServer, busy: bool) -> None:
    """The look at the consumer once a minute is far away; what comes again tells."""
    gate = Gate()
    quick: Counter[bytes] = Counter()

    async def handler(message: Message) -> None:
        if message.payload.startswith(b"slow"):
            await gate.handler(message)
        quick[message.payload] += 1

    async with (
        Observer(server.url) as observer,
        running(server, handler, consumer={"ack_wait": 30}, max_in_flight=40) as live,
    ):
        await live.publish(*(b"slow %d" % number for number in range(20)))
        await until(lambda: len(gate.begun) == 20)
        await change(live, ack_wait=10**9)
        async with asyncio.timeout(10):
            while live.trigger.counters.recalled < 20:
                if busy:
                    await live.publish_many(10)
                await asyncio.sleep(0.05)
        await until(lambda: set(observer.progress()) == set(range(1, 21)))
        before = live.trigger.counters.recalled
        await asyncio.sleep(1.5)  # kept alive from now on: nothing comes again within a whole ack_wait
        assert live.trigger.counters.recalled == before
        gate.opened.set()
        await until(live.drained)
        assert set(gate.begun.values()) == {1}
        await live.shown_to(observer)
        settled = Counter(sequence_of(token) for token in observer.settlements())
        assert set(settled.values()) == {1}
        assert {len(words) for words in observer.settlements().values()} == {1}


async def test_a_filter_that_was_changed_brings_what_it_lets_through(server: NatsServer) -> None:
    got: list[bytes] = []

    async def handler(message: Message) -> None:
        got.append(message.payload)

    async with running(server, handler, consumer={"filter_subject": "s.a"}) as live:
        await live.publish(b"1")
        await live.publish(b"no", subject="s.b")
        await until(lambda: got == [b"1"])
        await change(live, filter_subject="s.b")
        await live.publish(b"no")
        await live.publish(b"2", subject="s.b")
        await until(lambda: b"2" in got)
        await asyncio.sleep(0.2)
        assert b"no" not in got[2:]
        assert live.is_running()
        assert live.trigger.counters.pull_restarts == 0


async def test_what_was_paused_goes_on_by_itself_and_is_no_silence(server: NatsServer) -> None:
    if server_version() < (2, 11):
        pytest.skip("consumers can be paused since nats-server 2.11")
    got: list[bytes] = []

    async def handler(message: Message) -> None:
        got.append(message.payload)

    async with running(server, handler, limits=CHECKING) as live:
        await live.publish(b"1")
        await until(lambda: got == [b"1"])
        again = datetime.now(UTC) + timedelta(seconds=2)
        await live.outside.api("CONSUMER.PAUSE.S.c", {"pause_until": again.isoformat()})
        await live.publish(b"2")
        await until(lambda: len(got) == 2)
        assert datetime.now(UTC) >= again - timedelta(seconds=0.1)
        assert live.trigger.counters.pull_restarts == 0
        assert len(live.states()) == 1


async def test_a_max_ack_pending_lowered_below_what_runs_only_holds_back_what_is_new(server: NatsServer) -> None:
    gate = Gate()
    async with running(server, gate.handler, limits=CHECKING, max_in_flight=20) as live:
        await live.publish_stored(10)
        await until(lambda: len(gate.begun) == 10)
        await change(live, max_ack_pending=3)
        await live.publish_many(20)
        await asyncio.sleep(1)  # some looks at the consumer
        assert len(gate.begun) == 10
        assert live.trigger.counters.pull_restarts == 0
        gate.opened.set()
        await until(live.drained)
        assert gate.begun == {b"%d" % number: 2 if number < 10 else 1 for number in range(20)}, "as published"
        assert live.trigger.counters.redelivered == 0
