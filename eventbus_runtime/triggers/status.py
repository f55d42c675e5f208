"""What the server says on a pull request's inbox, in one table: header block in, `Status` out.

The code decides; the text only where one code has several meanings. Texts are those of nats-server 2.9 to 2.15
(`server/consumer.go`), NATS ADR-13 and ADR-37. A code or text that is not in the table closes its request, as a 408
does: what a newer server adds must never stop a trigger.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from eventbus_runtime.headers import Headers


class Answer(Enum):
    """What a status asks of the trigger."""

    HEARTBEAT = auto()  # the pull is alive
    CLOSED = auto()  # this request is over; pull again
    TOO_BIG = auto()  # over, because the next message is above what is left of its max_bytes
    REFUSED = auto()  # a limit of the consumer refuses the whole request
    INTERRUPTED = auto()  # the leader changes or shuts down: all requests are over
    NOBODY = auto()  # no consumer, no stream or no leader listens
    DELETED = auto()  # the consumer (or its stream) was deleted: all requests are over
    FATAL = auto()  # pulling from this consumer can never work


_BY_CODE = {
    100: Answer.HEARTBEAT,
    400: Answer.FATAL,
    404: Answer.CLOSED,
    408: Answer.CLOSED,
    412: Answer.FATAL,
    423: Answer.CLOSED,
    503: Answer.NOBODY,
}

_CONFLICTS = (  # the texts of 409, by how they begin
    ("batch completed", Answer.CLOSED),
    ("message size exceeds", Answer.TOO_BIG),
    ("exceeded max", Answer.REFUSED),
    ("leadership change", Answer.INTERRUPTED),
    ("server shutdown", Answer.INTERRUPTED),
    ("consumer deleted", Answer.DELETED),
    ("consumer is push based", Answer.FATAL),
)


@dataclass(frozen=True, slots=True)
class Status:
    """One status message.

    Args:
        answer: what it asks of the trigger.
        code: its code, as 408.
        text: the server's words; empty where it has none.
        pending: messages that its request was still owed; None when the server does not say.
        pending_bytes: likewise, bytes.
    """

    answer: Answer
    code: int
    text: str
    pending: int | None = None
    pending_bytes: int | None = None

    @classmethod
    def parse(cls, block: bytes | None) -> Status:
        """Read a header block such as `NATS/1.0 408 Request Timeout`; never raises, since it comes from outside."""
        line = (block or b"").partition(b"\r\n")[0].decode("utf-8", "replace")
        _, _, said = line.partition(" ")
        number, _, text = said.strip().partition(" ")
        code = int(number) if number.isascii() and number.isdigit() else 0
        headers = Headers.parse(block)
        return cls(
            _answer(code, text),
            code,
            text.strip(),
            _count(headers.get("Nats-Pending-Messages")),
            _count(headers.get("Nats-Pending-Bytes")),
        )

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


def _answer(code: int, text: str) -> Answer:
    if code == 409:
        said = text.casefold()
        return next((answer for start, answer in _CONFLICTS if said.startswith(start)), Answer.CLOSED)
    return _BY_CODE.get(code, Answer.CLOSED)


def _count(text: str | None) -> int | None:
    try:
        return None if text is None else max(0, int(text))
    except ValueError:
        return None
