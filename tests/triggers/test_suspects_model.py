"""Suspects, with children that succeed, fail, die and do not start: each ends once, and none without a trial.

Real processes are in `tests/service/test_suspects*.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.triggers import suspects
from eventbus_runtime.triggers.child import DiedError, Launch, UnstartedError
from eventbus_runtime.triggers.delivery import ActiveDelivery
from eventbus_runtime.triggers.settlement import Failure
from tests.triggers.scripted import Run
from tests.triggers.trigger_machine import TriggerMachine


class ScriptedChild:
    """See `triggers.child.Child`. `steps` are what the test lets go on: that it is ready, that its handler begins."""

    def __init__(self, machine: SuspectsMachine) -> None:
        machine.must(not machine.alive(), "a second child")
        self.tried = 0
        self.is_alive = False
        if not machine.can_start:
            raise UnstartedError("no process can be made")
        self._machine = machine
        self.is_alive = True
        self.step: asyncio.Future[bool] | None = None
        self.moved = asyncio.Event()
        machine.children.append(self)

    async def launch(self, launch: Launch) -> None:
        await self._stepped("it is not ready")

    async def run(self, delivery: ActiveDelivery, began: Callable[[], None]) -> Failure | None:
        self.tried += 1
        await self._stepped("it did not begin")
        began()
        run = self._machine.began_in_child(delivery)
        try:
            end = await run.end
        except asyncio.CancelledError:
            run.interrupted = True
            raise
        finally:
            run.over = True
        if end in ("return", "publish", "publish twice"):
            run.returned = True
            return None
        run.ended.append(end)
        if end == "die":
            self.is_alive = False
            raise DiedError("its process was killed by SIGKILL")
        reasons = {"retry": "retry", "retry in 7": "retry", "reject": "rejected", "undecodable": "undecodable"}
        return Failure(reasons.get(end, "error"), "", 7.0 if end == "retry in 7" else None)

    async def serve(self, delivery: ActiveDelivery) -> None:
        while not delivery.claimed:
            await self.moved.wait()
            self.moved.clear()
            if not self.is_alive and not delivery.claimed:
                raise DiedError("its process exited with code 1")

    async def end(self) -> None:
        self.is_alive = False
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0.01)

    async def _stepped(self, otherwise: str) -> None:
        if not self.is_alive:
            raise UnstartedError("it has ended")
        self.step = asyncio.get_running_loop().create_future()
        if not await self.step:
            raise UnstartedError(otherwise)


class SuspectsMachine(TriggerMachine, attempts=2, dead_letter="dead.a", timeout=20.0):
    launch = Launch({}, "t", [])

    def prepared(self) -> None:
        self.can_start = True
        self.children: list[ScriptedChild] = []
        self.child_of: dict[Run, ScriptedChild] = {}
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(suspects, "Child", lambda: ScriptedChild(self))

    def __init__(self) -> None:
        super().__init__()
        assert self.bus.consumer is not None
        for sequence in range(2, self.bus.last, 2):  # delivered before, by instances that died or were stopped
            self.bus.consumer.counts[sequence] = sequence // 2 % 3 + 1

    def alive(self) -> list[ScriptedChild]:
        return [child for child in self.children if child.is_alive]

    def began(self, delivery: Delivery) -> Run:
        self.must(delivery.attempt <= self.config["attempts"], "a suspect beside the others")
        return super().began(delivery)

    def began_in_child(self, delivery: ActiveDelivery) -> Run:
        """A handler begins there."""
        self.must(delivery.attempt > self.config["attempts"], "no suspect, and run alone")
        others = [run for runs in self.runs.values() for run in runs if run.in_child and not run.over]
        self.must(not others, "two suspects at once")
        self.must(not delivery.claimed, "settled before it was tried")
        run = super().began(cast(Delivery, delivery))
        run.in_child, self.child_of[run] = True, self.alive()[0]
        return run

    def dead_lettered(self, delivery: ActiveDelivery) -> None:
        super().dead_lettered(delivery)
        if delivery.attempt > self.config["attempts"]:
            run = self.runs[self.identity_of(delivery)][-1]
            self.must(run.in_child and run.delivery is delivery, "dead-lettered without a trial")

    @rule(can_start=st.booleans())
    def processes_can_be_started(self, can_start: bool) -> None:
        self.can_start = can_start

    def stepping(self) -> list[ScriptedChild]:
        return [child for child in self.alive() if child.step is not None and not child.step.done()]

    @precondition(lambda self: self.stepping())
    @rule(goes_on=st.booleans())
    def child_steps(self, goes_on: bool) -> None:
        for child in self.stepping():
            cast(Any, child.step).set_result(goes_on)
        self.loop.pass_by()

    @precondition(lambda self: self.alive())
    @rule()
    def child_dies(self) -> None:
        (child,) = self.alive()
        for run in self.unended():
            if run.in_child:
                self._end(run, "die")
                return
        if not self.stepping():
            child.is_alive = False
            self.loop.do(child.moved.set)

    def _by_hand(self, run: Run, word: str) -> None:
        if run.in_child and not self.child_of[run].is_alive:  # nobody is left who could say it
            return
        super()._by_hand(run, word)
        for child in self.alive():
            self.loop.do(child.moved.set)

    def all_goes_well(self) -> None:
        self.can_start = True
        for _ in range(3):
            self.child_steps(True) if self.stepping() else None
        super().all_goes_well()

    def the_books_are_empty(self) -> None:
        super().the_books_are_empty()
        of = self.trigger._suspects
        assert all(delivery.claimed for delivery in of._waiting)
        assert of.trying is None
        assert of._child is None
        assert not self.alive()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.patch.undo()


class Terminating(SuspectsMachine, attempts=1, on_exhausted="terminate"):
    pass


class Manual(SuspectsMachine, attempts=1, dead_letter="dead.a", ack="manual"):
    pass


def test_a_stop_while_the_child_of_one_that_is_over_its_time_ends_hands_it_back() -> None:
    """Its second cancellation must not keep it from being settled."""
    machine = SuspectsMachine()
    machine.time_passes(0.1)
    machine.child_steps(goes_on=True)
    machine.child_steps(goes_on=True)
    machine.the_loop_is_blocked(seconds=25.0, most=0)
    machine.stop(timeout=0.0)
    machine.teardown()
    assert machine.trigger._suspects.trying is None
    assert machine.trigger.counters.left == 0


@pytest.mark.parametrize("machine", [SuspectsMachine, Terminating, Manual])
def test_each_suspect_is_tried_alone_and_ends_once(machine: type[SuspectsMachine]) -> None:
    """What is asserted are the machine's invariants."""
    rounds = settings(deadline=None, max_examples=20, stateful_step_count=50)
    before = machine.rested
    run_state_machine_as_test(machine, settings=rounds)
    assert machine.rested > before
