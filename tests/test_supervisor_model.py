"""Supervision with a model of its rule: what is restarted, when, and what that costs, through any row of crashes."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.errors import TriggerError
from eventbus_runtime.events import Fact, State
from eventbus_runtime.supervisor import RestartBudget, Supervisor
from tests.test_supervisor import Scripted
from tests.virtual import VirtualLoop

LIMIT, WITHIN, REST, LONGEST = 5, 60.0, 60.0, 600.0
SHORT = 5.0
"""No short wait is longer, in seconds."""

lasts = st.sampled_from([0.0, 0.5, 3.0, 11.0, 25.0, 59.0, 61.0, 200.0])


def waits(runs: list[tuple[float, float]]) -> list[float]:
    """Between one run and the next; `runs` are their starts and ends."""
    return [start - end for (_, end), (start, _) in itertools.pairwise(runs)]


def supervised(
    ends: list[tuple[float, Exception | None]], stop_at: float | None
) -> tuple[Scripted, list[tuple[float, float]], float]:
    """What a trigger does whose runs last so long and end so, the last one by stopping: the trigger, its runs, and when
    it was given up."""
    with VirtualLoop() as loop:
        began = loop.time()
        left, runs = iter(ends), list[tuple[float, float]]()
        stopping = loop.create_future()

        async def run() -> None:
            seconds, error = next(left, (0.0, None))
            runs.append((loop.time() - began, 0.0))
            await asyncio.wait([stopping], timeout=seconds)
            runs[-1] = runs[-1][0], loop.time() - began
            if error is not None and not stopping.done():
                raise error

        async def keep() -> Scripted:
            facts: list[Fact] = []
            supervisor, trigger = Supervisor(facts.append), Scripted("one", run)

            def stop() -> None:
                supervisor.stop()
                stopping.set_result(None)

            if stop_at is not None:
                loop.call_later(stop_at, stop)
            await supervisor.keep(trigger)
            return trigger

        return loop.run_until_complete(keep()), runs, loop.time() - began


@settings(deadline=None)
@given(st.lists(lasts, max_size=25))
def test_a_crash_waits_shortly_until_more_than_five_come_within_a_minute(lengths: list[float]) -> None:
    trigger, runs, _ = supervised([(length, RuntimeError("boom")) for length in lengths], None)
    assert len(runs) == len(lengths) + 1
    assert trigger.counters.restarts == len(lengths)
    crashes, rests, short = list[float](), 0, 0.2
    for (start, end), wait in zip(runs, waits(runs), strict=False):
        if end - start > WITHIN:
            crashes, rests, short = [], 0, 0.2
        crashes.append(end)
        if rests or len([at for at in crashes if end - at <= WITHIN]) > LIMIT:
            rests += 1
            assert wait == pytest.approx(min(LONGEST, REST * 2 ** (rests - 1)), abs=0.01)
        else:
            assert wait <= short + 0.01
            short = min(SHORT, 2 * short)
    failed = sum(wait > SHORT + 0.01 for wait in waits(runs))
    assert trigger.states.count(State.FAILED) == failed
    assert trigger.states.count(State.BACKING_OFF) == len(lengths) - failed


@settings(deadline=None)
@given(st.lists(lasts, max_size=12), lasts)
def test_what_a_person_must_mend_ends_it_whatever_came_before(lengths: list[float], last: float) -> None:
    ends: list[tuple[float, Exception | None]] = [(length, RuntimeError("boom")) for length in lengths]
    trigger, runs, ended = supervised([*ends, (last, TriggerError("push based"))], None)
    assert (trigger.state, trigger.reason) == (State.FAILED, "push based")
    assert len(runs) == len(lengths) + 1
    assert ended == pytest.approx(runs[-1][1], abs=0.01)


@settings(deadline=None)
@given(st.lists(lasts, min_size=1, max_size=12), st.floats(0.001, 2000))
def test_a_stop_ends_it_at_once_in_a_run_or_between_two(lengths: list[float], stop_at: float) -> None:
    never = (10_000.0, None)
    trigger, runs, ended = supervised([*((length, RuntimeError("boom")) for length in lengths), never], stop_at)
    assert ended == pytest.approx(stop_at, abs=0.01)
    assert all(start <= stop_at + 0.01 for start, _ in runs)
    is_between = trigger.states[-1] is State.STOPPED
    assert is_between or runs[-1][1] == pytest.approx(stop_at, abs=0.01)


@settings(deadline=None)
@given(st.lists(st.tuples(lasts, st.booleans()), min_size=1, max_size=30), st.integers(0, 6), st.floats(1, 100))
def test_no_more_than_its_budget_is_restarted_soon_within_any_window(
    crashes: list[tuple[float, bool]], limit: int, within: float
) -> None:
    """Whatever the waits are; `True`: the caller does not wait at all."""
    budget, now, soon = RestartBudget(limit, within, 7.0, 100.0), 0.0, list[float]()
    for lasted, at_once in crashes:
        start, now = now, now + lasted
        used_up, wait = budget.crashed(start, now)
        if now - start > within:
            soon.clear()
        if not used_up:
            soon.append(now)
        assert sum(now - at <= within for at in soon) <= limit
        now += 0.0 if at_once else wait
