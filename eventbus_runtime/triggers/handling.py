"""From a delivery to its outcome: runs the pipeline and names what happened."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

import anyio

from eventbus_runtime.errors import DecodeError
from eventbus_runtime.frames import located
from eventbus_runtime.pipelines.base import Pipeline
from eventbus_runtime.pipelines.outcome import Reject, Retry
from eventbus_runtime.triggers.delivery import ActiveDelivery
from eventbus_runtime.triggers.settlement import Failure, Outcome, Success


async def outcome_of(pipeline: Pipeline, delivery: ActiveDelivery) -> Outcome:
    """Run the pipeline once, and say how it ended.

    Raises:
        asyncio.CancelledError: the trigger itself is cancelled.
    """
    outcome: Outcome
    try:
        outcome = Success(await pipeline.fire(delivery))
    except asyncio.CancelledError as error:
        if not delivery.cancelled and _trigger_is_cancelled():
            raise
        # Else ours, or something inside the handler was cancelled, and the handler let it through.
        outcome = Failure("error", "CancelledError: what the handler awaited was cancelled", error=error)
    except Retry as retry:
        outcome = Failure("retry", retry.reason or "the handler wants it again", retry.delay)
    except Reject as reject:
        outcome = Failure("rejected", reject.reason or "the handler rejects it")
    except DecodeError as error:
        outcome = Failure("undecodable", str(error), error=error)
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it fails its message alone, and that is not lost
        outcome = Failure("error", located(error), error=error)
    if delivery.task is not None and delivery.task.cancelling():
        await uncancel(delivery.task)
    interrupted = delivery.overdue or delivery.cancelled
    # One that was interrupted and returns all the same may have left its work half done: that is no success.
    if interrupted and (isinstance(outcome, Success) or outcome.reason == "error"):
        if delivery.overdue:
            return Failure("timeout", "the handler took longer than the trigger's timeout")
        return Failure("cancelled", "stopped before it was done")
    return outcome


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
