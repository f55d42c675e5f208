"""Handlers that do what a test says, when it says it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from eventbus_runtime.errors import DecodeError
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.triggers.delivery import ActiveDelivery
from tests.triggers.bus_model import Identity

ENDS = ["return", "publish", "publish twice", "retry", "retry in 7", "reject", "error", "undecodable", "cancelled"]
BY_HAND = ["ack", "nak", "reject", "progress"]


class Run:
    """One run of the handler; `end` says how it ends."""

    def __init__(self, delivery: ActiveDelivery, identity: Identity, *, manual: bool) -> None:
        self.delivery, self.identity, self.manual = delivery, identity, manual
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.interrupted = self.returned = self.over = self.settled = self.in_child = False
        self.unconfirmed = 0
        self.ended: list[str] = []
        """What it said last: a word of ENDS, or one of BY_HAND that was the first."""

    @property
    def succeeded(self) -> bool:
        """Whether the trigger may acknowledge it."""
        if self.manual or self.ended:
            return self.ended[:1] == ["ack"]
        return self.returned and not self.interrupted and not self.unconfirmed


class Handlers:
    """The pipeline: handlers that do what the test says. Every fifth message's ignores its first cancellation."""

    name, blocking = "h", False

    def __init__(self, began: Callable[[Delivery], Run]) -> None:
        self._began = began

    async def fire(self, delivery: Delivery) -> Any:
        run = self._began(delivery)
        try:
            return await self._run(run)
        finally:
            run.over = True

    def outgoing(self, result: Any) -> Sequence[Publish]:
        return [] if result is None else [result] if isinstance(result, Publish) else result

    async def _run(self, run: Run) -> Any:
        try:
            end = await run.end
        except asyncio.CancelledError:
            run.interrupted = True
            if run.identity[0] % 5:
                raise
            run.end = asyncio.get_running_loop().create_future()
            end = await run.end
        match end:
            case "return":
                run.returned = True
                return None
            case "publish" | "publish twice":
                run.returned, run.unconfirmed = True, 1 + (end == "publish twice")
                one = Publish("p.a")
                return one if end == "publish" else [one, one]
        if not run.ended:
            run.ended.append(end)
        errors = {
            "retry": Retry(),
            "retry in 7": Retry(delay=7.0),
            "reject": Reject("no"),
            "error": ValueError("no"),
            "undecodable": DecodeError("no"),
        }
        raise errors.get(end) or asyncio.CancelledError
