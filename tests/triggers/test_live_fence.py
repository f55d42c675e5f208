"""The fence: acks and terms that the server may not have got are sent again, and nothing is pulled before they are
proven. A cluster that elects loses them in silence (`test_live_cluster.py`); here a proxy does."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.events import State
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Reject
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers.fence import UNANSWERED
from tests.buses.helpers import frozen
from tests.conftest import MakeServer
from tests.triggers.live import Observer, make_consumer, make_stream, running, until
from tests.triggers.proxy import Proxy


async def test_the_acks_of_one_turn_are_one_write_whose_last_asks_for_an_answer(server: NatsServer) -> None:
    async def handler(message: Message) -> None:
        pass

    async with Observer(server.url) as observer, running(server, handler) as live:
        await live.publish_stored(500)
        await until(live.drained)
        await live.shown_to(observer)
        acks = [seen for seen in observer.seen if seen.payload == b""]
        assert [int(seen.subject.split(".")[5]) for seen in acks] == list(range(1, 501))
        asking = [seen for seen in acks if seen.reply]
        assert acks[-1].reply
        assert len({seen.reply for seen in asking}) == len(asking) < 250


@pytest.mark.parametrize("outcome", [None, Reject("no")])
async def test_what_is_lost_in_silence_is_sent_again_and_comes_no_second_time(
    server: NatsServer, outcome: Reject | None
) -> None:
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> Reject | None:
        handled[message.sequence] += 1
        return outcome

    async with Proxy(server.port) as proxy, running(server, handler, url=proxy.url, consumer={"ack_wait": 3.0}) as live:
        proxy.loses = b"PUB $JS.ACK."
        await live.publish_stored(20)
        await until(lambda: proxy.lost >= 20)
        assert (await live.info()).num_ack_pending == 20
        proxy.loses = b""
        await until(live.drained)
        assert handled == dict.fromkeys(range(1, 21), 1)
        assert live.trigger.counters.redelivered == 0
        assert live.is_running()


async def test_nothing_is_pulled_while_something_had_to_be_sent_again(server: NatsServer) -> None:
    async def handler(message: Message) -> None:
        pass

    pulls = "$JS.API.CONSUMER.MSG.NEXT.>"
    async with (
        Proxy(server.port) as proxy,
        Observer(server.url, pulls, "$JS.ACK.>") as observer,
        running(server, handler, url=proxy.url, max_in_flight=10) as live,
    ):
        proxy.loses = b"PUB $JS.ACK."
        await live.publish_stored(10)
        await until(lambda: proxy.lost > 10)  # a second has gone by
        await live.publish_stored(10)  # what was asked for before still comes, nothing else
        await until(lambda: live.trigger.counters.acked == 20)
        await live.shown_to(observer)
        before = len(observer.seen)
        assert live.trigger._window.credit == 0
        proxy.loses = b""
        await until(live.drained)
        await until(lambda: live.trigger._window.credit == 10)
        await live.shown_to(observer)
        later = [seen.subject.startswith("$JS.ACK.") for seen in observer.seen[before:]]
        assert later[:20] == [True] * 20, "the lost ones come before any pull"
        assert later.count(False) == 1


async def test_acks_that_died_with_the_connection_are_sent_again_before_the_first_pull(server: NatsServer) -> None:
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        handled[message.sequence] += 1

    async with (
        Proxy(server.port) as proxy,
        Observer(server.url, "$JS.API.CONSUMER.MSG.NEXT.>", "$JS.ACK.>") as observer,
        running(server, handler, url=proxy.url, max_in_flight=50, consumer={"ack_wait": 5.0}) as live,
    ):
        proxy.loses = b"PUB $JS.ACK."
        await live.publish_stored(50)
        await until(lambda: proxy.lost >= 50)
        proxy.cut()
        await until(lambda: not live.bus.is_connected)
        proxy.loses = b""
        await observer.flush()
        observer.seen.clear()
        proxy.mend()
        await until(live.drained)
        await live.shown_to(observer)
        assert sorted(int(seen.subject.split(".")[5]) for seen in observer.seen[:50]) == list(range(1, 51))
        assert handled == dict.fromkeys(range(1, 51), 1)


async def test_a_handler_that_ends_while_the_connection_is_gone_is_acknowledged_after_it(server: NatsServer) -> None:
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        await until(lambda: not live.bus.is_connected)
        handled[message.sequence] += 1

    async with Proxy(server.port) as proxy, running(server, handler, url=proxy.url, consumer={"ack_wait": 5.0}) as live:
        await live.publish_stored(30)
        await until(lambda: live.trigger.counters.received == 30)
        proxy.cut()
        await until(lambda: len(handled) == 30)
        proxy.mend()
        await until(live.drained)
        assert handled == dict.fromkeys(range(1, 31), 1)


async def test_a_server_that_answers_no_ack_is_named_as_the_reason_and_not_waited_for_at_the_stop(
    server: NatsServer,
) -> None:
    async def handler(message: Message) -> None:
        pass

    async with Proxy(server.port) as proxy, running(server, handler, url=proxy.url) as live:
        proxy.loses = b"PUB $JS.ACK."
        await live.publish_stored(1)
        await until(lambda: live.trigger.state is State.BACKING_OFF, within=15)
        assert live.trigger.reason == UNANSWERED
        await live.stop()
        assert live.error is None


async def test_an_ack_that_the_stop_cuts_off_before_it_is_confirmed_is_told_as_left(server: NatsServer) -> None:
    """Nobody knows whether the server has it: the message may come again."""
    handled: list[int] = []

    async def handler(message: Message) -> None:
        handled.append(message.sequence)

    async with Proxy(server.port) as proxy, running(server, handler, url=proxy.url, ack_confirm=True) as live:
        proxy.loses = b"PUB $JS.ACK."
        await live.publish_stored(1)
        await until(lambda: proxy.lost > 0)
        await live.stop(0.2)
        assert handled == [1]
        assert (live.trigger.counters.acked, live.trigger.counters.left) == (0, 1)
        assert [(one.settlement, one.text) for one in live.failures()] == [
            ("left", "the ack was not confirmed: stopped before that")
        ]


@pytest.mark.parametrize("away", [False, True])
async def test_acks_of_a_consumer_that_was_made_anew_are_forgotten(server: NatsServer, away: bool) -> None:
    """An old token names a sequence, which can be another message in a stream of the same name."""
    handled: list[bytes] = []

    async def handler(message: Message) -> None:
        handled.append(message.payload)

    async def again(resume_at: int | None) -> None:
        if resume_at is not None:
            await make()

    async def make() -> None:
        await make_stream(live.outside)
        await make_consumer(live.outside)

    async with Proxy(server.port) as proxy, running(server, handler, url=proxy.url, prepare=again) as live:
        proxy.loses = b"PUB $JS.ACK."
        await live.publish(b"old")
        await until(lambda: proxy.lost > 0)
        if away:
            proxy.cut()
            await until(lambda: not live.bus.is_connected)
        async with Observer(server.url) as observer:
            await live.outside.api("STREAM.DELETE.S")
            if away:
                await make()
            proxy.mend()
            await until(lambda: live.trigger._fence.unproven == 0)
            proxy.loses = b""
            await until(live.is_running)
            await until(lambda: live.trigger._window.credit > 0)
            await live.publish(b"new")
            await until(live.drained)
            await live.shown_to(observer)
            assert handled == [b"old", b"new"]
            assert len(observer.seen) == 1, "of the old message nothing is said any more"


async def test_at_the_stop_acks_are_waited_for_and_sent_again_if_need_be(server: NatsServer) -> None:
    async def handler(message: Message) -> None:
        pass

    async with Proxy(server.port) as proxy, running(server, handler, url=proxy.url) as live:
        proxy.loses = b"PUB $JS.ACK."
        await live.publish_stored(20)
        await until(lambda: live.trigger.counters.acked == 20)
        live.trigger.stop(5.0)
        await until(lambda: proxy.lost >= 20)
        proxy.loses = b""
        await until(live.ended.is_set)
        assert (await live.info()).num_ack_pending == 0


async def test_progress_is_neither_written_nor_counted_on_while_the_socket_takes_nothing(
    make_server: MakeServer,
) -> None:
    """Else it would pile up in memory, and a nak would go out for what the server has handed to somebody else."""
    server = make_server('write_deadline: "20s"')
    ending = asyncio.Event()

    async def handler(message: Message) -> None:
        await ending.wait()

    async with running(server, handler, consumer={"ack_wait": 0.6}) as live:
        await live.publish(b"1")
        await until(lambda: live.trigger.counters.in_flight == 1)
        (delivery,) = live.trigger._progress.deliveries
        with frozen(server):
            while not live.bus.congested:
                live.bus.send([Frame("elsewhere", bytes(100_000))])
                await asyncio.sleep(0)
            await until(lambda: delivery.lease < asyncio.get_running_loop().time())
            assert not any(b"+WPI" in command for command, _ in live.bus._life.writer._queue)
        ending.set()
        await until(live.drained)
