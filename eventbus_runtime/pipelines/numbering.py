"""The ids of what a delivery publishes (`Nats-Msg-Id`): the same when it comes again, and no other message's."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from eventbus_runtime.message import Message, origin_of


class Numbering:
    """Base of a delivery: counts what it publishes. Its constructor sets the three, since a call would cost each one.

    By the count alone two different messages could share an id, and the stream would drop the second: where a step
    publishes more at one time than at another, or where what is published comes of messages that were consumed on the
    way, others when the delivery comes again. So each step counts for itself, and what was consumed counts too.
    """

    __slots__ = ("_place", "_positions", "_seen")

    _positions: int
    _place: str
    _seen: str

    def enter(self, step: int) -> None:
        """See `pipelines.base.Delivery.enter`."""
        self._positions, self._place = 0, f"{step}."

    def saw(self, tokens: Iterable[str]) -> None:
        """See `pipelines.base.Delivery.saw`."""
        seen = blake2b(self._seen.encode(), digest_size=8)
        for token in tokens:
            seen.update(origin_of(token).encode())
        self._seen = f".{seen.hexdigest()}"

    def next_id(self, message: Message, trigger: str) -> str:
        """The id of what is published next."""
        self._positions += 1
        return f"{message.origin}.{trigger}.{self._place}{self._positions}{self._seen}"
