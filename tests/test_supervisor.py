"""Supervision: what a crash does to its own trigger, and to no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from eventbus_runtime.counters import TriggerCounters
from eventbus_runtime.errors import TopologyError, TriggerError
from eventbus_runtime.events import Fact, State, Warned
from eventbus_runtime.supervisor import RestartBudget, Supervisor


class Scripted:
    """A trigger whose runs end as a script says."""

    def __init__(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self.state = State.STARTING
        self.reason = ""
        self.counters = TriggerCounters()
        self.states: list[State] = []
        self._run = run

    async def run(self) -> None:
        self.set_state(State.RUNNING)
        await self._run()

    def stop(self, timeout: float) -> None:
        raise AssertionError("the supervisor's own task stops triggers, not the supervisor")

    def set_state(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self.states.append(state)

    def status(self) -> dict[str, Any]:
        return {}


async def test_a_crash_restarts_its_trigger_and_leaves_the_other_alone() -> None:
    """Invariant 6: one-for-one."""
    runs: list[str] = []
    done = asyncio.Event()

    async def crashing() -> None:
        runs.append("crashing")
        if len(runs) < 4:
            raise RuntimeError("boom")
        done.set()

    async def steady() -> None:
        runs.append("steady")
        await done.wait()

    facts: list[Fact] = []
    supervisor = Supervisor(facts.append)
    one, other = Scripted("one", crashing), Scripted("other", steady)
    async with asyncio.timeout(10), anyio.create_task_group() as group:
        group.start_soon(supervisor.keep, one)
        group.start_soon(supervisor.keep, other)
    assert runs.count("steady") == 1
    assert runs.count("crashing") == 3
    assert one.counters.restarts == 2
    assert other.states == [State.RUNNING]
    assert one.states == [State.RUNNING, State.BACKING_OFF, State.RUNNING, State.BACKING_OFF, State.RUNNING]
    assert all("RuntimeError: boom" in fact.text for fact in facts if isinstance(fact, Warned))
    assert len(facts) == 2


async def test_more_than_five_crashes_in_a_minute_fail_it_and_it_is_tried_again_later() -> None:
    runs = 0

    async def crashing() -> None:
        nonlocal runs
        runs += 1
        if runs < 8:
            raise RuntimeError("boom")

    trigger = Scripted("one", crashing)
    budget = RestartBudget(limit=5, within=60.0, rest=0.01, longest=0.01)
    async with asyncio.timeout(30):
        await Supervisor(lambda _: None, lambda: budget).keep(trigger)
    assert trigger.states.count(State.BACKING_OFF) == 5
    assert trigger.states.count(State.FAILED) == 2
    assert runs == 8


@pytest.mark.parametrize("error", [TriggerError("push based"), TopologyError("storage can't change")])
async def test_what_a_person_must_mend_is_failed_for_good_and_no_crash(error: Exception) -> None:
    async def failing() -> None:
        raise error

    facts: list[Fact] = []
    trigger = Scripted("one", failing)
    await Supervisor(facts.append).keep(trigger)
    assert (trigger.state, trigger.reason) == (State.FAILED, str(error))
    assert trigger.counters.restarts == 0
    assert facts == []


async def test_a_stop_ends_the_wait_for_a_restart() -> None:
    async def crashing() -> None:
        raise RuntimeError("boom")

    trigger = Scripted("one", crashing)
    supervisor = Supervisor(lambda _: None, lambda: RestartBudget(limit=0, rest=1000.0))
    async with asyncio.timeout(10), anyio.create_task_group() as group:
        group.start_soon(supervisor.keep, trigger)
        while trigger.state is not State.FAILED:
            await asyncio.sleep(0)
        supervisor.stop()
    assert trigger.state is State.STOPPED


async def test_a_background_function_is_started_again_after_a_crash_and_not_after_its_end() -> None:
    runs = 0

    async def background() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("no answer")

    facts: list[Fact] = []
    async with asyncio.timeout(10):
        await Supervisor(facts.append).keep_background("refresh", background)
    assert runs == 3
    assert [fact.name for fact in facts if isinstance(fact, Warned)] == ["refresh", "refresh"]


async def test_a_cancellation_is_no_crash() -> None:
    async def waiting() -> None:
        await asyncio.Event().wait()

    trigger = Scripted("one", waiting)
    task = asyncio.create_task(Supervisor(lambda _: None).keep(trigger))
    while trigger.state is not State.RUNNING:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trigger.counters.restarts == 0
