"""The proxy itself: it must do what it is asked to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.proxy import Proxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Ends:
    """A proxy, and both ends of the connections through it."""

    def __init__(self) -> None:
        self._accepted: asyncio.Queue[Streams] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> None:
        """Start the server behind it, and connect once."""
        self._server = await asyncio.start_server(lambda *streams: self._accepted.put_nowait(streams), "127.0.0.1", 0)
        self.proxy = await Proxy(self._server.sockets[0].getsockname()[1]).__aenter__()
        self.from_server, self.to_server = await self.connect()
        self.from_client, self.to_client = await self.accepted()

    async def connect(self) -> Streams:
        """A new connection, as a client has it."""
        streams = await asyncio.open_connection("127.0.0.1", int(self.proxy.url.rpartition(":")[2]))
        self._writers.append(streams[1])
        return streams

    async def accepted(self) -> Streams:
        """The next connection, as the server has it."""
        async with asyncio.timeout(5):
            streams = await self._accepted.get()
        self._writers.append(streams[1])
        return streams

    async def close(self) -> None:
        """End all of it."""
        await self.proxy.__aexit__(None, None, None)
        for writer in self._writers:
            writer.transport.abort()
        self._server.close()


@pytest_asyncio.fixture
async def ends() -> AsyncIterator[Ends]:
    made = Ends()
    await made.open()
    yield made
    await made.close()


async def is_over(reader: asyncio.StreamReader) -> bool:
    """Whether there is nothing more to read: an end of file, or a reset."""
    try:
        async with asyncio.timeout(5):
            return await reader.read() == b""
    except ConnectionResetError:
        return True


async def arrives(reader: asyncio.StreamReader, data: bytes) -> float:
    """Seconds until exactly this was read."""
    began = time.monotonic()
    async with asyncio.timeout(5):
        assert await reader.readexactly(len(data)) == data
    return time.monotonic() - began


async def test_it_lets_both_ways_through(ends: Ends) -> None:
    ends.to_server.write(b"there")
    ends.to_client.write(b"back")
    assert await arrives(ends.from_client, b"there") < 5
    assert await arrives(ends.from_server, b"back") < 5


async def test_it_delays(ends: Ends) -> None:
    ends.proxy.delay = 0.2
    ends.to_server.write(b"there")
    assert await arrives(ends.from_client, b"there") >= 0.2


async def test_it_throttles(ends: Ends) -> None:
    ends.proxy.rate = 64 * 1024
    ends.to_server.write(bytes(32 * 1024))
    assert await arrives(ends.from_client, bytes(32 * 1024)) >= 0.3


@pytest.mark.parametrize("back", [True, False])
async def test_half_closed_one_side_reads_the_end_and_what_it_writes_arrives(ends: Ends, back: bool) -> None:
    ends.proxy.half_close(back=back)
    reader, answer, other = (
        (ends.from_server, ends.to_server, ends.from_client)
        if back
        else (ends.from_client, ends.to_client, ends.from_server)
    )
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    answer.write(b"still there")
    assert await arrives(other, b"still there") < 5


async def test_deaf_it_loses_what_the_server_says_alone(ends: Ends) -> None:
    ends.proxy.deaf = True
    ends.to_client.write(b"lost")
    ends.to_server.write(b"there")
    assert await arrives(ends.from_client, b"there") < 5
    ends.proxy.mend()
    ends.to_client.write(b"back")
    assert await arrives(ends.from_server, b"back") < 5


async def test_cut_it_ends_both_and_refuses_new_ones_until_it_is_mended(ends: Ends) -> None:
    ends.proxy.cut()
    assert await is_over(ends.from_client)
    assert await is_over(ends.from_server)
    reader, _ = await ends.connect()
    assert await is_over(reader)
    ends.proxy.mend()
    _, writer = await ends.connect()
    writer.write(b"again")
    from_client, _ = await ends.accepted()
    assert await arrives(from_client, b"again") < 5
