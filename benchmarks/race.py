"""Runs the rounds: contenders interleaved, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from subprocess import SubprocessError

import psutil

from benchmarks.arena import Arena
from benchmarks.child import FailedError
from benchmarks.contenders.registry import Contender
from benchmarks.model import Case, Entry, Outcome
from benchmarks.wire import ApiError

Say = Callable[[str], None]


def entrants(case: Case, contenders: Iterable[Contender]) -> list[Contender]:
    """Those who have the case's mode, and are named where the case names some."""
    return [
        contender
        for contender in contenders
        if case.mode in contender.modes
        and (contender.name in case.contenders if case.contenders else not contender.named_only)
    ]


def race(case: Case, contenders: Sequence[Contender], rounds: int, say: Say) -> Outcome:
    """Race one case on a server of its own. A contender that fails loses that round, and the race goes on.

    Args:
        case: what to race.
        contenders: who; those that lack the mode are left out.
        rounds: how often each runs.
        say: gets a line of progress after each round.
    """
    ready = []
    with Arena() as arena:
        outcome = Outcome(case, arena.version)
        for contender in entrants(case, contenders):
            missing = contender.missing()
            outcome.entries[contender.name] = Entry(problem=f"not available: {missing}" if missing else "")
            if not missing:
                ready.append(contender)
        for contender in chain.from_iterable([ready] * rounds):
            entry = outcome.entries[contender.name]
            try:
                sample = case.measure(arena, contender, case)
            except (FailedError, ApiError, OSError, SubprocessError, psutil.Error) as error:
                entry.problem = str(error)
                say(f"{case.name}: {contender.name}: {error}")
                continue
            entry.samples.append(sample)
            values = ", ".join(f"{sample[metric.name]:.{metric.digits}f} {metric.title}" for metric in case.metrics)
            say(f"{case.name}: {contender.name}: {values}")
    return outcome
