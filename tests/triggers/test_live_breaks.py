"""Servers that die, consumers that go and come, and strangers that write to our inboxes: nothing lost, nothing hung."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.errors import ApiError, NotFoundError, TopologyError, TriggerError
from eventbus_runtime.events import State
from eventbus_runtime.message import Message
from eventbus_runtime.testing.server import NatsServer
from tests.conftest import MakeServer
from tests.triggers.live import (
    PULLS_AND_ACKS,
    QUICK,
    Observer,
    connected,
    delete_consumer,
    make_consumer,
    make_stream,
    running,
    until,
)
from tests.triggers.proxy import Proxy

_CANNOT_CHANGE = 10012


async def test_a_server_killed_three_times_under_load_loses_nothing_and_few_facts_are_told(server: NatsServer) -> None:
    handled: Counter[bytes] = Counter()

    async def handler(message: Message) -> None:
        await asyncio.sleep(0.02)
        handled[message.payload] += 1

    async with running(server, handler, max_in_flight=50, consumer={"ack_wait": 1.0}) as live:
        await live.publish_many(4000)
        await until(lambda: len(handled) > 100)
        for _ in range(3):
            server.kill()
            await asyncio.sleep(0.7)
            server.start()
            wanted = len(handled) + 300
            await until(lambda wanted=wanted: len(handled) >= wanted)  # type: ignore[misc]
        await until(live.drained, within=20)
        assert set(handled) == {b"%d" % number for number in range(4000)}
        assert live.failures() == []
        assert len(live.facts) < 30


@pytest.mark.seed("S-52")
async def test_a_stream_and_consumer_that_appear_later_are_picked_up_with_one_timer(server: NatsServer) -> None:
    """S-52: attach only, an error is retried after a back-off, with one timer re-armed."""
    handled: list[bytes] = []

    async def handler(message: Message) -> None:
        handled.append(message.payload)

    async with running(server, handler, make=False, wait=False) as live:
        await until(lambda: live.trigger.state is State.BACKING_OFF)
        for _ in range(20):
            await asyncio.sleep(0.02)
            assert len([timer for timer in _timers() if "Alarm.ring" in repr(timer)]) <= 1
        await make_stream(live.outside)
        await live.publish(b"early")
        await asyncio.sleep(0.1)
        assert not live.is_running()
        await make_consumer(live.outside)
        await until(lambda: handled == [b"early"], within=15)
        assert live.states() == [State.BACKING_OFF, State.RUNNING]


def _timers() -> list[asyncio.TimerHandle]:
    return [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


async def test_attached_only_it_backs_off_when_its_consumer_is_deleted_until_it_is_there_again(
    server: NatsServer,
) -> None:
    handled: list[bytes] = []

    async def handler(message: Message) -> None:
        handled.append(message.payload)

    async with running(server, handler) as live:
        await live.publish(b"one")
        await until(lambda: handled == [b"one"])
        await delete_consumer(live.outside)
        await until(lambda: live.trigger.state is State.BACKING_OFF)
        assert "consumer" in live.trigger.reason
        await live.publish(b"two")
        await make_consumer(live.outside, deliver_policy="by_start_sequence", opt_start_seq=2)
        await until(lambda: handled == [b"one", b"two"], within=15)
        assert live.is_running()


async def test_a_pull_that_nobody_answers_is_looked_into(server: NatsServer) -> None:
    """503, since the consumer went while no request was open: not hammered, and picked up when it is there again."""
    release = asyncio.Event()
    handled: list[bytes] = []

    async def handler(message: Message) -> None:
        await release.wait()
        handled.append(message.payload)

    async with running(server, handler, max_in_flight=1) as live:
        await live.publish(b"one")
        await until(lambda: live.trigger.counters.in_flight == 1)
        await delete_consumer(live.outside)
        assert live.is_running()
        release.set()
        # On 2.9 nobody refuses the pull: what tells first may be that the ack is not answered.
        await until(lambda: live.trigger.state is State.BACKING_OFF and "consumer" in live.trigger.reason)
        await asyncio.sleep(0.3)
        assert live.trigger.counters.pulls <= 4
        await make_consumer(live.outside, deliver_policy="new")
        await until(live.is_running, within=15)
        await live.publish(b"two")
        await until(lambda: handled == [b"one", b"two"])


async def test_a_question_that_an_election_loses_is_asked_again_soon(server: NatsServer) -> None:
    """While there is no leader nobody answers: who waits 5 s for it may be served so much later than it is there."""

    async def handler(message: Message) -> None:
        pass

    async with Proxy(server.port) as proxy, running(server, handler, url=proxy.url) as live:
        proxy.loses = b"PUB $JS.API.CONSUMER.INFO."
        await delete_consumer(live.outside)
        await make_consumer(live.outside)
        await until(lambda: proxy.lost == 1)
        await until(lambda: proxy.lost == 2, within=3)
        proxy.loses = b""
        await until(live.is_running)
        assert live.failures() == []
        assert proxy.lost < 5, "nor is it asked all the time"


class Declared:
    """A `prepare` that makes the consumer, as of a declared one; `ack_wait` in seconds."""

    def __init__(self, ack_wait: float = 30.0) -> None:
        self.ack_wait = ack_wait
        self.bus: NatsBus | None = None
        self.asked: list[int | None] = []

    async def __call__(self, resume_at: int | None) -> str | None:
        self.asked.append(resume_at)
        if (bus := self.bus) is not None:
            start: dict[str, Any] = {}
            if resume_at is not None:
                start = {"deliver_policy": "by_start_sequence", "opt_start_seq": resume_at}
            await until(lambda: self._made(bus, start))
        return None

    async def _made(self, bus: NatsBus, start: dict[str, Any]) -> bool:
        """Tries again, as `topology` does: the server tells of a deletion before it is done (`stopWithFlags` in its
        consumer.go), and takes a request to create meanwhile for a change of the one that goes."""
        try:
            await make_consumer(bus, ack_wait=self.ack_wait, **start)
            return True
        except ApiError as error:
            if error.err_code != _CANNOT_CHANGE:
                raise
            return False


@pytest.mark.parametrize("away", [False, True])
async def test_a_declared_consumer_that_was_deleted_is_made_again_and_goes_on(server: NatsServer, away: bool) -> None:
    """While running, and while the connection was away. New messages flow within two heartbeats."""
    handled: Counter[bytes] = Counter()
    declared = Declared()

    async def handler(message: Message) -> None:
        handled[message.payload] += 1

    async with (
        Proxy(server.port) as proxy,
        running(server, handler, url=proxy.url, prepare=declared) as live,
    ):
        declared.bus = live.outside
        await live.publish(b"one")
        await until(live.drained)
        if away:
            proxy.cut()
            await until(lambda: live.trigger.state is State.BACKING_OFF)
        await delete_consumer(live.outside)
        await live.publish(b"two")
        if away:
            proxy.mend()
        await until(lambda: handled[b"two"] == 1, within=5)
        await live.publish(b"three")
        await until(lambda: handled[b"three"] == 1, within=2)
        assert len(declared.asked) == 2
        assert declared.asked[0] is None


async def test_a_lost_consumer_goes_on_from_the_ack_floor_that_it_had_while_messages_flowed(server: NatsServer) -> None:
    """A floor as old as the attachment would bring again all that was handled since."""
    declared = Declared()
    published = 0

    async def handler(message: Message) -> None:
        pass

    async with (
        Observer(server.url, "$JS.API.CONSUMER.INFO.S.c") as observer,
        running(server, handler, prepare=declared, limits=replace(QUICK, check=0.2)) as live,
    ):

        async def looked_while_flowing() -> bool:
            nonlocal published
            await live.publish(b"x")
            published += 1
            return len(observer.seen) >= 3

        await until(looked_while_flowing)
        await until(lambda: live.trigger.counters.acked == published)
        seen = len(observer.seen)
        await until(lambda: len(observer.seen) >= seen + 2)
        declared.bus = live.outside
        await delete_consumer(live.outside)
        await until(lambda: len(declared.asked) == 2)
        assert declared.asked == [None, published + 1]


@pytest.mark.parametrize(
    ("consumer", "text"),
    [
        ({"deliver_subject": "push.here"}, "push based"),
        ({"ack_policy": "all"}, "ack_policy all"),
        ({"ack_policy": "none", "ack_wait": 0.0}, "ack_policy none"),
    ],
)
async def test_a_consumer_that_can_never_serve_a_trigger_is_refused_for_good(
    server: NatsServer, consumer: dict[str, Any], text: str
) -> None:
    async def handler(message: Message) -> None:
        pass

    async with running(server, handler, consumer=consumer, wait=False) as live:
        await until(live.ended.is_set, within=5)
        assert isinstance(live.error, TriggerError)
        assert text in str(live.error)


async def test_a_consumer_replaced_by_a_push_one_fails_the_trigger_after_what_runs_is_done(server: NatsServer) -> None:
    """What runs gets its time, and is settled, as at any stop."""
    release = asyncio.Event()
    handled: list[bytes] = []

    async def handler(message: Message) -> None:
        await release.wait()
        handled.append(message.payload)

    async with running(server, handler, max_in_flight=2) as live:
        await live.publish(b"one")
        await until(lambda: live.trigger.counters.in_flight == 1)
        await delete_consumer(live.outside)
        await make_consumer(live.outside, deliver_subject="push.here")
        await asyncio.sleep(0.5)
        assert not live.ended.is_set()
        release.set()
        await until(live.ended.is_set, within=5)
        assert isinstance(live.error, TriggerError)
        assert handled == [b"one"]
        assert live.trigger.cancelled == 0


@pytest.mark.parametrize("error", [TriggerError("never"), TopologyError("field x")])
async def test_what_can_not_be_made_is_raised_as_it_is(server: NatsServer, error: Exception) -> None:
    """Not inside an exception group: its supervisor tells by the class whether trying again can help."""

    async def prepare(resume_at: int | None) -> str | None:
        raise error

    async def handler(message: Message) -> None:
        pass

    async with running(server, handler, prepare=prepare, wait=False) as live:
        await until(live.ended.is_set, within=5)
        assert live.error is error


async def test_what_is_missing_and_not_ours_to_make_is_looked_for_again(server: NatsServer) -> None:
    asked = 0

    async def prepare(resume_at: int | None) -> str | None:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise NotFoundError(404, 10059, "stream not found", "STREAM.INFO.S")
        return None

    async def handler(message: Message) -> None:
        pass

    async with running(server, handler, prepare=prepare) as live:
        assert asked == 3
        assert live.states() == [State.BACKING_OFF, State.RUNNING]


async def test_a_bus_that_is_away_at_first_is_waited_for(server: NatsServer) -> None:
    handled: list[bytes] = []

    async def handler(message: Message) -> None:
        handled.append(message.payload)

    async with connected(server.url) as bus:
        await make_stream(bus)
        await make_consumer(bus)
    async with Proxy(server.port) as proxy, running(server, handler, make=False, url=proxy.url, wait=False) as live:
        proxy.cut()
        await until(lambda: not live.bus.is_connected)
        await live.publish(b"one")
        proxy.mend()
        await until(live.drained)
        assert handled == [b"one"]
        assert live.is_running()


async def test_garbage_in_its_inbox_is_ignored(make_server: MakeServer) -> None:
    """Anyone on the account may write there: it takes no credit, settles nothing, and ends nothing."""
    server = make_server("max_payload: 8MB")
    handled: list[bytes] = []
    release = asyncio.Event()

    async def handler(message: Message) -> None:
        handled.append(message.payload)
        await release.wait()

    async with Observer(server.url, *PULLS_AND_ACKS) as observer, running(server, handler, max_in_flight=4) as live:
        await live.publish(b"0")
        await until(lambda: handled == [b"0"])
        inbox = observer.seen[0].reply.rpartition(".")[0].encode()
        for end in (b"1", b"zzz", b"\xff\xfe"):
            for reply in _REPLIES:
                for head in (b"", *_HEADS):
                    observer.write(_publication(inbox + b"." + end, reply, head))
        await observer.flush()
        await live.bus.ping()
        await live.publish(b"1", b"2", b"3", b"4", b"5")
        await until(lambda: len(handled) == 4)
        assert live.trigger.counters.in_flight == 4
        assert (await live.info()).num_ack_pending == 4
        release.set()
        await until(live.drained)
        await live.shown_to(observer)
        assert observer.most_owed() == 4
        assert len(live.warnings()) == 1
        assert set(handled) == {b"%d" % number for number in range(6)}
        assert set(map(tuple, observer.settlements().values())) == {(b"",)}
        assert live.is_running()


async def test_a_status_of_an_unknown_code_ends_nothing(server: NatsServer) -> None:
    """What a newer server adds must never stop a trigger."""
    handled: list[bytes] = []

    async def handler(message: Message) -> None:
        handled.append(message.payload)

    async with Observer(server.url, *PULLS_AND_ACKS) as observer, running(server, handler) as live:
        await live.shown_to(observer)
        inbox = observer.seen[0].reply.encode()
        for code in (b"299 News", b"999", b"409 Something New"):
            observer.write(_publication(inbox, b"", b"NATS/1.0 " + code + b"\r\n\r\n"))
            observer.write(_publication(inbox, b"", b"NATS/1.0 " + code + b"\r\nNats-Pending-Messages: 1\r\n\r\n"))
        await observer.flush()
        await live.publish(b"one")
        await until(live.drained)
        await until(live.is_running)
        assert handled == [b"one"]
        assert live.error is None


_FIRST = b" $JS.ACK.S.c.1."
"""How the ack token of an ordinary delivery begins."""
_REPLIES = (
    *(b"", b" foo.bar", b" $JS.ACK", b" $JS.ACK.a.b.c.d.e.f.g", b" \xff"),
    *(_FIRST, _FIRST + b"x", _FIRST + b"\xff", _FIRST + b"7", _FIRST + b"7.7.7.", _FIRST + b"7.7.7.7.7"),
    *(_FIRST + b"7.7.\x0b.7", _FIRST + b"7.7.\r.7"),
)
_HEADS = (
    b"NATS/1.0 abc\r\n\r\n",
    b"NATS/1.0\r\nA: " + b"x" * 3_000_000 + b"\r\n\r\n",
    b"NATS/1.0 \xff\xfe\r\nNats-Pending-Messages: lots\r\n\r\n",
)


def _publication(subject: bytes, reply: bytes, head: bytes) -> bytes:
    if not head:
        return b"PUB %b%b 4\r\njunk\r\n" % (subject, reply)
    return b"HPUB %b%b %d %d\r\n%bjunk\r\n" % (subject, reply, len(head), len(head) + 4, head)
