"""What the server says on a pull request's inbox, in one table: header block in, `Status` out.

The code decides; the text only where one code has several meanings. Texts are those of nats-server 2.9 to 2.15
(`server/consumer.go`), NATS ADR-13 and ADR-37. What a newer server adds must never stop a trigger, nor make it ask in
a hot loop: a code or text that is not in the table closes its request when it comes with counts, as a 408 does, and
else refuses it.
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
    REFUSED = auto()  # a limit of the consumer, or a rule of a newer server, refuses the whole request
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
        number, *words = line.split()[1:] or [""]
        text = " ".join(words)
        code = int(number) if len(number) == 3 and number.isascii() and number.isdigit() else 0
        headers = Headers.parse(block)
        pending = _count(headers.get("Nats-Pending-Messages"))
        answer = _answer(code, text)
        if answer is None:
            answer = Answer.REFUSED if code and pending is None else Answer.CLOSED
        return cls(answer, code, text, pending, _count(headers.get("Nats-Pending-Bytes")))

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


def _answer(code: int, text: str) -> Answer | None:
    if code == 409:
        said = text.casefold()
        return next((answer for start, answer in _CONFLICTS if said.startswith(start)), None)
    return _BY_CODE.get(code)


def _count(text: str | None) -> int | None:
    try:
        return None if text is None else max(0, int(text))
    except ValueError:
        return None
