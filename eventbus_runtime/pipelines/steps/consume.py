"""`step.eventbus.consume` (S-31)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Protocol

from eventbus_runtime import message
from eventbus_runtime.contracts.model import ConsumeRequest, ConsumeResponse, Message
from eventbus_runtime.contracts.registry import CONSUME
from eventbus_runtime.errors import EventbusError, StepError
from eventbus_runtime.message import Raw
from eventbus_runtime.pipelines.base import Delivery

_MOST, _MAX_WAIT = 1000, 5.0


class Source(Protocol):
    """A durable consumer that messages can be fetched from."""

    async def fetch(self, batch: int, max_wait: float) -> list[Raw]:
        """What comes within `max_wait` seconds, at most `batch` deliveries; returns at once when they are there.

        Raises:
            EventbusError: there is no such consumer, or no connection, and nothing came.
        """


class ConsumeStep:
    """Fetches messages of a declared consumer: `await consume(ConsumeRequest(consumer="billing", batch_size=10))`.

    Whoever calls it settles what it gives, by the ack step; what is not acknowledged comes again after `ack_wait`.

    Args:
        sources: the declared consumers, by name.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._own: Delivery | None = None

    def within(self, delivery: Delivery) -> ConsumeStep:
        """The step as the handler of this delivery gets it: what it brings goes into the ids of what that publishes."""
        step = copy(self)
        step._own = delivery
        return step

    async def __call__(self, request: ConsumeRequest) -> ConsumeResponse:
        """Fetch; an empty answer where nothing came in time.

        Raises:
            StepError: the consumer is not declared, or can't be asked.
        """
        if not request.consumer:
            raise StepError(f"{CONSUME}: consumer is required")
        source = self._sources.get(request.consumer)
        if source is None:
            declared = ", ".join(sorted(self._sources)) or "none"
            raise StepError(
                f'{CONSUME}: there is no consumer "{request.consumer}"; declare [consumers.{request.consumer}] '
                f"with its stream; declared: {declared}"
            )
        wait = request.max_wait.nanoseconds / 10**9 if request.max_wait is not None else 0
        try:
            raws = await source.fetch(max(1, min(request.batch_size, _MOST)), wait if wait > 0 else _MAX_WAIT)
        except EventbusError as error:
            raise StepError(f"{CONSUME}: {error}") from error
        if raws and self._own is not None:
            self._own.saw(raw[1].decode() for raw in raws)
        return ConsumeResponse.trusted({"messages": tuple([Message.of(message.Message(raw)) for raw in raws])})
