"""The same events one by one, in bursts and interleaved end in the same credit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.triggers.pull import PullWindow, Request
from eventbus_runtime.triggers.pull_bytes import ByteWindow
from eventbus_runtime.triggers.status import Status
from tests.triggers.windows import LIMITS

SIZE, FREES = 10, -1


@dataclass(frozen=True)
class Came:
    """So many deliveries, for one request."""

    request: int
    count: int


@dataclass(frozen=True)
class Closed:
    """A request ended, and was still owed so many."""

    request: int
    owed: int


@dataclass(frozen=True)
class Freed:
    """So many deliveries were settled."""

    count: int


Event: TypeAlias = Came | Closed | Freed


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], list[Event], list[Event]]:
    """What each of four requests brings and is still owed at its end, and how many of these are settled: one by one; in
    bursts; and each request's own in their order, but between those of others."""
    brought = [draw(st.integers(0, 5)) for _ in range(4)]
    ends = [draw(st.booleans()) for _ in range(4)]
    freed = draw(st.integers(0, sum(brought)))
    queues: list[list[Event]] = [[Came(at, 1)] * count for at, count in enumerate(brought)]
    for at, queue in enumerate(queues):
        if ends[at] and brought[at] < 5:
            queue.append(Closed(at, 5 - brought[at]))
    singles = [event for queue in queues for event in queue] + [Freed(1)] * freed
    bursts: list[Event] = [Came(at, count) for at, count in enumerate(brought) if count]
    bursts += [queue[-1] for queue in queues if queue and isinstance(queue[-1], Closed)]
    bursts += [Freed(freed)] if freed else []
    turns = draw(st.permutations([at for at, queue in enumerate(queues) for _ in queue] + [FREES] * freed))
    mixed, here, late = list[Event](), 0, 0
    left = [iter(queue) for queue in queues]
    for turn in turns:
        if turn != FREES:
            mixed.append(next(left[turn]))
            here += isinstance(mixed[-1], Came)
        elif here:
            mixed.append(Freed(1))
            here -= 1
        else:  # nothing is here yet that could be settled
            late += 1
    mixed += [Freed(1)] * late
    return singles, bursts, mixed


def played(window: PullWindow, events: list[Event]) -> tuple[object, ...]:
    """The books of a window of 20 after these; nothing is asked for meanwhile."""
    window.resume(0.0)
    requests = [command for command in window.commands(0.0) if isinstance(command, Request)]
    tokens = {request.slot: request.token for request in requests}
    for event in events:
        match event:
            case Came(at, count):
                assert window.admit(at % window.slots, [SIZE] * count, 1.0) == count
            case Closed(at, owed):
                counts = f"Nats-Pending-Messages: {owed}\r\nNats-Pending-Bytes: {owed * SIZE}"
                status = Status.parse(f"NATS/1.0 408 Request Timeout\r\n{counts}\r\n\r\n".encode())
                window.status(at % window.slots, tokens[at % window.slots], status, 1.0)
            case Freed(count):
                window.freed(count, count * SIZE)
    books = (window.running, window.credit, window.free, window.pulling)
    asked = [(command.batch, command.max_bytes) for command in window.commands(1.0) if isinstance(command, Request)]
    return *books, *((window.running_bytes, window.free_bytes) if isinstance(window, ByteWindow) else ()), asked


@pytest.mark.parametrize("make", [lambda: PullWindow(20, LIMITS), lambda: ByteWindow(20, 20 * SIZE, LIMITS)])
@given(history=histories())
def test_the_same_events_end_in_the_same_credit(
    make: Callable[[], PullWindow], history: tuple[list[Event], list[Event], list[Event]]
) -> None:
    singles, bursts, mixed = history
    alone = played(make(), singles)
    assert played(make(), bursts) == alone
    assert played(make(), mixed) == alone
    came = sum(event.count for event in singles if isinstance(event, Came))
    assert alone[0] == came - sum(event.count for event in singles if isinstance(event, Freed))
