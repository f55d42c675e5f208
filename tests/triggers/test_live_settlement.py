"""Invariants 2 and 3: each delivery is settled exactly once, an error loses nothing, dead letter before term."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from eventbus_runtime.config.model import RetryConfig
from eventbus_runtime.headers import Headers
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.testing.server import NatsServer
from tests.triggers.live import SOON, STUBBORN, Observer, connected, make_stream, running, sequence_of, until

DEAD = "dead.t"


async def prepare_dead(resume_at: int | None) -> str | None:
    """As the real one: names the stream that stores the dead letters."""
    return "DEAD"


async def make_dead(server: NatsServer, **config: object) -> None:
    async with connected(server.url) as bus:
        await make_stream(bus, "DEAD", ("dead.>",), **config)


async def dead_letter(server: NatsServer, sequence: int = 1) -> tuple[bytes, Headers]:
    """Payload and headers of a dead letter."""
    async with connected(server.url) as bus:
        message = (await bus.api("STREAM.MSG.GET.DEAD", {"seq": sequence}))["message"]
    return base64.b64decode(message.get("data", "")), Headers.parse(base64.b64decode(message.get("hdrs", "")))


async def test_every_delivery_is_settled_exactly_once(server: NatsServer) -> None:
    """As a bystander counts, with errors, retries and rejections among 300 messages."""

    async def handler(message: Message) -> None:
        await asyncio.sleep(0)
        if message.sequence % 7 == 0 and message.delivery_count == 1:
            raise ValueError("once")
        if message.sequence % 11 == 0 and message.delivery_count == 2:
            raise Retry(delay=0.01)
        if message.sequence % 13 == 0:
            raise Reject

    async with Observer(server.url) as observer, running(server, handler, retry=SOON, max_in_flight=32) as live:
        await live.publish_many(300)
        await until(live.drained)
        await live.shown_to(observer)
        said = observer.settlements()
        assert {len(words) for words in said.values()} == {1}
        last: dict[int, bytes] = {}
        for token, (word,) in said.items():
            last[sequence_of(token)] = word
        assert last == {n: b"+TERM" if n % 13 == 0 else b"" for n in range(1, 301)}
        counters = live.trigger.counters
        assert counters.received == len(said) == counters.acked + counters.nakked + counters.terminated
        assert counters.in_flight == 0


@pytest.mark.seed("S-54")
@pytest.mark.parametrize(
    "error", [ValueError("x"), ExceptionGroup("several", [KeyError("k")]), SystemExit(3), KeyboardInterrupt()]
)
async def test_a_handler_that_raised_is_never_acked(server: NatsServer, error: BaseException) -> None:
    """S-54."""

    async def handler(message: Message) -> None:
        if message.payload == b"bad":
            raise error

    async with Observer(server.url) as observer, running(server, handler, retry=STUBBORN) as live:
        await live.publish(b"bad", b"good")
        await until(lambda: live.trigger.counters.acked == 1)
        await until(lambda: live.trigger.counters.nakked == 1)
        await live.shown_to(observer)
        assert {sequence_of(token): words for token, words in observer.settlements().items()} == {
            1: [b'-NAK {"delay": 3600000000000}'],
            2: [b""],
        }
        (failure,) = live.failures()
        assert failure.reason == "error"
        assert failure.error is error
        assert "in handler)" in failure.text


class Odd(BaseException):
    """Not an Exception, as some test tools and async libraries raise."""


async def test_an_error_outside_of_exception_is_a_failure_of_its_message_alone(server: NatsServer) -> None:
    """It neither ends the trigger nor cancels what runs beside it."""
    beside = asyncio.Event()
    handled: list[bytes] = []

    async def handler(message: Message) -> None:
        if message.payload == b"bad":
            raise Odd("odd")
        if message.payload == b"grouped":
            raise BaseExceptionGroup("several", [Odd("odd")])
        if message.payload == b"beside":
            await beside.wait()
        handled.append(message.payload)

    async with running(server, handler, retry=STUBBORN) as live:
        await live.publish(b"beside", b"bad", b"grouped", b"after")
        await until(lambda: handled == [b"after"] and live.trigger.counters.nakked == 2)
        beside.set()
        await until(lambda: handled == [b"after", b"beside"])
        assert live.is_running()
        assert [failure.reason for failure in live.failures()] == ["error", "error"]


async def test_a_dead_letter_is_stored_before_its_message_is_terminated(server: NatsServer) -> None:
    """Invariant 3; the order is that of the wire, as a bystander reads it."""
    await make_dead(server)

    async def handler(message: Message) -> None:
        raise Reject("no good")

    async with (
        Observer(server.url, "$JS.ACK.>", "dead.>") as observer,
        running(server, handler, dead_letter=DEAD, attempts=5, prepare=prepare_dead) as live,
    ):
        await live.publish(b"payload")
        await until(live.drained)
        await live.shown_to(observer)
        assert [seen.subject.partition(".")[0] for seen in observer.seen] == ["dead", "$JS"]
        assert observer.seen[-1].payload == b"+TERM"
        payload, headers = await dead_letter(server)
        assert payload == b"payload"
        assert (headers["Eventbus-Reason"], headers["Eventbus-Error"]) == ("rejected", "no good")
        assert headers["Eventbus-Sequence"] == "1"
        assert live.trigger.counters.dead_lettered == 1


async def test_a_dead_letter_that_no_stream_confirms_keeps_the_message(server: NatsServer) -> None:
    """Nak in place of term; and once the stream is there, one dead letter."""

    async def handler(message: Message) -> None:
        raise Reject

    async with (
        Observer(server.url) as observer,
        running(server, handler, dead_letter=DEAD, attempts=5, retry=SOON, prepare=prepare_dead) as live,
    ):
        await live.publish(b"payload")
        await until(lambda: live.trigger.counters.nakked >= 2)
        await live.shown_to(observer)
        assert all(words[0].startswith(b"-NAK") for words in observer.settlements().values())
        assert {failure.reason for failure in live.failures()} == {"dead_letter_unconfirmed"}
        assert all("was not confirmed" in failure.text for failure in live.failures())
        await make_dead(server)
        await until(live.drained)
        assert (await live.outside.api("STREAM.INFO.DEAD"))["state"]["messages"] == 1


async def test_a_dead_letter_in_another_stream_than_the_checked_one_does_not_count(server: NatsServer) -> None:
    """`Nats-Expected-Stream`: what was checked at start (retention, limits) is what must store it."""
    async with connected(server.url) as bus:
        await make_stream(bus, "ELSEWHERE", ("dead.>",))

    async def handler(message: Message) -> None:
        raise Reject

    async with running(server, handler, dead_letter=DEAD, attempts=5, retry=STUBBORN, prepare=prepare_dead) as live:
        await live.publish(b"payload")
        await until(lambda: live.trigger.counters.nakked == 1)
        assert (await live.outside.api("STREAM.INFO.ELSEWHERE"))["state"]["messages"] == 0


async def test_reject_without_dead_letter_terminates_at_once(server: NatsServer) -> None:
    calls: list[int] = []

    async def handler(message: Message) -> None:
        calls.append(message.delivery_count)
        raise Reject("never")

    async with running(server, handler) as live:
        await live.publish(b"")
        await until(live.drained)
        assert calls == [1]
        assert live.trigger.counters.terminated == 1
        (failure,) = live.failures()
        assert (failure.settlement, failure.text) == ("term", "never")


async def test_attempts_used_up_with_a_dead_letter_is_dead_lettered_after_the_third(server: NatsServer) -> None:
    await make_dead(server)
    calls: list[int] = []

    async def handler(message: Message) -> None:
        calls.append(message.delivery_count)
        raise ValueError("always")

    async with running(server, handler, dead_letter=DEAD, attempts=3, retry=SOON, prepare=prepare_dead) as live:
        await live.publish(b"x")
        await until(live.drained)
        assert calls == [1, 2, 3]
        _, headers = await dead_letter(server)
        assert (headers["Eventbus-Reason"], headers["Eventbus-Delivery-Count"]) == ("exhausted", "3")
        assert headers["Eventbus-Error"].startswith("ValueError: always (test_live_settlement.py:")
        assert [failure.settlement for failure in live.failures()] == ["nak", "nak", "dead_letter"]


async def test_without_dead_letter_a_message_that_always_fails_is_stuck_and_named_until_it_works(
    server: NatsServer,
) -> None:
    broken = True
    calls = 0

    async def handler(message: Message) -> None:
        nonlocal calls
        calls += 1
        if broken:
            raise ValueError("still")

    async with running(server, handler, retry=SOON) as live:
        await live.publish(b"x")
        await until(lambda: calls >= 4)
        (stuck,) = live.trigger.status()["stuck"]
        assert (stuck["sequence"], stuck["subject"]) == (1, "s.a")
        assert str(stuck["error"]).startswith("ValueError: still")
        assert live.trigger.counters.stuck == 1
        broken = False
        await until(live.drained)
        assert live.trigger.status()["stuck"] == []
        assert live.trigger.counters.stuck == 0


async def test_exhausted_with_on_exhausted_terminate_is_dropped_on_request(server: NatsServer) -> None:
    calls: list[int] = []

    async def handler(message: Message) -> None:
        calls.append(message.delivery_count)
        raise ValueError

    async with running(server, handler, attempts=2, on_exhausted="terminate", retry=SOON) as live:
        await live.publish(b"x")
        await until(live.drained)
        assert calls == [1, 2]


async def test_what_does_not_decode_is_dead_lettered_unseen_where_there_is_a_dead_letter(server: NatsServer) -> None:
    await make_dead(server)
    calls: list[object] = []

    async def handler(order: dict[str, int]) -> None:
        calls.append(order)

    async with running(server, handler, dead_letter=DEAD, attempts=5, prepare=prepare_dead) as live:
        await live.publish(b"not JSON", b'{"id": 1}')
        await until(live.drained)
        assert calls == [{"id": 1}]
        payload, headers = await dead_letter(server)
        assert (payload, headers["Eventbus-Reason"]) == (b"not JSON", "undecodable")


async def test_what_does_not_decode_is_kept_and_named_where_there_is_none(server: NatsServer) -> None:
    async def handler(order: dict[str, int]) -> None:
        pass

    retry = RetryConfig(delays=(0.05, 3600.0), jitter=0.0)
    async with Observer(server.url) as observer, running(server, handler, retry=retry) as live:
        await live.publish(b"not JSON")
        await until(lambda: live.trigger.counters.stuck == 1)
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[b'-NAK {"delay": 3600000000000}']]


async def test_retry_asks_for_its_own_delay(server: NatsServer) -> None:
    async def handler(message: Message) -> None:
        raise Retry("later", delay=7.5)

    async with Observer(server.url) as observer, running(server, handler) as live:
        await live.publish(b"")
        await until(lambda: live.trigger.counters.nakked == 1)
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[b'-NAK {"delay": 7500000000}']]
        assert live.failures()[0].delay == 7.5


@pytest.mark.timed
@pytest.mark.parametrize("backoff", [None, [1.0, 3.0, 5.0]])
async def test_the_server_waits_the_wanted_time_between_deliveries(
    server: NatsServer, backoff: list[float] | None
) -> None:
    """With a consumer's `backoff` too, where the server adds its own difference to what a nak asks for."""
    came: list[float] = []

    async def handler(message: Message) -> None:
        came.append(asyncio.get_running_loop().time())
        if len(came) < 4:
            raise ValueError

    consumer = {} if backoff is None else {"backoff": [round(step * 1e9) for step in backoff], "max_deliver": 9}
    retry = RetryConfig(delays=(0.2, 0.6, 1.0), jitter=0.0)
    async with running(server, handler, consumer=consumer, retry=retry) as live:
        await live.publish(b"")
        await until(lambda: len(came) == 4)
        waits = [after - before for before, after in pairwise(came)]
        assert waits == pytest.approx([0.2, 0.6, 1.0], abs=0.25)


