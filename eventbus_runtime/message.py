"""The typed message that every pipeline gets. Parsed when read, not before: most handlers read little of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sized
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from eventbus_runtime.headers import Headers, encode

Raw: TypeAlias = tuple[bytes, bytes, bytes, bytes | None]
"""One delivery as it came off the wire: subject, reply, payload, header block."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Longer than any that a server makes, and well below its max_control_line, above which it ends the connection.
_LONGEST_TOKEN = 2048
_SHORT_TOKEN = 9  # parts of one without a domain
_WORD = r"[^\x00-\x20\x7f.*>]+"
_NUMBERS = r"(?:\.[0-9]{1,20}){5}"
_ACK_SUBJECT = re.compile(rf"\$JS\.ACK(?:(?:\.{_WORD}){{2}}{_NUMBERS}|(?:\.{_WORD}){{4}}{_NUMBERS}(?:\.{_WORD})*)")


class AckToken(NamedTuple):
    """What a JetStream reply subject says of its delivery (NATS ADR-15)."""

    domain: str
    stream: str
    consumer: str
    delivery_count: int
    sequence: int
    consumer_sequence: int
    timestamp_ns: int
    pending: int

    @classmethod
    def parse(cls, token: str) -> AckToken:
        """Read a reply subject of 9, or of 11 and more, parts.

        Raises:
            ValueError: it is not a JetStream acknowledgement subject.
        """
        parts = token.split(".")
        try:
            match parts:
                case ["$JS", "ACK", stream, consumer, count, sequence, consumer_sequence, time, pending]:
                    domain = ""
                case ["$JS", "ACK", domain, _, stream, consumer, count, sequence, consumer_sequence, time, pending, *_]:
                    pass
                case _:
                    raise ValueError
            numbers = int(count), int(sequence), int(consumer_sequence), int(time), int(pending)
        except ValueError:
            raise ValueError(f"{token!r} is not a JetStream acknowledgement subject") from None
        return cls("" if domain == "_" else domain, stream, consumer, *numbers)


def check_ack_subject(token: str) -> str:
    """Return an ack token that a stranger gave; more strict than `AckToken.parse`, which reads those of the server.

    Raises:
        ValueError: it is not a JetStream acknowledgement subject (S-32).
    """
    if not token:
        raise ValueError("ack_token is required")
    if len(token) > _LONGEST_TOKEN or not _ACK_SUBJECT.fullmatch(token):
        shown = token if len(token) <= 200 else f"{token[:200]}…"
        raise ValueError(f"{shown!r} is not a JetStream acknowledgement subject ($JS.ACK.…)")
    return token


def stream_at(parts: Sized) -> int:
    """Where the stream stands among the parts of an ack token (NATS ADR-15); behind it the consumer, delivery count,
    stream sequence, consumer sequence, time of storage, and how many pend."""
    return 2 if len(parts) == _SHORT_TOKEN else 4


def origin_of(token: str) -> str:
    """`stream.sequence.timestamp_ns` of an ack token, without reading the numbers: whatever a handler publishes needs
    it, and often nothing else."""
    parts = token.split(".")
    at = 2 if len(parts) == _SHORT_TOKEN else 4  # as `stream_at`, without its call: each publish would feel it
    return f"{parts[at]}.{parts[at + 3]}.{parts[at + 5]}"


class Message:
    """One message as one trigger got it; immutable, and without a connection.

    The first six attributes are the contract (S-53): subject, payload, headers, sequence, published_at, ack_token.
    """

    __slots__ = ("_headers", "_raw", "_token")

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._headers: Headers | None = None
        self._token: AckToken | None = None

    @classmethod
    def build(
        cls,
        subject: str,
        payload: bytes | str = b"",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        stream: str = "TEST",
        consumer: str = "test",
        sequence: int = 1,
        delivery_count: int = 1,
        timestamp_ns: int = 0,
        pending: int = 0,
    ) -> Message:
        """A message for a handler's own test, as the server would have delivered it."""
        token = f"$JS.ACK.{stream}.{consumer}.{delivery_count}.{sequence}.{sequence}.{timestamp_ns}.{pending}"
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        body = payload.encode() if isinstance(payload, str) else payload
        return cls((subject.encode(), token.encode(), body, encode(pairs) or None))

    @property
    def raw(self) -> Raw:
        """As it came off the wire."""
        return self._raw

    @property
    def subject(self) -> str:
        """The subject that it was published to."""
        return self._raw[0].decode("utf-8", "surrogateescape")

    @property
    def payload(self) -> bytes:
        """The body, as published."""
        return self._raw[2]

    @property
    def headers(self) -> Headers:
        """The headers; `headers.getall(name)` where a name has several values."""
        if self._headers is None:
            self._headers = Headers.parse(self._raw[3])
        return self._headers

    @property
    def token(self) -> AckToken:
        """The parsed ack token."""
        if self._token is None:
            self._token = AckToken.parse(self._raw[1].decode())
        return self._token

    @property
    def origin(self) -> str:
        """`stream.sequence.timestamp_ns`: the same for every delivery of it, and for no other message."""
        return origin_of(self.ack_token)

    @property
    def sequence(self) -> int:
        """The stream sequence."""
        return self.token.sequence

    @property
    def published_at(self) -> datetime:
        """When the stream stored it; aware, in UTC, to the microsecond (`timestamp_ns` has all of it)."""
        return _EPOCH + timedelta(microseconds=self.token.timestamp_ns // 1000)

    @property
    def timestamp_ns(self) -> int:
        """When the stream stored it, in nanoseconds since 1970."""
        return self.token.timestamp_ns

    @property
    def ack_token(self) -> str:
        """The reply subject that settles this delivery."""
        return self._raw[1].decode()

    @property
    def stream(self) -> str:
        """The stream that it is stored in."""
        return self.token.stream

    @property
    def consumer(self) -> str:
        """The consumer that delivered it."""
        return self.token.consumer

    @property
    def delivery_count(self) -> int:
        """How often the server has delivered it, this time included."""
        return self.token.delivery_count

    @property
    def pending(self) -> int:
        """How many messages the consumer had still to deliver behind this one."""
        return self.token.pending

    def json(self) -> Any:
        """The payload read as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self._raw[2])

    def as_dict(self) -> dict[str, Any]:
        """The origin's six keys (S-53): sequence as a decimal string, published_at as RFC 3339 with all nanoseconds."""
        # Without reading the numbers, which a batch of a thousand would feel.
        subject, reply, payload, headers = self._raw
        token = reply.decode()
        parts = token.split(".")
        at = stream_at(parts)
        return {
            "subject": subject.decode("utf-8", "surrogateescape"),
            "payload": payload,
            "headers": {} if headers is None else dict(self.headers),
            "sequence": parts[at + 3],
            "published_at": rfc3339(int(parts[at + 5])),
            "ack_token": token,
        }

    def __repr__(self) -> str:
        return f"<Message {self.subject} {len(self.payload)} B, {self.ack_token}>"


def rfc3339(timestamp_ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC; trailing zeros of the fraction are left out, as Go does."""
    seconds, nanoseconds = divmod(timestamp_ns, 1_000_000_000)
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{_whole(seconds)}{fraction}Z"


@lru_cache(maxsize=64)
def _whole(seconds: int) -> str:
    """Most messages of a batch share their second."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")


def nanoseconds(time: str) -> int:
    """What `rfc3339` was made of; also of a time that the server writes."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0"))
