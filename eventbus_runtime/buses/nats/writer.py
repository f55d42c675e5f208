"""What we say to the server: joined per turn of the event loop, and written once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from nats.aio.client import Client

from eventbus_runtime.buses.base import Frame

_SUBJECT = re.compile(r"[^ \t\r\n]+")
# The server's `max_control_line`; a longer line would cost everybody the connection.
_MAX_LINE = 4096
# Bytes that wait in the event loop's buffer for the socket: asyncio's own high-water mark.
_FULL = 64 * 1024
# Commands that are written at once, so that the server begins with them while this turn of the loop makes more.
_PLENTY = 64


def check_subject(subject: str) -> bytes:
    """`subject` as it goes on the wire.

    Raises:
        ValueError: it is empty, or holds white space, with which it could smuggle a command into the protocol; or it
            is no text that UTF-8 can hold.
    """
    if _SUBJECT.fullmatch(subject) is None:
        raise ValueError(f"{subject!r} can't be a subject: it must not be empty, nor hold spaces, tabs or line ends")
    try:
        return subject.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ValueError(f"{subject!r} can't be a subject: {error.reason}") from None


def publication(subject: str, payload: bytes, reply: str = "", headers: bytes = b"") -> bytes:
    """One PUB or HPUB command.

    Args:
        subject: where to.
        payload: the body.
        reply: reply subject, or empty.
        headers: an encoded header block, or empty.

    Raises:
        ValueError: subject or reply can't go on the wire, or are longer than the server takes.
    """
    words = [b"HPUB" if headers else b"PUB", check_subject(subject)]
    if reply:
        words.append(check_subject(reply))
    if headers:
        words.append(b"%d" % len(headers))
    words.append(b"%d" % (len(headers) + len(payload)))
    line = b" ".join(words)
    if len(line) > _MAX_LINE:
        raise ValueError(f"the subject {subject[:40]!r}… is too long: with its reply it may take {_MAX_LINE} bytes")
    return b"".join((line, b"\r\n", headers, payload, b"\r\n"))


class Writer:
    """Outgoing commands of one bus, in order, joined per turn of the event loop. What may outlive a connection waits
    here for the next one."""

    def __init__(self) -> None:
        self._queue: list[tuple[bytes, float]] = []
        self._pings: list[asyncio.Future[bool]] = []
        self._out: _Out | None = None
        self._due = False
        self._closed = False

    @property
    def congested(self) -> bool:
        """Whether the connection takes nothing more for now, so that commands gather here."""
        return self._out is not None and self._out.full.is_set()

    def send(self, frames: Sequence[Frame]) -> None:
        """Write frames behind all that was given before; away from the server, keep those that may wait.

        Raises:
            ValueError: a subject can't go on the wire; nothing of this call is written then.
        """
        encoded = [(publication(frame.subject, frame.body, frame.reply), frame.keep_until) for frame in frames]
        if self._closed:
            return
        if self._out is None:
            encoded = [item for item in encoded if item[1]]
        self._queue += encoded
        self._wake()

    def answer_all(self, subjects: Sequence[bytes], body: bytes, reply: str) -> None:
        """Write `body` to each of `subjects`, the last with `reply`; dropped while there is no connection.

        Args:
            subjects: as they came off the wire, so that they hold no white space; at least one.
            body: payload of each.
            reply: reply subject of the last, or empty.
        """
        *most, last = subjects
        ending = b" %d\r\n%b\r\n" % (len(body), body)
        command = publication(last.decode(), body, reply)
        if most:
            command = b"".join((b"PUB ", (ending + b"PUB ").join(most), ending, command))
        self.write(command)

    def write(self, command: bytes) -> None:
        """Write a command that belongs to the present connection, and goes with it."""
        if self._out is not None:
            self._queue.append((command, 0.0))
            if len(self._queue) >= _PLENTY:
                self._write()
            elif not self._due:  # as in `_wake`: spares a call for all but one
                self._wake()

    def ping(self) -> asyncio.Future[bool]:
        """Write a PING behind all that was given before. The future is done at its PONG; it must never be cancelled,
        since nats-py's reader would stumble over it."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pings.append(future)
        self.write(b"PING\r\n")
        return future

    def attach(self, client: Client, lost: Callable[[BaseException], None]) -> None:
        """There is a connection: what waited and is not too old goes out first.

        Args:
            client: the connected nats-py client.
            lost: called with the error when the connection does not take any more.
        """
        now = asyncio.get_running_loop().time()
        self._queue = [item for item in self._queue if item[1] >= now]
        self._out = _Out(client, lost)
        self._wake()

    def detach(self) -> None:
        """The connection is gone, and with it all that belonged to it."""
        self._out = None
        self._pings.clear()

    def close(self) -> None:
        """Nothing is taken or written any more."""
        self.detach()
        self._closed = True
        self._queue.clear()

    async def drain(self) -> None:
        """Wait, whenever the present connection is full, until it takes more; until cancelled or lost."""
        out = self._out
        assert out is not None, "attached before"
        while True:
            await out.full.wait()
            try:
                await out.transport.drain()
            except (OSError, RuntimeError) as error:  # uvloop raises the latter for a closed socket
                out.lost(error)
                return
            out.full.clear()
            now = asyncio.get_running_loop().time()
            self._queue = [item for item in self._queue if not item[1] or item[1] >= now]  # it took a while
            self._wake()

    def _wake(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._write_due)

    def _write_due(self) -> None:
        self._due = False
        self._write()

    def _write(self) -> None:
        out = self._out
        if out is None or not self._queue or out.full.is_set():
            return
        # Joined and written here, past nats-py's own buffer: its PING would overtake commands that wait there.
        data = b"".join([command for command, _ in self._queue])
        self._queue.clear()
        out.client._pongs.extend(self._pings)
        self._pings.clear()
        try:
            out.transport.write(data)
        except (OSError, RuntimeError) as error:
            out.lost(error)
            return
        if out.buffered() > _FULL:
            out.full.set()


class _Out:
    """The way out to one connection.

    A socket that does not take all at once has the rest buffered by the event loop. Above a bound we write no more
    until that is drained; what gathers meanwhile is bounded by what is in flight.
    """

    def __init__(self, client: Client, lost: Callable[[BaseException], None]) -> None:
        self.client, self.lost = client, lost
        self.transport: Any = client._transport
        self.full = asyncio.Event()
        stream = getattr(self.transport, "_io_writer", None)
        # A WebSocket of nats-py's has no size to tell: it is asked to drain after each write.
        self.buffered: Callable[[], float] = stream.transport.get_write_buffer_size if stream else lambda: inf
