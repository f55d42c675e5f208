"""From what a handler returned or raised to its outcome."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio

from eventbus_runtime.errors import DecodeError
from eventbus_runtime.frames import located
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.triggers.delivery import ActiveDelivery
from eventbus_runtime.triggers.settlement import Failure, Outcome, Success


class Unpublished(Exception):
    """What a handler returned was not published."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"its publish failed: {cause}")
        self.__cause__ = cause


class HandledElsewhere(Exception):
    """How a handler ended that another process ran, where that was not well."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


def outcome_of(
    delivery: ActiveDelivery, result: Any, error: BaseException | None, outgoing: Callable[[Any], Sequence[Publish]]
) -> Outcome:
    """How a delivery's handler ended.

    Args:
        delivery: the delivery.
        result: what its handler returned; None where it raised.
        error: what it raised.
        outgoing: reads a result (see `pipelines.base.Pipeline.outgoing`).

    Raises:
        asyncio.CancelledError: the trigger itself is cancelled.
    """
    if error is None:
        try:
            outcome: Outcome = Success(outgoing(result))
        except Exception as wrong:  # noqa: BLE001 - Retry and Reject may be returned, too; anything else is no result
            outcome = failure_of(wrong)
    elif isinstance(error, asyncio.CancelledError):
        if not delivery.cancelled and _trigger_is_cancelled():
            raise error
        # Else ours, or something inside the handler was cancelled, and the handler let it through.
        outcome = Failure("error", "CancelledError: what the handler awaited was cancelled", error=error)
    else:
        outcome = failure_of(error)
    interrupted = delivery.overdue or delivery.cancelled
    # One that was interrupted and returns all the same may have left its work half done: that is no success.
    if interrupted and (isinstance(outcome, Success) or outcome.reason == "error"):
        if delivery.overdue:
            return Failure("timeout", "the handler took longer than the trigger's timeout")
        return Failure("cancelled", "stopped before it was done")
    return outcome


def failure_of(error: BaseException) -> Failure:
    """The outcome of a handler that raised this."""
    match error:
        case Retry():
            return Failure("retry", error.reason or "the handler wants it again", error.delay)
        case Reject():
            return Failure("rejected", error.reason or "the handler rejects it")
        case DecodeError():
            return Failure("undecodable", str(error), error=error)
        case HandledElsewhere():
            return error.failure
        case Unpublished():
            return Failure("error", str(error), error=error.__cause__)
        case _:
            return Failure("error", located(error), error=error)


async def uncancel(task: asyncio.Task[object]) -> None:
    """Take back all cancellations of this worker but the trigger's own: else they would hit its next handler, or that
    one's own time-outs."""
    if not _trigger_is_cancelled():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # one that was asked for and not yet raised comes now
        while task.cancelling():
            task.uncancel()


def _trigger_is_cancelled() -> bool:
    return anyio.current_effective_deadline() == -math.inf
