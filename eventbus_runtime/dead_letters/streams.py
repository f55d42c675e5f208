"""Streams as JetStream's API shows them: what one is like, and its messages, read without a consumer.

A consumer would stay behind when we are killed, and a workqueue stream that has one refuses another. STREAM.MSG.GET
with `next_by_subj` leaves nothing behind, and is the same on every server since 2.9, whatever the stream's retention.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

from eventbus_runtime.buses import stored
from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.questions import ask, streams_storing
from eventbus_runtime.buses.stored import StoredMessage
from eventbus_runtime.errors import ApiError, NotFoundError

AT_ONCE = 64
"""Requests under way at once."""

BYTES_AT_ONCE = 8 << 20
"""About how many bytes of messages are held at once, as long as no single one is larger."""


class Stream(NamedTuple):
    """What STREAM.INFO says of a stream, as far as dead letters and their origins need it.

    Args:
        name: its name.
        created: when it was made; another one of that name has another time.
        subjects: what it stores.
        no_ack: it confirms nothing.
        denies_delete: no message can be deleted from it.
        duplicate_window: seconds for which it remembers ids.
        first, last: sequences.
    """

    name: str
    created: str
    subjects: tuple[str, ...]
    no_ack: bool
    denies_delete: bool
    duplicate_window: float
    first: int
    last: int


async def find(bus: Bus, subject: str, *, timeout: float) -> Stream | None:
    """The stream that stores a subject; None where there is none.

    Raises:
        BusError: the API can't be asked.
    """
    names = await streams_storing(bus, subject, patience=timeout)
    return await look(bus, names[0], timeout=timeout) if names else None


async def look(bus: Bus, name: str, *, timeout: float) -> Stream | None:
    """What a stream is like now; None where there is none of that name.

    Raises:
        BusError: the API can't be asked.
    """
    try:
        answer = await ask(bus, f"STREAM.INFO.{name}", patience=timeout)
    except NotFoundError:
        return None
    config, state = answer["config"], answer["state"]
    return Stream(
        name=name,
        created=answer.get("created", ""),
        subjects=tuple(config.get("subjects") or ()),
        no_ack=bool(config.get("no_ack")),
        denies_delete=bool(config.get("deny_delete") or config.get("sealed")),
        duplicate_window=config.get("duplicate_window", 0) / 10**9,
        first=state["first_seq"],
        last=state["last_seq"],
    )


async def read(
    bus: Bus, stream: str, subject: str, *, first: int, last: int, timeout: float
) -> AsyncGenerator[StoredMessage]:
    """The messages of one subject from sequence `first` to `last`, in order.

    An answer is the first message at or behind the sequence asked for, so several sequences can be asked for at once:
    what lies close together comes in one round trip, and a gap of any length costs one.

    Raises:
        BusError: the API can't be asked, or the stream is gone.
    """
    at, width = first, 1
    while at <= last:
        answers = await asyncio.gather(
            *(
                stored.ask(bus, stream, {"seq": at + ahead, "next_by_subj": subject}, timeout=timeout)
                for ahead in range(width)
            )
        )
        found = {message.sequence: message for message in answers if message is not None and message.sequence <= last}
        for sequence in sorted(found):
            yield found[sequence]
        furthest = answers[-1]
        if furthest is None:
            return
        at = furthest.sequence + 1
        biggest = max((len(message.payload) for message in found.values()), default=0)
        # Twice as many where each question brought another message; in a gap, no more than brought one.
        width = 2 * width if len(found) == width else max(len(found), 1)
        width = min(width, AT_ONCE, max(BYTES_AT_ONCE // (biggest + 1), 1))


async def delete(bus: Bus, stream: str, sequence: int, *, timeout: float) -> bool:
    """Delete the message of a sequence; False where it was gone already.

    Raises:
        BusError: it can't be deleted, or nobody answered whether it was.
    """
    try:
        # Overwriting it would take a hundred times as long (7 ms on 2.15), and an ack on a workqueue does not either.
        await bus.api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True}, timeout=timeout)
    except ApiError:
        # One number stands for all that can be wrong here (10057), so look.
        if await stored.get(bus, stream, sequence, timeout=timeout) is None:
            return False
        raise
    return True
