"""The restart budget: more than 5 crashes within 60 s, and the waits grow long (invariant 6)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.supervisor import RestartBudget


@dataclass
class Model:
    """The rule, as plainly as it can be said."""

    crashes: list[float] = field(default_factory=list)
    rests: int = 0

    def crashed(self, started: float, now: float) -> float | None:
        """The long wait, or None for a short one."""
        if now - started > 60:
            self.crashes, self.rests = [], 0
        self.crashes.append(now)
        recent = [at for at in self.crashes if now - at <= 60]
        if self.rests or len(recent) > 5:
            self.rests += 1
            return min(600.0, 60.0 * 2.0 ** (self.rests - 1))
        return None


@given(st.lists(st.sampled_from([0.0, 0.1, 1.0, 11.9, 12.0, 15.0, 59.0, 60.0, 60.5, 300.0]), max_size=40))
def test_it_follows_the_rule(runs: list[float]) -> None:
    budget, model = RestartBudget(), Model()
    now = 1000.0
    for run in runs:
        started, now = now, now + run
        used_up, wait = budget.crashed(started, now)
        rest = model.crashed(started, now)
        assert used_up is (rest is not None)
        if rest is None:
            assert 0 <= wait <= 5
        else:
            assert wait == rest
        now += wait


def test_five_crashes_are_restarted_soon_and_the_sixth_is_not() -> None:
    budget = RestartBudget()
    ends = [budget.crashed(at, at) for at in (0.0, 1.0, 2.0, 3.0, 4.0)]
    assert [used_up for used_up, _ in ends] == [False] * 5
    assert all(wait <= 0.2 * 2**number for number, (_, wait) in enumerate(ends))
    assert budget.crashed(5.0, 5.0) == (True, 60.0)


def test_crashes_that_are_far_enough_apart_never_use_it_up() -> None:
    budget = RestartBudget()
    assert not any(budget.crashed(at - 12.5, at)[0] for at in map(float, range(0, 1000, 13)))


def test_a_run_longer_than_a_minute_makes_the_short_waits_short_again() -> None:
    for _ in range(50):  # the jitter is random
        budget = RestartBudget()
        for _ in range(5):
            budget.crashed(0.0, 0.0)
        assert budget.crashed(0.0, 60.1)[1] <= 0.2


def test_the_long_waits_double_up_to_ten_minutes() -> None:
    budget = RestartBudget()
    now, waits = 0.0, []
    for _ in range(11):
        used_up, wait = budget.crashed(now, now)
        if used_up:
            waits.append(wait)
            now += wait
    assert waits == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]


@pytest.mark.parametrize(("run", "used_up"), [(60.0, True), (60.1, False)])
def test_a_run_longer_than_a_minute_gives_the_whole_budget_back(run: float, used_up: bool) -> None:
    budget = RestartBudget()
    for _ in range(7):
        budget.crashed(0.0, 0.0)
    assert budget.crashed(500.0, 500.0 + run)[0] is used_up
    if not used_up:
        assert not any(budget.crashed(561.0, 561.0)[0] for _ in range(4))
        assert budget.crashed(561.0, 561.0) == (True, 60.0)
