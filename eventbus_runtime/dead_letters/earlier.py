"""What became of the publishes of an earlier replay that was killed before it could delete their dead letters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from eventbus_runtime.buses.base import Bus, PubAck
from eventbus_runtime.dead_letters.streams import Stream, look, read
from eventbus_runtime.dead_letters.unfinished import Attempt


class Earlier(NamedTuple):
    """The attempts whose end the stream would not tell by itself, by their ids.

    Args:
        stored: they were stored, and where.
        unknown: nobody can tell, and why.
    """

    stored: dict[str, PubAck]
    unknown: dict[str, str]


async def look_back(bus: Bus, attempts: Iterable[Attempt], say: Callable[[str], None], *, timeout: float) -> Earlier:
    """Find out which attempts were stored.

    While a stream remembers ids, publishing once more tells, so these are left to that. For the others, all that the
    stream has stored since is read; only if none of it is missing, what is not there was never stored.

    Args:
        bus: where the streams are.
        attempts: noted before they were published.
        say: gets a sentence for the user before it takes long.
        timeout: seconds to wait for each answer, and for a publish.

    Raises:
        BusError: no answer.
    """
    by_stream: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        by_stream.setdefault((attempt.stream, attempt.created), []).append(attempt)
    earlier = Earlier({}, {})
    for (name, created), group in by_stream.items():
        stream = await look(bus, name, timeout=timeout)
        if stream is None or stream.created != created:
            earlier.unknown.update((one.id, f"the stream {name} was deleted or made anew since") for one in group)
        elif late := {one.id: one for one in group if not _remembers(stream, one, timeout)}:
            await _look_in(bus, stream, late, earlier, say, timeout)
    return earlier


async def _look_in(
    bus: Bus, stream: Stream, late: dict[str, Attempt], earlier: Earlier, say: Callable[[str], None], timeout: float
) -> None:
    name, first = stream.name, min(attempt.after for attempt in late.values()) + 1
    say(
        f"an earlier replay was killed: looking in {name}, from message {first} on, whether it published {len(late)} "
        "messages whose dead letters are still there"
    )
    count = 0
    # Of any subject: the server may have stored them under another one, by a mapping or a transform.
    async for message in read(bus, name, ">", first=first, last=stream.last, timeout=timeout):
        count += 1
        known = message.headers.get("Nats-Msg-Id", "")
        if known in late:
            earlier.stored[known] = PubAck(name, message.sequence, True)
    if count <= stream.last - first:
        text = f"some of what {name} has stored since is gone from it"
        earlier.unknown.update(dict.fromkeys(late.keys() - earlier.stored.keys(), text))


def _remembers(stream: Stream, attempt: Attempt, timeout: float) -> bool:
    """Whether the stream will know the id of an attempt, if it has stored it, for so many seconds yet."""
    return time.time() + timeout < attempt.at + stream.duplicate_window
