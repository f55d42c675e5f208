"""What leaves: joined, in order, and never more in memory than a stalled socket must cost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import Sink, bus_on, frozen, poll
from tests.conftest import MakeServer

PATIENT = 'write_deadline: "20s"'


def _transport(bus: NatsBus) -> Any:
    return bus._life.live().client._transport


@contextmanager
def writes_of(bus: NatsBus, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What is handed to the socket, write by write."""
    transport, writes = _transport(bus), list[bytes]()
    write = transport.write

    def noted(data: bytes) -> None:
        writes.append(data)
        write(data)

    with monkeypatch.context() as patched:
        patched.setattr(transport, "write", noted)
        yield writes


async def test_what_one_turn_of_the_event_loop_says_is_one_write_in_its_order(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.ping()
        with writes_of(bus, monkeypatch) as writes:
            bus.send([Frame("a", b"1"), Frame("b", b"2", "r")])
            bus.answer_all([b"t.1", b"t.2", b"t.3"], reply="f.1")
            bus.answer_all([b"t.4"], b"+TERM")
            bus.send([Frame("c")])
            assert await bus.ping()
    assert writes == [
        b"PUB a 1\r\n1\r\nPUB b r 1\r\n2\r\n"
        b"PUB t.1 0\r\n\r\nPUB t.2 0\r\n\r\nPUB t.3 f.1 0\r\n\r\nPUB t.4 5\r\n+TERM\r\n"
        b"PUB c 0\r\n\r\nPING\r\n"
    ]


async def test_answers_of_each_kind_reach_their_subjects(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        inbox = await bus.open_inbox(sink, wildcard=True)
        subjects = [f"{inbox.subject}.{number}".encode() for number in range(100)]
        bus.answer_all(subjects, b"-NAK", "reply")
        got = await sink.until(100)
    assert [raw[0] for raw in got] == subjects
    assert {raw[2] for raw in got} == {b"-NAK"}
    assert [raw[1] for raw in got] == [b""] * 99 + [b"reply"]


async def test_a_stalled_socket_gets_no_more_than_it_takes_and_the_rest_keeps_its_order(
    make_server: MakeServer,
) -> None:
    server = make_server(PATIENT)
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        assert await bus.ping()
        sent = 0
        with frozen(server):
            while not bus.congested:
                bus.send([Frame(inbox.subject, b"%d " % sent + bytes(50_000))])
                sent += 1
                await asyncio.sleep(0)
            held = _transport(bus)._io_writer.transport.get_write_buffer_size()
            for _ in range(200):
                bus.send([Frame(inbox.subject, b"%d " % sent + bytes(50_000))])
                sent += 1
                await asyncio.sleep(0)
            assert _transport(bus)._io_writer.transport.get_write_buffer_size() <= held
            assert len(bus._life.writer._queue) == 200
        got = await sink.until(sent)
        assert [int(raw[2].split(b" ")[0]) for raw in got] == list(range(sent))
        await poll(lambda: not bus.congested)


async def test_what_a_stalled_socket_made_too_late_is_not_written(make_server: MakeServer) -> None:
    server = make_server(PATIENT)
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        assert await bus.ping()
        now = asyncio.get_running_loop().time
        with frozen(server):
            while not bus.congested:
                bus.send([Frame("elsewhere", bytes(50_000))])
                await asyncio.sleep(0)
            soon = now() + 0.05
            bus.send(
                [Frame(inbox.subject, b"late", keep_until=soon), Frame(inbox.subject, b"early", keep_until=soon + 60)]
            )
            bus.send([Frame(inbox.subject, b"whenever")])
            await poll(lambda: now() > soon)
        assert [raw[2] for raw in await sink.until(2)] == [b"early", b"whenever"]


async def test_answers_are_dropped_without_a_connection(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        server.kill()
        await poll(lambda: not bus.is_connected)
        bus.answer_all([b"t.1"])
        assert bus._life.writer._queue == []
        assert not bus.congested


async def test_a_subject_that_is_longer_than_the_server_takes_costs_nobody_the_connection(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        with pytest.raises(ValueError, match="too long"):
            bus.send([Frame("a", b"fine"), Frame("s" * 5000)])
        assert await bus.ping()
        assert bus.counters.reconnects == 0


async def test_many_commands_of_one_turn_are_written_before_it_ends(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.ping()
        with writes_of(bus, monkeypatch) as writes:
            for number in range(150):
                bus._life.writer.write(b"PUB a.%d 0\r\n\r\n" % number)
            assert [data.count(b"PUB") for data in writes] == [64, 64]
            await bus.ping()
    assert b"".join(writes) == b"".join(b"PUB a.%d 0\r\n\r\n" % number for number in range(150)) + b"PING\r\n"
