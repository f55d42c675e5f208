"""From a delivery to its outcome: runs the pipeline and names what happened."""

from __future__ import annotations

import asyncio

from eventbus_runtime.errors import DecodeError
from eventbus_runtime.pipelines.base import Pipeline
from eventbus_runtime.pipelines.outcome import Reject, Retry
from eventbus_runtime.triggers.delivery import ActiveDelivery
from eventbus_runtime.triggers.settlement import Failure, Outcome, Success


async def outcome_of(pipeline: Pipeline, delivery: ActiveDelivery) -> Outcome:
    """Run the pipeline once, and say how it ended.

    Raises:
        asyncio.CancelledError: the task was cancelled, and not by this delivery's own `cancel`.
    """
    outcome: Outcome
    try:
        outcome = Success(await pipeline.fire(delivery))
    except asyncio.CancelledError as error:
        if delivery.cancelled:
            outcome = _cancelled(delivery)
        elif _cancelling():
            raise
        else:  # something inside the handler was cancelled, and the handler let it through
            outcome = Failure("error", "CancelledError: what the handler awaited was cancelled", error=error)
    except Retry as retry:
        outcome = Failure("retry", retry.reason, retry.delay)
    except Reject as reject:
        outcome = Failure("rejected", reject.reason)
    except DecodeError as error:
        outcome = Failure("undecodable", str(error), error=error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the message must not be lost
        outcome = _cancelled(delivery) if delivery.cancelled else Failure("error", one_line(error), error=error)
    if delivery.cancelled:
        uncancel()
    if delivery.overdue and pipeline.blocking:
        return _cancelled(delivery, "timeout")
    return outcome


def one_line(error: BaseException) -> str:
    """`Type: text`, on one line; never raises, whatever the exception's own `__str__` does."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a user's exception class may do anything
        text = "(its text can't be read)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _cancelled(delivery: ActiveDelivery, why: str = "") -> Failure:
    if (why or delivery.cancelled) == "timeout":
        return Failure("timeout", "the handler took longer than the trigger's timeout")
    return Failure("cancelled", "stopped before it was done")


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def uncancel() -> None:
    """Take back our own cancellation: else the worker's next time-out would see one that is not its own."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        task.uncancel()
