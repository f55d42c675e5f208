"""What eventbus-runtime promises of itself, as ratios in one run, and whether a race reached it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.model import Outcome

OURS = "ours"


class Goal(NamedTuple):
    """A bound on a median of ours: `ours <= factor * base + plus`, or `>=` with `at_least`.

    Args:
        case: name of the case.
        metric: of it.
        factor: times the base's median, or the bound itself without a base.
        base: the contender to compare with; empty: none.
        at_least: whether more is better.
        plus: added to the bound, in the metric's unit.
    """

    case: str
    metric: str
    factor: float
    base: str = ""
    at_least: bool = False
    plus: float = 0.0

    @property
    def text(self) -> str:
        """For people, as `>= 20 x faststream`."""
        bound = f"{self.factor:g} x {self.base}" if self.base else f"{self.factor:g}"
        return f"{'>=' if self.at_least else '<='} {bound}{f' + {self.plus:g}' if self.plus else ''}"


class Verdict(NamedTuple):
    """A goal beside what was measured.

    Args:
        goal: the goal.
        measured: our median; None where it is missing.
        bound: what it is held against; None where the base is missing.
    """

    goal: Goal
    measured: float | None
    bound: float | None

    @property
    def reached(self) -> bool | None:
        """None: not measured."""
        if self.measured is None or self.bound is None:
            return None
        return self.measured >= self.bound if self.goal.at_least else self.measured <= self.bound


GOALS = (
    Goal("ack-128", "rate", 20, "faststream", at_least=True),
    Goal("ack-128", "rate", 4, "hand", at_least=True),
    Goal("ack-128", "rate", 0.9, "c", at_least=True),
    Goal("ack-128", "cpu", 5),
    *(Goal(case, "rate", 1, base, at_least=True) for case in ("ack-64k", "ack-1m") for base in ("hand", "callback")),
    Goal("sleep", "rate", 2.5, "hand", at_least=True),
    Goal("sleep", "rate", 10, "faststream", at_least=True),
    Goal("relay", "rate", 3, "hand", at_least=True),
    Goal("publish", "rate", 3, "hand", at_least=True),
    *(Goal(f"steps-{mode}", "rate", 2, "steps") for mode in ("consume", "ack", "relay", "publish")),
    *(Goal(case, metric, 1, "callback") for case in ("latency-500", "latency-3000") for metric in ("p50", "p99")),
    Goal("start", "seconds", 1.5, "hand", plus=0.15),
    Goal("memory", "idle", 60),
)


def judge(outcomes: Mapping[str, Outcome]) -> list[Verdict]:
    """The verdicts on the goals of the cases that were raced."""
    verdicts = []
    for goal in GOALS:
        if outcome := outcomes.get(goal.case):
            base = outcome.median(goal.base, goal.metric) if goal.base else 1.0
            bound = None if base is None else goal.factor * base + goal.plus
            verdicts.append(Verdict(goal, outcome.median(OURS, goal.metric), bound))
    return verdicts
