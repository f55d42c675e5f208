"""What became of each dead letter, and work that a Ctrl-C does not cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from eventbus_runtime.buses.base import PubAck


class Done(StrEnum):
    """What became of a dead letter."""

    REPLAYED = "replayed"
    """Its message is stored again, and it is gone."""
    FINISHED = "finished"
    """An earlier replay, which was killed, had published its message; now it is gone, too."""
    WOULD_REPLAY = "would-replay"
    """A dry run: nothing speaks against it."""
    DROPPED = "dropped"
    """It is gone."""
    GONE = "gone"
    """Somebody else was quicker."""
    REFUSED = "refused"
    """It can't be replayed, and is still there."""
    FAILED = "failed"
    """It did not work now, and is still there."""


class Result(NamedTuple):
    """One dead letter's end.

    Args:
        stream, sequence: which one.
        done: what became of it.
        detail: why, in a sentence, where it is still there; what is notable, where it is not.
        stored: where its message is stored again.
    """

    stream: str
    sequence: int
    done: Done
    detail: str = ""
    stored: PubAck | None = None

    def as_dict(self, bus: str) -> dict[str, Any]:
        """All of it, for JSON. `bus` is the name of the bus that it is, or was, on."""
        return {
            "bus": bus,
            "stream": self.stream,
            "sequence": self.sequence,
            "result": self.done.value,
            "detail": self.detail,
            "stored": {"stream": self.stored.stream, "sequence": self.stored.sequence} if self.stored else None,
        }


Report: TypeAlias = Callable[[Result], None]
"""Takes each result as it comes."""


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; where we are cancelled meanwhile, it ends first."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # nobody else will ask for it
        raise
