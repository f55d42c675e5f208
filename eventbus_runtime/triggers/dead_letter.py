"""What goes to the dead-letter subject: the original, and why it is there."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from eventbus_runtime.message import Message, rfc3339

REPLAYED = "Eventbus-Replayed"
"""How often a message was replayed from the dead letters. It stays with it, so that one that comes back says so."""

OURS = frozenset(
    f"eventbus-{name}"
    for name in (
        "reason",
        "error",
        "stream",
        "consumer",
        "sequence",
        "subject",
        "delivery-count",
        "failed-at",
        "payload-left-out",
    )
)
"""What a dead letter's own headers are called, in lower case: what they say is said anew by the next one."""

_LONGEST_ERROR = 1000


class DeadLetter(NamedTuple):
    """One message for the dead-letter subject."""

    payload: bytes
    headers: list[tuple[str, str]]
    id: str


def build(message: Message, reason: str, error: str) -> DeadLetter:
    """The dead letter of a message.

    The server's own headers would act again where they are copied (a `Nats-Rollup` empties the dead-letter stream, a
    `Nats-Expected-*` refuses the publish), so `Nats-X` is kept as `Eventbus-Original-X`.

    Args:
        message: what could not be handled.
        reason: why, in one word: `rejected`, `undecodable`, `exhausted`, `killed-worker`.
        error: the error's text; cut, and put on one line.
    """
    headers = [
        *_originals(message),
        ("Eventbus-Reason", reason),
        ("Eventbus-Error", _line(_encodable(error))[:_LONGEST_ERROR]),
        ("Eventbus-Stream", message.stream),
        ("Eventbus-Consumer", message.consumer),
        ("Eventbus-Sequence", str(message.sequence)),
        ("Eventbus-Subject", message.subject),
        ("Eventbus-Delivery-Count", str(message.delivery_count)),
        ("Eventbus-Failed-At", rfc3339(time.time_ns())),
    ]
    return DeadLetter(message.payload, headers, f"{message.origin}.{message.consumer}.dead")


def without_error(letter: DeadLetter) -> DeadLetter:
    """The same, smaller: for a message whose payload leaves little room below `max_payload`."""
    return letter._replace(headers=[pair for pair in letter.headers if pair[0] != "Eventbus-Error"])


def reference(letter: DeadLetter) -> DeadLetter:
    """The least that tells which message it was, when the original does not fit: no payload, only our headers."""
    kept = [pair for pair in without_error(letter).headers if pair[0].casefold() in OURS or pair[0] == REPLAYED]
    return DeadLetter(b"", [*kept, ("Eventbus-Payload-Left-Out", str(len(letter.payload)))], f"{letter.id}.reference")


def _originals(message: Message) -> list[tuple[str, str]]:
    pairs = []
    was_replayed = REPLAYED in message.headers
    for name, value in message.headers.pairs():
        lower = name.casefold()
        if lower in OURS or not name:  # what an earlier dead letter said of this message
            continue
        if was_replayed and lower == "nats-msg-id":  # the replay's; the original's is among the headers, if it had one
            continue
        kept = f"Eventbus-Original-{name[5:]}" if lower.startswith("nats-") else name
        pairs.append((re.sub(r"[\s:]", "_", kept), _line(value)))
    return pairs


def _encodable(text: str) -> str:
    # An error may quote half a surrogate pair of a payload: no header holds it, and it must not keep the letter back.
    return text.encode("utf-8", "backslashreplace").decode()


def _line(text: str) -> str:
    return " ".join(text.splitlines()) if "\n" in text or "\r" in text else text
