"""A TCP way to a server that can be cut, slowed down, and broken in one direction alone."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

_CHUNK = 4096
_UNDER_WAY = 64
"""Chunks that may be under way in one direction: a slow line pushes back, it does not swallow."""


class _Direction:
    """One direction of one connection: reads, waits, writes."""

    def __init__(self, proxy: Proxy, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, back: bool) -> None:
        self.back = back
        self._proxy, self._source, self._sink = proxy, source, sink
        self._under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)
        self._ended = False

    async def run(self) -> None:
        """Until either side ends, or the proxy cuts it."""
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read())
                await self._write()
                reading.cancel()
        except* OSError:
            pass
        finally:
            self.cut()

    def cut(self) -> None:
        """Reset the connection that this one writes to."""
        self._sink.transport.abort()

    def end(self) -> None:
        """Tell the reader that this was all; what still comes is dropped."""
        self._ended = True
        self._sink.write_eof()

    async def _read(self) -> None:
        now = asyncio.get_running_loop().time
        while data := await self._source.read(_CHUNK):
            await self._under_way.put((now() + self._proxy.delay, data))
            if self._proxy.rate:
                await asyncio.sleep(len(data) / self._proxy.rate)
        await self._under_way.put((now(), b""))

    async def _write(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due, data = await self._under_way.get()
            await asyncio.sleep(due - now())
            if not data:
                return
            if not self._ended and not (self.back and self._proxy.deaf):
                self._sink.write(data)
                await self._sink.drain()


class Proxy:
    """Listens on loopback, and connects each client with the server.

    Args:
        port: the server's.
    """

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        """Seconds that whatever is sent takes longer, each way."""
        self.rate = 0
        """Bytes a second that pass, each way and connection; 0: as many as there are."""
        self.deaf = False
        """Whether what the server says is lost, while what clients say arrives."""
        self._target = port
        self._shut = False
        self._directions: set[_Direction] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset all connections, and refuse new ones until `mend`."""
        self._shut = True
        for direction in self._directions:
            direction.cut()

    def mend(self) -> None:
        """Let everything through again."""
        self._shut = self.deaf = False
        self.delay, self.rate = 0.0, 0

    def half_close(self, *, back: bool) -> None:
        """End one direction of all connections: clients (`back`) or the server read an end of file, while what they
        write still arrives."""
        for direction in self._directions:
            if direction.back is back:
                direction.end()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._shut:
            return writer.transport.abort()
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            return writer.transport.abort()
        pair = _Direction(self, reader, to_server, back=False), _Direction(self, from_server, writer, back=True)
        self._directions.update(pair)
        try:
            await asyncio.gather(*(direction.run() for direction in pair))
        finally:
            self._directions.difference_update(pair)
        return None
