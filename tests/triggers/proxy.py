"""A TCP way to the server that a test can spoil."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self


class Proxy:
    """A TCP way to the server that can be cut, that can lose what we publish, and that can take nothing for a while."""

    def __init__(self, port: int) -> None:
        self.loses = b""
        """Commands to the server that begin so are lost in silence; empty: none."""
        self.lost = 0
        self._target = port
        self._open: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[Any]] = set()
        self._shut = False
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._flowing.set()
        self._server.close()
        if self._relays:
            await asyncio.wait(self._relays)

    def cut(self) -> None:
        """Break all connections, and refuse new ones until `mend`."""
        self._shut = True
        for writer in self._open:
            writer.transport.abort()

    def stall(self) -> None:
        """Read nothing more from either side until `mend`, and leave the connections as they are."""
        self._flowing.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._shut = False
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.current_task()
        assert relay is not None
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)
        self._open.add(writer)
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._open.add(back)
        if self._shut:  # since before, or meanwhile
            self.cut()
        await asyncio.gather(
            self._pump(reader, back, self._command), self._pump(there, writer, lambda source: source.read(1 << 16))
        )

    async def _command(self, source: asyncio.StreamReader) -> bytes:
        """The next command of a client, whole; those that are lost left out."""
        while data := await source.readline():
            if data.startswith((b"PUB ", b"HPUB ")):
                data += await source.readexactly(int(data.split()[-1]) + 2)
            if not self.loses or not data.startswith(self.loses):
                return data
            self.lost += 1
        return b""

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        read: Callable[[asyncio.StreamReader], Awaitable[bytes]],
    ) -> None:
        try:
            while data := await read(source):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        except (OSError, EOFError):
            pass
        finally:
            sink.transport.abort()
            self._open.discard(sink)
