"""The race as plain text: a block per case, the goals below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from benchmarks.contenders.registry import CONTENDERS
from benchmarks.goals import OURS, Verdict
from benchmarks.model import Entry, Outcome

_LABEL = 44
_COLUMN = 26


def render(outcomes: Mapping[str, Outcome], verdicts: Iterable[Verdict]) -> str:
    """All blocks, and a line for each goal."""
    blocks = ["\n".join(_block(outcome)) for outcome in outcomes.values()]
    goals = [_verdict(outcomes[verdict.goal.case], verdict) for verdict in verdicts]
    return "\n\n".join([*blocks, "\n".join(["goals", *goals])]) if goals else "\n\n".join(blocks)


def _block(outcome: Outcome) -> Iterable[str]:
    """A heading, and a line for each contender; `x` is the ratio of the first metric to ours."""
    case = outcome.case
    first = case.metrics[0]
    yield f"{case.title:{_LABEL}}" + "".join(f"{metric.title:>{_COLUMN}}" for metric in case.metrics) + f"{'x ours':>9}"
    for name, entry in outcome.entries.items():
        ratio = outcome.ratio(name, OURS, first.name)
        values = "".join(f"{_number(entry, m.name, m.digits):>{_COLUMN}}" for m in case.metrics)
        line = f"  {CONTENDERS[name].label:{_LABEL - 2}}"
        if entry.samples:
            line += values + (f"{ratio:9.2f}" if ratio is not None else f"{'-':>9}")
        yield line + (f"  {entry.problem}" if entry.problem else "")


def _number(entry: Entry, metric: str, digits: int) -> str:
    value = entry.median(metric)
    return "-" if value is None else f"{value:,.{digits}f}"


def _verdict(outcome: Outcome, verdict: Verdict) -> str:
    goal = verdict.goal
    metric = next(metric for metric in outcome.case.metrics if metric.name == goal.metric)
    word = {None: "not measured", True: "reached", False: "NOT REACHED"}[verdict.reached]
    line = f"  {word:13}{outcome.case.title}: {metric.title} {goal.text}"
    if verdict.measured is None or verdict.bound is None:
        return line
    base = outcome.ratio(OURS, goal.base, goal.metric) if goal.base else None
    of = f", {base:.2f} x {goal.base}" if base is not None else ""
    return f"{line} (ours {verdict.measured:,.{metric.digits}f}{of})"
