"""Messages as a stream stores them, read without a consumer."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.errors import NotFoundError
from eventbus_runtime.headers import Headers
from eventbus_runtime.message import Message, nanoseconds

# JSNoMessageFoundErr (nats-server, server/errors.json).
_NO_MESSAGE = 10037


class StoredMessage(NamedTuple):
    """One message as its stream stores it. `time` is RFC 3339, as the server writes it."""

    stream: str
    sequence: int
    time: str
    subject: str
    headers: Headers
    payload: bytes

    @classmethod
    def parse(cls, stream: str, message: Mapping[str, Any]) -> StoredMessage:
        """Read the `message` of an answer to STREAM.MSG.GET."""
        return cls(
            stream,
            message["seq"],
            message["time"],
            message["subject"],
            Headers.parse(base64.b64decode(message.get("hdrs", ""))),
            base64.b64decode(message.get("data", "")),
        )

    @property
    def timestamp_ns(self) -> int:
        """When it was stored, in nanoseconds since 1970."""
        return nanoseconds(self.time)

    def delivered(self, consumer: str, count: int) -> Message:
        """As `consumer` delivered it the last time, its `count`-th. Its ack token settles it, but holds neither the
        consumer sequence nor what was pending."""
        token = f"$JS.ACK.{self.stream}.{consumer}.{count}.{self.sequence}.0.{self.timestamp_ns}.0"
        block = "".join(f"{name}: {value}\r\n" for name, value in self.headers.pairs())
        headers = f"NATS/1.0\r\n{block}\r\n".encode("utf-8", "surrogateescape")
        return Message((self.subject.encode("utf-8", "surrogateescape"), token.encode(), self.payload, headers))


async def get(bus: Bus, stream: str, sequence: int, *, timeout: float) -> StoredMessage | None:
    """The message of a sequence; None where there is none.

    Raises:
        BusError: the API can't be asked, or the stream is gone.
    """
    return await ask(bus, stream, {"seq": sequence}, timeout=timeout)


async def ask(bus: Bus, stream: str, question: Mapping[str, Any], *, timeout: float) -> StoredMessage | None:
    """The message that STREAM.MSG.GET answers to a question; None where there is none.

    Raises:
        BusError: the API can't be asked, or the stream is gone.
    """
    try:
        answer = await bus.api(f"STREAM.MSG.GET.{stream}", question, timeout=timeout)
    except NotFoundError as error:
        if error.err_code == _NO_MESSAGE:
            return None
        raise
    return StoredMessage.parse(stream, answer["message"])
