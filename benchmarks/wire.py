"""The driver's own connection: a plain socket that fills streams, asks the JetStream API, and owes nothing to a client.

What measures must cost little and favour nobody, so it shares no code with any contender.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_BLOCK_MESSAGES = 5_000
_BLOCK_BYTES = 16 << 20


class ApiError(Exception):
    """The JetStream API refused a request."""


class Wire:
    """One connection to a nats-server without credentials, used by one thread.

    Args:
        url: as `nats://127.0.0.1:4222`.
        timeout: seconds that one answer may take.
    """

    def __init__(self, url: str, timeout: float = 20.0) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 4222), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._inbox = f"_INBOX.{secrets.token_hex(8)}"
        self._reader = self._socket.makefile("rb")
        self.info: dict[str, Any] = json.loads(self._reader.readline().removeprefix(b"INFO "))
        """What the server says of itself."""
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        self.send(f"CONNECT {json.dumps(options)}\r\nSUB {self._inbox} 1\r\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Write protocol text as it is."""
        self._socket.sendall(data)

    def api(self, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask the JetStream API; `subject` is what follows `$JS.API.`.

        Raises:
            ApiError: it answered with an error.
            TimeoutError: it did not answer.
        """
        payload = json.dumps(body).encode() if body is not None else b""
        self.send(frame(f"$JS.API.{subject}", payload, reply=self._inbox))
        answer: dict[str, Any] = json.loads(self._answer())
        if "error" in answer:
            raise ApiError(f"{subject}: {answer['error'].get('description', answer['error'])}")
        return answer

    def fill(self, subject: str, payload: bytes, count: int, headers: Mapping[str, str] | None = None) -> None:
        """Publish a message `count` times, and return when the stream has stored them all.

        In blocks, each confirmed before the next: a server drops what is above its stream's inbound buffer.

        Raises:
            ApiError: the stream refused a message.
            TimeoutError: it did not confirm one.
        """
        plain, last = frame(subject, payload, headers), frame(subject, payload, headers, reply=self._inbox)
        most = max(1, min(_BLOCK_MESSAGES, _BLOCK_BYTES // len(plain)))
        block = plain * (most - 1) + last
        while count > 0:
            self.send(block if count >= most else plain * (count - 1) + last)
            answer = json.loads(self._answer())
            if "error" in answer:
                raise ApiError(f"publish to {subject}: {answer['error'].get('description', answer['error'])}")
            count -= most

    def _answer(self) -> bytes:
        """The payload of the next message to the inbox."""
        while line := self._reader.readline():
            if line.startswith(b"MSG "):
                payload = self._reader.read(int(line.rsplit(b" ", 1)[1]) + 2)
                return payload[:-2]
            if line.startswith(b"HMSG "):  # of the answers that we ask for, only this one has headers
                self._reader.read(int(line.rsplit(b" ", 1)[1]) + 2)
                raise ApiError("nobody answers (503): no such stream, or JetStream is off")
            if line.startswith(b"PING"):
                self.send(b"PONG\r\n")
            elif line.startswith(b"-ERR"):
                raise ApiError(line.decode().strip())
        raise ApiError("the server closed the connection")


def frame(subject: str, payload: bytes, headers: Mapping[str, str] | None = None, reply: str = "") -> bytes:
    """One message as protocol text."""
    to = f"{subject} {reply}".rstrip()
    if not headers:
        return f"PUB {to} {len(payload)}\r\n".encode() + payload + b"\r\n"
    block = "NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    sizes = f"{len(block.encode())} {len(block.encode()) + len(payload)}"
    return f"HPUB {to} {sizes}\r\n{block}".encode() + payload + b"\r\n"
