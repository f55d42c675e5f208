"""Dead letters that nobody wants any more, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.dead_letters.results import Done, Report, Result, to_the_end
from eventbus_runtime.dead_letters.selection import Picked
from eventbus_runtime.dead_letters.streams import Stream, delete, look
from eventbus_runtime.errors import DeadLetterError


async def drop(bus: Bus, picked: Picked, report: Report, *, timeout: float) -> None:
    """Delete these dead letters, oldest first. Cancelled, it ends between two requests.

    Args:
        bus: where they are.
        picked: which.
        report: gets each result.
        timeout: seconds to wait for each answer.

    Raises:
        DeadLetterError: the stream denies it, or was made anew meanwhile.
        BusError: no answer; what was not reported may be gone or not.
    """
    refuse_undeletable(picked.stream)
    for chunk in picked.chunks():
        await to_the_end(_drop(bus, picked.stream, chunk, report, timeout))


def refuse_undeletable(stream: Stream) -> None:
    """Make sure that dead letters can be deleted.

    Raises:
        DeadLetterError: the stream denies it.
    """
    if stream.denies_delete:
        raise DeadLetterError(
            f"the stream {stream.name} lets nobody delete a message (deny_delete, or sealed): its dead letters can't "
            "be dropped, nor replayed, since one that stays would be replayed again; only its max_age empties it"
        )


async def refuse_another(bus: Bus, stream: Stream, *, timeout: float) -> None:
    """Make sure that the stream is still the one that was read: in another of its name, a sequence is another message.

    Raises:
        DeadLetterError: it is not.
        BusError: no answer.
    """
    now = await look(bus, stream.name, timeout=timeout)
    if now is None or now.created != stream.created:
        raise DeadLetterError(f"the stream {stream.name} was deleted or made anew meanwhile; nothing more was done")


async def _drop(bus: Bus, stream: Stream, sequences: Sequence[int], report: Report, timeout: float) -> None:
    await refuse_another(bus, stream, timeout=timeout)
    deleted = await asyncio.gather(*(delete(bus, stream.name, one, timeout=timeout) for one in sequences))
    for sequence, was_there in zip(sequences, deleted, strict=True):
        report(Result(stream.name, sequence, Done.DROPPED if was_there else Done.GONE))
