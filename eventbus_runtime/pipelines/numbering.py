"""The ids of what a delivery publishes (`Nats-Msg-Id`): the same when it comes again, and no other message's."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from eventbus_runtime.message import Message, origin_of
from eventbus_runtime.pipelines.outcome import Publish


class Numbering:
    """Base of a delivery: counts what it publishes. Its constructor sets them, since a call would cost each one.

    By the count alone two different messages could share an id, and the stream would drop the second: where a step
    publishes more at one time than at another, or where what is published comes of messages that were consumed on the
    way, others when the delivery comes again. So each step counts for itself, and what was consumed counts too.
    """

    __slots__ = ("_place", "_positions", "_seen", "cancellable")

    message: Message
    cancellable: bool
    """Whether it can be cancelled though its pipeline is `blocking`: the step that runs is in no thread."""
    _positions: int
    _place: str
    _seen: str

    def enter(self, step: int, *, in_thread: bool) -> None:
        """See `pipelines.base.Delivery.enter`."""
        self._positions, self._place, self.cancellable = 0, f"{step}.", not in_thread

    def saw(self, tokens: Iterable[str]) -> None:
        """See `pipelines.base.Delivery.saw`."""
        seen = blake2b(self._seen.encode(), digest_size=8)
        for token in tokens:
            seen.update(origin_of(token).encode())
        self._seen = f".{seen.hexdigest()}"

    def id_of(self, outgoing: Publish, trigger: str) -> str:
        """The id of what is published next."""
        self._positions += 1
        if outgoing.id:
            return outgoing.id
        return f"{origin_of(self.message.ack_token)}.{trigger}.{self._place}{self._positions}{self._seen}"
