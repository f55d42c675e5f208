"""Messages near the server's `max_payload`, which counts headers and payload together."""

from __future__ import annotations

import re

import pytest

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.headers import encode
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Publish, Reject
from tests.conftest import MakeServer
from tests.triggers.live import SOON, Observer, make_stream, running, sequence_of, until
from tests.triggers.test_live_settlement import DEAD, dead_letter, make_dead, prepare_dead

LIMIT = 64 * 1024
CONFIG = f"max_payload: {LIMIT}"
HEADERS = [("Type", "big")]


def body(below: int = 0) -> bytes:
    """A payload that is so many bytes below the limit with these headers."""
    return bytes(LIMIT - len(encode(HEADERS)) - below)


async def test_a_message_of_exactly_the_limit_comes_whole_and_is_acked(make_server: MakeServer) -> None:
    got: list[Message] = []

    async def handler(message: Message) -> None:
        got.append(message)

    async with running(make_server(CONFIG), handler) as live:
        await live.outside.publish("s.a", body(), HEADERS)
        await until(live.drained)
        assert [(message.payload, message.headers["Type"]) for message in got] == [(body(), "big")]
        assert live.trigger.counters.acked == 1


async def test_its_dead_letter_leaves_out_the_error_where_only_that_is_too_much(make_server: MakeServer) -> None:
    server = make_server(CONFIG)
    await make_dead(server)

    async def handler(message: Message) -> None:
        raise Reject("why " * 250)

    async with running(server, handler, dead_letter=DEAD, attempts=5, prepare=prepare_dead) as live:
        await live.outside.publish("s.a", body(below=700), HEADERS)
        await until(live.drained)
        payload, headers = await dead_letter(server)
        assert (payload, headers["Type"], headers["Eventbus-Reason"]) == (body(below=700), "big", "rejected")
        assert "Eventbus-Error" not in headers
        assert live.trigger.counters.dead_lettered == 1


async def test_of_one_that_is_too_large_a_reference_is_dead_lettered_once_and_the_message_stays(
    make_server: MakeServer,
) -> None:
    """The only copy is not given up for a reference to it."""
    server = make_server(CONFIG)
    await make_dead(server)

    async def handler(message: Message) -> None:
        if message.payload:
            raise Reject("no good")

    async with (
        Observer(server.url) as observer,
        running(server, handler, dead_letter=DEAD, attempts=5, retry=SOON, prepare=prepare_dead) as live,
    ):
        await live.outside.publish("s.a", body(), HEADERS)
        await live.publish(b"")
        await until(lambda: live.trigger.counters.nakked >= 4)
        payload, headers = await dead_letter(server)
        assert (payload, headers["Eventbus-Payload-Left-Out"]) == (b"", str(len(body())))
        assert (headers["Eventbus-Stream"], headers["Eventbus-Sequence"]) == ("S", "1")
        assert (await live.outside.api("STREAM.INFO.DEAD"))["state"]["messages"] == 1
        failure = live.failures()[0]
        assert (failure.settlement, failure.stuck) == ("nak", True)
        assert "too large" in failure.text
        assert "no good" in failure.text
        (stuck,) = live.trigger.status()["stuck"]
        assert stuck["sequence"] == 1
        assert (await live.info()).num_ack_pending == 1
        await live.shown_to(observer)
        said = [words for token, words in observer.settlements().items() if sequence_of(token) == 1]
        assert all(words[0].startswith(b"-NAK") for words in said)
        assert live.trigger.counters.acked == 1, "the other one went on"


@pytest.mark.parametrize("how", ["returned", "awaited"])
async def test_what_a_handler_publishes_above_the_limit_is_named_with_both_sizes_and_retried(
    make_server: MakeServer, how: str
) -> None:
    server = make_server(CONFIG)
    calls: list[int] = []

    async def handler(message: Message, bus: Bus) -> Publish | None:
        calls.append(message.delivery_count)
        if message.delivery_count > 2:
            return None
        if how == "returned":
            return Publish("out.big", body(below=-1), dict(HEADERS))
        await bus.publish("out.big", body(below=-1), HEADERS)
        return None

    async with running(server, handler, retry=SOON) as live:
        await make_stream(live.outside, "OUT", ("out.>",))
        await live.publish(b"1")
        await until(live.drained)
        assert calls == [1, 2, 3]
        assert [failure.settlement for failure in live.failures()] == ["nak", "nak"]
        for failure in live.failures():
            said = re.search(
                rf"to 'out.big' has (\d+) bytes with its headers, and the server takes {LIMIT} ", failure.text
            )
            assert said is not None, failure.text
            assert int(said[1]) > LIMIT
        assert live.bus.counters.reconnects == 0
