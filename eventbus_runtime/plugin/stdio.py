"""stdout belongs to the handshake: what else writes there, whoever it is, goes to the host by a stream of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.plugin.messages import BROKER, Proto, message

_STDOUT = 1
_MOST = 1 << 20
_CHUNK = 1 << 15


class Stdout:
    """Takes file descriptor 1 away from everybody, for good; make it before anything can print.

    What is written there is kept for `stream`, and never makes who writes wait: at most 1 MiB, the newest, while no
    host reads it.

    Raises:
        PluginError: stdout is closed.
    """

    def __init__(self) -> None:
        if sys.stdout is None:
            raise PluginError("stdout is closed, on which a host is told where this process listens")
        sys.stdout.flush()
        self._handshake = os.dup(_STDOUT)
        reading, writing = os.pipe()
        os.dup2(writing, _STDOUT)
        os.close(writing)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._more: asyncio.Event | None = None
        # A thread, so that a blocked event loop does not block who prints.
        threading.Thread(target=self._pump, args=(reading,), name="stdout", daemon=True).start()

    def say(self, line: str) -> None:
        """Tell the host; once.

        Raises:
            PluginError: it does not listen.
        """
        try:
            os.write(self._handshake, f"{line}\n".encode())
        except OSError as error:
            raise PluginError(f"the host can't be told where this process listens: {error}") from None

    async def stream(self) -> AsyncIterator[Proto]:
        """What was printed, as `plugin.StdioData`, for as long as somebody wants it. For one reader at a time: what one
        got no other gets."""
        data = message(f"{BROKER}.StdioData")
        self._loop, self._more = asyncio.get_running_loop(), asyncio.Event()
        more = self._more
        while True:
            more.clear()
            while self._kept:
                part = self._kept.popleft()
                self._size -= len(part)
                yield data(channel=1, data=part)
            await more.wait()

    def _pump(self, reading: int) -> None:
        while part := os.read(reading, _CHUNK):
            self._kept.append(part)
            self._size += len(part)
            while self._size > _MOST:
                try:
                    self._size -= len(self._kept.popleft())
                except IndexError:  # the reader took the last one meanwhile
                    break
            if self._loop is not None and self._more is not None:
                with suppress(RuntimeError):  # the loop has ended, and its process does
                    self._loop.call_soon_threadsafe(self._more.set)
