"""The short way past nats-py's read loop tells the same, however reads and turns of the event loop fall."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.errors import ProtocolError

from eventbus_runtime.buses.nats.reader import VARIABLE
from eventbus_runtime.message import Raw
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import bus_on
from tests.buses.recorder import Recorder, by_nats_py, cut, msg, same
from tests.buses.test_parser import WHOLE, Counted, places_in_it, streams


class Socket(Recorder):
    """A recorder with a stream, and nats-py's read loop on it."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = StreamReader()
        self._transport = SimpleNamespace(_io_reader=self.stream)
        self.parses = 0
        """Reads that took the long way."""
        self.failure: ProtocolError | None = None

    def receive(self, data: bytes) -> None:
        """What `StreamReaderProtocol.data_received` does."""
        if data:
            self.stream.feed_data(data)

    async def read_loop(self) -> None:
        """As in nats-py."""
        while read := await self.stream.read(32768):
            self.parses += 1
            try:
                await self._ps.parse(read)
            except ProtocolError as error:
                self.failure = error


@asynccontextmanager
async def connected() -> AsyncIterator[Socket]:
    """All that was received has been told behind the block."""
    socket = Socket()
    loop = asyncio.create_task(socket.read_loop())
    yield socket
    socket.stream.feed_eof()
    await loop


async def turns(number: int) -> None:
    """So many turns of the event loop."""
    for _ in range(number):
        await asyncio.sleep(0)


@settings(max_examples=300, deadline=None)
@given(streams, places_in_it, st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_any_stream_cut_anywhere_is_told_as_by_nats_py(stream: bytes, places: list[float], pauses: list[int]) -> None:
    async def check() -> None:
        async with connected() as socket:
            socket.plug()
            for number, read in enumerate(cut(stream, [round(place * len(stream)) for place in places])):
                socket.receive(read)
                await turns(pauses[number % len(pauses)])
        assert same(socket, await by_nats_py(stream))

    asyncio.run(check())


@settings(max_examples=200, deadline=None)
@given(streams, places_in_it, st.integers(0, 12), st.integers(0, 12), st.integers(0, 3))
def test_the_same_when_it_is_plugged_in_and_out_on_the_way(
    stream: bytes, places: list[float], start: int, stop: int, pause: int
) -> None:
    async def check() -> None:
        async with connected() as socket:
            parser = None
            for number, read in enumerate(cut(stream, [round(place * len(stream)) for place in places])):
                if number == start:
                    parser = socket.plug()
                if number == start + stop and parser is not None:
                    parser.unplug()
                socket.receive(read)
                await turns(pause)
        assert same(socket, await by_nats_py(stream))

    asyncio.run(check())


@pytest.mark.parametrize("pause", [0, 1, 3])
async def test_every_single_cut_and_every_size_of_reads_will_do(pause: int) -> None:
    expected = await by_nats_py(WHOLE)
    for place in range(len(WHOLE)):
        size = place % 40 + 1
        for places in ([place], range(0, len(WHOLE), size)):
            async with connected() as socket:
                socket.plug()
                for read in cut(WHOLE, places):
                    socket.receive(read)
                    await turns(pause)
            assert same(socket, expected), places


async def test_messages_of_ours_are_told_at_once_however_they_are_cut() -> None:
    """But the first read, since nats-py's parser may be in the middle of one."""
    async with connected() as socket:
        socket.plug()
        socket.receive(b"PING\r\n")
        await turns(3)
        assert (socket.parses, socket.calls) == (1, [("ping",)])
        stream = msg(7, b"x", headers=b"NATS/1.0\r\n\r\n") + msg(8, bytes(100_000)) + msg(7, b"y")
        for place in range(1, 70):
            socket.calls.clear()
            for read in cut(stream, [place, len(stream) - place]):
                socket.receive(read)
            assert [len(call[4]) for call in socket.calls] == [1, 100_000, 1]
        assert socket.parses == 1


async def test_a_sink_may_unplug_in_the_middle_of_a_read() -> None:
    stream = WHOLE + msg(7, b"") + WHOLE
    for size in range(1, len(stream) + 1, 3):
        async with connected() as socket:
            parser = socket.plug()
            take = socket.sink(7)

            def end(raws: list[Raw], take: Any = take, parser: Any = parser) -> None:
                take(raws)
                if len(raws[0][2]) == 0:
                    parser.unplug()

            parser.slots.add(7, end)
            for read in cut(stream, range(size, len(stream), size)):
                socket.receive(read)
                await turns(size % 3)
        assert same(socket, await by_nats_py(stream)), size
        assert "feed_data" not in vars(socket.stream)


async def test_what_somebody_put_over_it_stays_and_is_told_all() -> None:
    async with connected() as socket:
        parser = socket.plug()
        ours = socket.stream.feed_data
        vars(socket.stream)["feed_data"] = theirs = lambda data: ours(data)
        socket.receive(b"PING\r\n" + msg(7, b"x"))
        await turns(3)
        parser.unplug()
        assert vars(socket.stream)["feed_data"] is theirs
        parser.slots.forget(7)
        for read in cut(msg(7, b"in two"), [18]):
            socket.receive(read)
    assert [call[4] for call in socket.calls if call[0] == "msg"] == [b"x", b"in two"]


async def test_a_line_in_many_reads_costs_linear_time() -> None:
    line = b'INFO {"connect_urls":["%b"]}\r\n' % (b"x" * 500_000)
    Counted.seen = 0
    async with connected() as socket:
        socket.plug()
        socket.receive(b"PING\r\n")
        for read in cut(line, range(100, len(line), 100)):
            socket.receive(Counted(read))
            await turns(2)
    assert socket.calls[-1] == ("info", {"connect_urls": ["x" * 500_000]})
    assert Counted.seen < 10 * len(line)


async def test_a_line_that_never_ends_does_not_fill_the_memory() -> None:
    async with connected() as socket:
        socket.plug()
        for _ in range(40):
            socket.receive(b"1" * 32768)
            await turns(2)
    assert socket.failure is not None


async def test_it_is_there_on_a_real_connection_and_gone_with_it(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the batch reader alone: nats-py's own parser knows nothing of it."""
    for reader, is_short in (("batch", True), ("compatible", False)):
        monkeypatch.setenv(VARIABLE, reader)
        async with bus_on(server.url) as bus:
            await bus.wait_connected()
            stream = bus._life.live().client._transport._io_reader  # type: ignore[union-attr]
            assert ("feed_data" in vars(stream)) is is_short
        assert "feed_data" not in vars(stream)
