"""Raw deliveries, frames and pings."""

from __future__ import annotations

import asyncio
import os
import time
from math import inf
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.buses.nats.writer import publication
from eventbus_runtime.message import Raw
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import Sink, bus_on, frozen, poll
from tests.conftest import MakeServer


async def test_frames_of_one_turn_come_in_order_and_in_few_lists(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        inbox = await bus.open_inbox(sink, wildcard=True)
        for n in range(500):
            bus.send([Frame(f"{inbox.subject}.{n}", b"%d" % n, "reply.to")])
        raws = await sink.until(500)
        assert raws[7] == (f"{inbox.subject}.7".encode(), b"reply.to", b"7", None)
        assert [raw[2] for raw in raws] == [b"%d" % n for n in range(500)]
        assert len(sink.lists) < 100


async def test_header_blocks_and_payloads_arrive_byte_for_byte(server: NatsServer) -> None:
    """What is repeated, not ASCII or not UTF-8 is not lost."""
    block = b"NATS/1.0\r\nA: 1\r\nA: 2\r\nB: \xff\xfe\r\nC: Z\xc3\xbcrich\r\n\r\n"
    payload = bytes(range(256))
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        link = bus._life.live()
        link.requests._write(publication(inbox.subject, payload, headers=block))
        link.requests._write(publication(inbox.subject, b"", headers=block))
        assert await sink.until(2) == [
            (inbox.subject.encode(), b"", payload, block),
            (inbox.subject.encode(), b"", b"", block),
        ]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.binary(max_size=3000), min_size=1, max_size=50))
def test_any_payloads_arrive_whole_and_in_order(server: NatsServer, bodies: list[bytes]) -> None:
    async def check() -> None:
        async with bus_on(server.url) as bus:
            await bus.wait_connected()
            sink = Sink()
            inbox = await bus.open_inbox(sink)
            bus.send([Frame(inbox.subject, body) for body in bodies])
            assert [raw[2] for raw in await sink.until(len(bodies))] == bodies

    asyncio.run(check())


async def test_payloads_of_no_bytes_and_of_8_MiB_go_through(make_server: MakeServer) -> None:
    server = make_server("max_payload: 16MB")
    large = os.urandom(8 << 20)
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        assert bus.max_payload == 16 << 20
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        bus.send([Frame(inbox.subject, b""), Frame(inbox.subject, large), Frame(inbox.subject, b"end")])
        assert [raw[2] for raw in await sink.until(3)] == [b"", large, b"end"]
        await bus.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
        assert (await bus.publish("s", large, timeout=20)).sequence == 1


async def test_an_inbox_bears_the_configured_prefix(server: NatsServer) -> None:
    async with bus_on(server.url, inbox_prefix="_INBOX_billing") as bus:
        await bus.wait_connected()
        inbox = await bus.open_inbox(Sink())
        other = await bus.open_inbox(Sink())
        assert inbox.subject.startswith("_INBOX_billing.")
        assert inbox.subject != other.subject
        asked = Sink()
        here = await bus.open_inbox(asked)
        question = asyncio.ensure_future(bus.request(here.subject))
        [raw] = await asked.until(1)
        assert raw[1].startswith(b"_INBOX_billing.")
        bus.send([Frame(raw[1].decode(), b"yes")])
        assert await question == b"yes"


async def test_an_unsubscribed_inbox_gets_what_is_under_way_and_no_more(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        bus.send([Frame(inbox.subject, b"before")])
        await inbox.unsubscribe()
        bus.send([Frame(inbox.subject, b"after")])
        assert await bus.ping()
        assert [raw[2] for raw in sink.all] == [b"before"]


async def test_a_closed_inbox_gets_nothing(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        bus.send([Frame(inbox.subject, b"before")])
        inbox.close()
        inbox.close()
        assert await bus.ping()
        assert sink.all == []


async def test_a_sink_may_close_its_inbox_and_send(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        got: list[Raw] = []

        def take(raws: list[Raw]) -> None:
            got.extend(raws)
            inbox.close()
            bus.send([Frame(inbox.subject, b"again")])

        inbox = await bus.open_inbox(take)
        bus.send([Frame(inbox.subject, b"once")])
        await poll(lambda: bool(got))
        assert await bus.ping()
        assert [raw[2] for raw in got] == [b"once"]


async def test_a_ping_answers_after_all_that_was_sent_before(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        for _ in range(20):
            count = len(sink.all)
            bus.send([Frame(inbox.subject, bytes(1000))] * 200)
            assert await bus.ping()
            assert len(sink.all) == count + 200


async def test_a_ping_that_is_not_answered_in_time_is_false_and_harms_nothing(server: NatsServer) -> None:
    """nats-py's own `flush` kills its reader when the PONG comes after the time-out."""
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        with frozen(server):
            assert not await bus.ping(0.05)
            cancelled = asyncio.ensure_future(bus.ping())
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait({cancelled})
        assert await bus.ping()
        assert bus.counters.reconnects == 0


async def test_a_ping_ends_when_the_connection_does(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        with frozen(server):
            asked = asyncio.ensure_future(bus.ping(60))
            await asyncio.sleep(0)
            server.kill()
            assert not await asyncio.wait_for(asked, 10)
        assert not await bus.ping(60)


async def test_a_server_that_takes_nothing_does_not_block_who_sends(make_server: MakeServer) -> None:
    server = make_server('write_deadline: "10s"')
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        assert await bus.ping()
        with frozen(server):
            began = time.monotonic()
            for _ in range(300):
                bus.send([Frame(inbox.subject, bytes(100_000), keep_until=inf)])
                await asyncio.sleep(0)
            assert time.monotonic() - began < 5
            transport: Any = bus._life.live().client._transport
            # The socket's buffer does not grow without bound: the rest waits with the writer.
            assert transport._io_writer.transport.get_write_buffer_size() < 20_000_000
        assert len(await sink.until(300)) == 300
