"""Whatever a message looks like, it reaches its handler whole, and the bounds hold."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventbus_runtime.message import Message
from eventbus_runtime.testing.server import NatsServer
from tests.conftest import MakeServer
from tests.triggers.live import Observer, connected, make_stream, running, sequence_of, until


async def collect(server: NatsServer, *raw: bytes, **config: Any) -> list[Message]:
    """Handle what these protocol commands publish to `s.>`."""
    got: list[Message] = []

    async def handler(message: Message) -> None:
        got.append(message)

    async with Observer(server.url) as observer, running(server, handler, **config) as live:
        for command in raw:
            observer.write(command)
        await observer.flush()
        await until(live.drained)
        assert live.trigger.counters.acked + live.trigger.counters.filtered == len(raw)
    return sorted(got, key=lambda message: message.sequence)


def hpub(subject: bytes, lines: bytes, payload: bytes) -> bytes:
    head = b"NATS/1.0\r\n" + lines + b"\r\n"
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(head), len(head) + len(payload), head, payload)


@pytest.mark.seed("S-53", "S-72")
async def test_the_six_fields_have_their_types(server: NatsServer) -> None:
    """S-53, S-72."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    (message,) = await collect(server, hpub(b"s.one.two", b"Kind: a\r\nkind: b\r\n", b"\x00\xff"))
    assert message.subject == "s.one.two"
    assert message.payload == b"\x00\xff"
    assert message.headers["Kind"] == "a"
    assert type(message.sequence) is int
    assert message.sequence == 1
    assert before < message.published_at < datetime.now(UTC) + timedelta(seconds=1)
    assert message.published_at.tzinfo is UTC
    assert message.ack_token.startswith("$JS.ACK.S.c.1.1.1.")
    assert (message.stream, message.consumer, message.delivery_count, message.pending) == ("S", "c", 1, 0)


async def test_odd_headers_and_payloads_come_as_they_were_sent(server: NatsServer) -> None:
    """Repeated names, not ASCII, not UTF-8; a payload of no bytes, and of not-JSON."""
    got = await collect(
        server,
        hpub(b"s.a", b"A: 1\r\nA: 2\r\n", b""),
        hpub(b"s.a", "Größe: süß\r\n".encode(), b"{"),
        hpub(b"s.a", b"A: \xff\xfe\r\n", b"\r\n\r\n"),
        b"PUB s.a 0\r\n\r\n",
    )
    assert got[0].headers.getall("A") == ["1", "2"]
    assert got[1].headers["Größe"] == "süß"
    assert got[2].headers["A"].encode("utf-8", "surrogateescape") == b"\xff\xfe"
    assert [message.payload for message in got] == [b"", b"{", b"\r\n\r\n", b""]
    assert dict(got[3].headers) == {}


async def test_a_payload_of_8_mib_comes_whole(make_server: MakeServer) -> None:
    payload = bytes(range(256)) * (32 * 1024)
    (message,) = await collect(make_server("max_payload: 16MB"), b"PUB s.a %d\r\n%b\r\n" % (len(payload), payload))
    assert message.payload == payload


async def test_bad_headers_and_a_rejection_make_a_dead_letter_all_the_same(server: NatsServer) -> None:
    """No message lost for what its headers hold."""
    async with connected(server.url) as bus:
        await make_stream(bus, "DEAD", ("dead.>",))

    async def handler(order: dict[str, int]) -> None:
        pass

    async with (
        Observer(server.url) as observer,
        running(server, handler, dead_letter="dead.t", attempts=5, stream={"allow_rollup_hdrs": True}) as live,
    ):
        for lines in (b"Nats-Rollup: all\r\n", b"A: 1\r\nA: 2\r\n", "Größe: süß\r\n".encode(), b"A: \xff\xfe\r\n"):
            observer.write(hpub(b"s.a", lines, b"not JSON"))
        await observer.flush()
        await until(live.drained)
        assert (await live.outside.api("STREAM.INFO.DEAD"))["state"]["messages"] == 4


async def test_what_the_filter_does_not_let_through_is_acked_unseen(server: NatsServer) -> None:
    got: list[bytes] = []

    async def handler(message: Message) -> None:
        got.append(message.payload)

    wanted = {"header:Type": "invoice"}
    async with Observer(server.url) as observer, running(server, handler, filter=wanted, max_in_flight=3) as live:
        for number in range(20):
            lines = b"Type: invoice\r\n" if number % 5 == 0 else b"Type: \xff\r\n"
            observer.write(hpub(b"s.a", lines, b"%d" % number))
        await observer.flush()
        await until(live.drained)
        assert got == [b"0", b"5", b"10", b"15"]
        counters = live.trigger.counters
        assert (counters.received, counters.filtered, counters.acked) == (20, 16, 4)
        assert sorted(map(sequence_of, observer.settlements())) == list(range(1, 21))
        assert {len(words) for words in observer.settlements().values()} == {1}


async def test_max_bytes_bounds_what_is_in_flight(server: NatsServer) -> None:
    held = most = 0

    async def handler(message: Message) -> None:
        nonlocal held, most
        held += len(message.payload)
        most = max(most, held)
        await asyncio.sleep(0.01)
        held -= len(message.payload)

    async with running(server, handler, max_bytes=100_000) as live:
        await live.publish_many(100, payload=b"x" * 4_000)
        await until(live.drained)
        assert 4_000 < most <= 100_000
        assert live.trigger.counters.redelivered == 0


@pytest.mark.parametrize("size", [30_000, 200_000])
async def test_a_message_above_the_bound_is_handled_alone_and_told(server: NatsServer, size: int) -> None:
    """Above what one request may bring, and above the whole bound: else it would block the consumer for ever."""
    inside = 0
    alone: list[int] = []

    async def handler(message: Message) -> None:
        nonlocal inside
        inside += 1
        if len(message.payload) == size:
            alone.append(inside)
        await asyncio.sleep(0.01)
        inside -= 1

    async with running(server, handler, max_bytes=100_000) as live:
        for payload in (b"x" * 1000, b"x" * size, b"x" * 1000):
            await live.publish_many(10 if len(payload) < size else 1, payload=payload)
        await until(live.drained)
        assert alone == [1]
        assert live.trigger.counters.acked == 21
        assert len([text for text in live.warnings() if "max_bytes" in text]) == 1
