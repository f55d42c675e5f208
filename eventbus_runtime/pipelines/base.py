"""What triggers and pipelines know of each other, and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Protocol

from eventbus_runtime.buses.base import PubAck
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Publish


class Delivery(Protocol):
    """One message handed to one trigger once. A handler takes it as a parameter to settle by hand (`ack = "manual"`),
    or to learn which attempt this is. The first of `ack`, `nak` and `reject` counts; a later one answers False."""

    @property
    def message(self) -> Message:
        """The message."""

    @property
    def attempt(self) -> int:
        """Which delivery of this message it is, from 1."""

    async def ack(self) -> bool:
        """Settle it as done. With `ack_confirm` it returns once the server has confirmed.

        Raises:
            BusUnavailableError: with `ack_confirm`, no confirmation came.
        """

    async def nak(self, delay: float | None = None) -> bool:
        """Have it again after `delay` seconds (left out: by the trigger's retry schedule)."""

    async def reject(self, reason: str = "") -> bool:
        """Dead-letter it, or terminate it where there is no dead letter."""

    async def progress(self) -> bool:
        """Restart its time at the server by hand; while a handler runs the trigger does that by itself."""

    async def publish(self, outgoing: Publish) -> PubAck:
        """Publish and confirm, with the stable id of this delivery (see `Publish.id`)."""

    def enter(self, step: int, *, in_thread: bool) -> None:
        """This step of a pipeline begins, from 0: the ids of what is published from here on are its own. While it runs
        `in_thread`, nothing can cancel it."""

    def saw(self, tokens: Iterable[str]) -> None:
        """Messages of these ack tokens were consumed for it: what is published from here on may come of them, and its
        ids are others than with other ones."""


class Pipeline(Protocol):
    """A bound, named callable that gets deliveries."""

    name: str
    blocking: bool
    """True for a `def` handler: it runs in a thread and can't be cancelled."""

    def fire(self, delivery: Delivery) -> Awaitable[Any]:
        """Run the handler; what is awaited gives its result, for `outgoing`. No coroutine around the handler's own.

        Raises (when called or awaited):
            Retry, Reject: the handler's own choice of settlement.
            DecodeError: the payload does not decode to the handler's type; the handler did not run.
            Exception: whatever else the handler raised.
        """

    def outgoing(self, result: Any) -> Sequence[Publish]:
        """What a handler's result says is to be published; the trigger publishes it and settles.

        Raises:
            Retry, Reject: the handler returned one.
            TypeError: no handler may return this.
        """
