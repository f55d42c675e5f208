"""What a pipeline hands back: nothing, messages to publish, or how else its delivery should end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, unsafe_hash=True)  # frozen, one takes three times as long to make
class Publish:
    """A message to publish before the delivery is acknowledged.

    Args:
        subject: where to.
        payload: bytes and str go as they are; None is empty; anything else is written as JSON (pydantic models,
            dataclasses and msgspec structs included).
        headers: a mapping, or pairs where a name has several values.
        id: `Nats-Msg-Id`. Left out, it is derived from the delivery, so that a redelivery does not publish twice
            within the stream's duplicate window.
    """

    subject: str
    payload: Any = None
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    id: str | None = None


class Retry(Exception):
    """Raise (or return) it to have the message again.

    Args:
        reason: for the log.
        delay: seconds until then; left out, the trigger's retry schedule decides.
    """

    def __init__(self, reason: str = "", *, delay: float | None = None) -> None:
        if delay is not None and not (isinstance(delay, int | float) and 0 <= delay < float("inf")):
            raise ValueError(f"Retry(delay={delay!r}): a delay is a number of seconds, 0 or more")
        self.reason, self.delay = reason, delay
        super().__init__(reason)


class Reject(Exception):
    """Raise (or return) it for a message that can never be handled: dead-lettered, or terminated without one."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason)
