"""What we say to the server: joined per turn of the event loop, and written once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

from nats.aio.client import Client

from eventbus_runtime.buses.base import Frame

_SUBJECT = re.compile(r"[^ \t\r\n]+")
# The server's `max_control_line`; a longer line would cost everybody the connection.
_MAX_LINE = 4096


def check_subject(subject: str) -> bytes:
    """`subject` as it goes on the wire.

    Raises:
        ValueError: it is empty, or holds white space, with which it could smuggle a command into the protocol.
    """
    if _SUBJECT.fullmatch(subject) is None:
        raise ValueError(f"{subject!r} can't be a subject: it must not be empty, nor hold spaces, tabs or line ends")
    return subject.encode("utf-8", "surrogateescape")


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
    """Outgoing commands of one bus, in order. What may outlive a connection waits here for the next one."""

    def __init__(self) -> None:
        self._queue: list[tuple[bytes, float]] = []
        self._pings: list[asyncio.Future[bool]] = []
        self._wake = asyncio.Event()
        self._attached = False
        self._closed = False

    def send(self, frames: Sequence[Frame]) -> None:
        """Write frames behind all that was given before; away from the server, keep those that may wait.

        Raises:
            ValueError: a subject can't go on the wire; nothing of this call is written then.
        """
        encoded = [(publication(frame.subject, frame.body, frame.reply), frame.keep_until) for frame in frames]
        if self._closed:
            return
        if not self._attached:
            encoded = [item for item in encoded if item[1]]
        self._queue += encoded
        self._wake.set()

    def write(self, command: bytes) -> None:
        """Write a command that belongs to the present connection, and goes with it."""
        if self._attached:
            self._queue.append((command, 0.0))
            self._wake.set()

    def ping(self) -> asyncio.Future[bool]:
        """Write a PING behind all that was given before. The future is done at its PONG; it must never be cancelled,
        since nats-py's reader would stumble over it."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pings.append(future)
        self.write(b"PING\r\n")
        return future

    def attach(self) -> None:
        """There is a connection: what waited and is not too old goes out first."""
        now = asyncio.get_running_loop().time()
        self._queue = [item for item in self._queue if item[1] >= now]
        self._attached = True
        self._wake.set()

    def detach(self) -> None:
        """The connection is gone, and with it all that belonged to it."""
        self._attached = False
        self._pings.clear()

    def close(self) -> None:
        """Nothing is taken or written any more."""
        self.detach()
        self._closed = True
        self._queue.clear()

    async def run(self, client: Client, lost: Callable[[BaseException], None]) -> None:
        """Write to one connection until cancelled. The socket's back-pressure is obeyed: meanwhile commands gather.

        Args:
            client: the connected nats-py client.
            lost: called with the error when the connection does not take any more.
        """
        transport: Any = client._transport
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._queue:
                continue
            # Joined and written here, past nats-py's own buffer: its PING would overtake commands that wait there.
            data = b"".join([command for command, _ in self._queue])
            self._queue.clear()
            client._pongs.extend(self._pings)
            self._pings.clear()
            try:
                transport.write(data)
                await transport.drain()
            except (OSError, RuntimeError) as error:  # uvloop raises the latter for a closed socket
                lost(error)
                return
