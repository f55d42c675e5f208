"""Invariant 4 and the lease: what runs is not delivered again, and what the server gave away is not handed back."""

from __future__ import annotations

import asyncio

import pytest

from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Retry
from eventbus_runtime.testing.server import NatsServer
from tests.triggers.live import SOON, Observer, running, sequence_of, until
from tests.triggers.proxy import Proxy


async def test_progress_is_told_in_sequence_order_and_for_nothing_that_is_settled(server: NatsServer) -> None:
    """`+WPI` at a third of ack_wait, for all that run; whatever order their handlers end in."""
    release = {sequence: asyncio.Event() for sequence in range(1, 9)}

    async def handler(message: Message) -> None:
        if message.sequence == 1 and message.delivery_count == 1:
            raise Retry(delay=0.05)  # so that it starts last
        await release[message.sequence].wait()

    async with Observer(server.url) as observer, running(server, handler, consumer={"ack_wait": 0.9}) as live:
        await live.publish_many(8)
        await until(lambda: live.trigger.counters.redelivered == 1)
        await until(lambda: len(observer.progress()) >= 16)
        for sequence in (2, 5, 7):
            release[sequence].set()
        await until(lambda: live.trigger.counters.acked == 3)
        await live.shown_to(observer)
        before = len(observer.progress())
        await until(lambda: len(observer.progress()) >= before + 10)
        rounds = observer.progress()
        assert rounds[:16] == [1, 2, 3, 4, 5, 6, 7, 8] * 2
        assert rounds[before : before + 10] == [1, 3, 4, 6, 8] * 2
        for event in release.values():
            event.set()
        await until(live.drained)
        assert live.trigger.counters.redelivered == 1
        await live.shown_to(observer)
        settled: set[str] = set()
        for subject, payload, _ in observer.seen:
            assert subject not in settled
            if payload != b"+WPI":
                settled.add(subject)


@pytest.mark.timed
async def test_progress_follows_a_consumers_shortest_backoff_step(server: NatsServer) -> None:
    """With `backoff` the window of a first delivery is its first step, not ack_wait."""
    calls: list[int] = []

    async def handler(message: Message) -> None:
        calls.append(message.delivery_count)
        await asyncio.sleep(1.5)

    async with running(server, handler, consumer={"backoff": [500_000_000, 30_000_000_000], "max_deliver": 9}) as live:
        await live.publish(b"")
        await until(live.drained)
        assert calls == [1]


async def test_after_the_lease_no_nak_goes_out_and_an_ack_does(server: NatsServer) -> None:
    """Away for longer than ack_wait: the server has handed both out again. A nak would start a third copy; an ack
    still ends the message."""
    finish = asyncio.Event()
    first: list[int] = []

    async def handler(message: Message) -> None:
        if message.delivery_count == 1:
            first.append(message.sequence)
            await finish.wait()
            if message.sequence == 1:
                raise ValueError("late")

    async with (
        Observer(server.url) as observer,
        Proxy(server.port) as proxy,
        running(server, handler, url=proxy.url, consumer={"ack_wait": 0.6}) as live,
    ):
        await live.publish(b"fails", b"works")
        await until(lambda: len(first) == 2)
        proxy.cut()
        await asyncio.sleep(0.7)
        finish.set()
        await until(lambda: live.trigger.counters.left == 1)
        proxy.mend()
        await until(live.drained, within=15)
        await live.shown_to(observer)
        words = {(sequence_of(token), token.split(".")[4]): said for token, said in observer.settlements().items()}
        assert (1, "1") not in words
        assert words[2, "1"] == [b""]
        assert all(not said[0].startswith(b"-NAK") for said in words.values())
        assert live.failures()[0].settlement == "left"


async def test_a_nak_that_waits_for_the_connection_goes_with_the_lease(server: NatsServer) -> None:
    """Said in time, but only to a connection that was away: by the time it is back, the server has moved on."""
    fail = asyncio.Event()

    async def handler(message: Message) -> None:
        if message.delivery_count == 1:
            await fail.wait()
            raise ValueError

    async with (
        Observer(server.url) as observer,
        Proxy(server.port) as proxy,
        running(server, handler, url=proxy.url, retry=SOON, consumer={"ack_wait": 0.6}) as live,
    ):
        await live.publish(b"")
        await until(lambda: live.trigger.counters.in_flight == 1)
        proxy.cut()
        await until(lambda: not live.bus.is_connected)
        fail.set()
        await until(lambda: live.trigger.counters.nakked == 1)
        await asyncio.sleep(0.7)
        proxy.mend()
        await until(live.drained, within=15)
        await live.shown_to(observer)
        assert [token.split(".")[4] for token in observer.settlements()] == ["2"]