async def test_what_a_handler_publishes_is_confirmed_before_its_delivery_is_acked(server: NatsServer) -> None:
    async with connected(server.url) as bus:
        await make_stream(bus, "OUT", ("out.>",))

    async def handler(message: Message) -> list[Publish]:
        return [Publish("out.one", b"1"), Publish("out.two", b"2")]

    async with (
        Observer(server.url, "$JS.ACK.>", "out.>") as observer,
        running(server, handler) as live,
    ):
        await live.publish(b"")
        await until(live.drained)
        await live.shown_to(observer)
        assert [seen.subject for seen in observer.seen][:2] == ["out.one", "out.two"]
        assert observer.seen[2].payload == b""
        assert (await live.outside.api("STREAM.INFO.OUT"))["state"]["messages"] == 2


async def test_a_redelivery_does_not_publish_twice(server: NatsServer) -> None:
    """The id is made from the message, not from the delivery; a user's own id wins. An async generator counts on."""
    async with connected(server.url) as bus:
        await make_stream(bus, "OUT", ("out.>",))
    calls = 0

    async def handler(message: Message) -> AsyncIterator[Publish]:
        nonlocal calls
        calls += 1
        yield Publish("out.one", b"1")
        yield Publish("out.mine", b"2", id="mine")
        yield Publish("out.two", b"3")
        if calls == 1:
            raise ValueError

    async with Observer(server.url, "out.>") as observer, running(server, handler, retry=SOON) as live:
        await live.publish(b"")
        await until(live.drained)
        await live.shown_to(observer)
        assert Counter(seen.subject for seen in observer.seen) == {"out.one": 2, "out.mine": 2, "out.two": 2}
        state = (await live.outside.api("STREAM.INFO.OUT"))["state"]
        assert state["messages"] == 3
        await live.outside.publish("out.mine", b"again", id="mine")
        assert (await live.outside.api("STREAM.INFO.OUT"))["state"]["messages"] == 3


@pytest.mark.parametrize("outgoing", [Publish("nowhere.a", b""), Publish("out.a", b"x" * 2_000_000), Publish("a b")])
async def test_a_publish_that_fails_is_a_retry_and_never_an_ack(server: NatsServer, outgoing: Publish) -> None:
    """Nobody stores it; it is above max_payload; it is no subject."""

    async def handler(message: Message) -> Publish:
        return outgoing

    async with Observer(server.url) as observer, running(server, handler, retry=STUBBORN) as live:
        await live.publish(b"")
        await until(lambda: live.trigger.counters.nakked == 1)
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[b'-NAK {"delay": 3600000000000}']]
        assert "publish failed" in live.failures()[0].text


async def test_ack_confirm_waits_for_the_servers_answer(server: NatsServer) -> None:
    async def handler(message: Message) -> None:
        pass

    async with running(server, handler, ack_confirm=True) as live:
        await live.publish_many(50)
        await until(lambda: live.trigger.counters.acked == 50)
        assert await live.drained()
