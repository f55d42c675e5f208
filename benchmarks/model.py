"""The words of a race: cases, their metrics, and what the rounds gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple, TypeAlias

from benchmarks.arena import Arena
from benchmarks.contenders.registry import Contender, Job

Sample: TypeAlias = Mapping[str, float]
"""What one round of one contender gave: metrics by name."""


class Metric(NamedTuple):
    """A column of the table.

    Args:
        name: its key in samples.
        title: its heading, with the unit.
        digits: behind the decimal point.
    """

    name: str
    title: str
    digits: int = 0


class Case(NamedTuple):
    """One discipline.

    Args:
        name: for the command line and the results.
        title: for people.
        mode: what contenders are asked to do.
        messages: how many in one round.
        measure: runs one round.
        metrics: what that gives; the ratio is of the first.
        size: bytes of payload.
        headers: of each message.
        window: most deliveries unsettled at once.
        rate: messages a second, where they are paced.
        contenders: only these; empty: all that have the mode.
    """

    name: str
    title: str
    mode: str
    messages: int
    measure: Callable[[Arena, Contender, Case], Sample]
    metrics: tuple[Metric, ...]
    size: int = 128
    headers: Mapping[str, str] = {}
    window: int = 1000
    rate: int = 0
    contenders: tuple[str, ...] = ()

    @property
    def job(self) -> Job:
        """What a contender is asked."""
        return Job(self.mode, self.messages, self.size, self.window)

    def scaled(self, messages: int | None, share: float) -> Case:
        """The same with so many messages, or with a share of its own; only where a rate is measured."""
        if self.metrics[0].name != "rate":
            return self
        return self._replace(messages=messages or max(1, int(self.messages * share)))


@dataclass
class Entry:
    """What one contender did in one case."""

    samples: list[Sample] = field(default_factory=list)
    problem: str = ""
    """Why rounds are missing: not available, or the last failure."""

    def median(self, metric: str) -> float | None:
        """The middle of its rounds; None without any."""
        return median(sample[metric] for sample in self.samples) if self.samples else None


@dataclass
class Outcome:
    """What all contenders did in one case, by name."""

    case: Case
    server: str
    """Version of the nats-server."""
    entries: dict[str, Entry] = field(default_factory=dict)

    def median(self, contender: str, metric: str) -> float | None:
        """A contender's median; None where there is none."""
        entry = self.entries.get(contender)
        return entry.median(metric) if entry else None

    def ratio(self, contender: str, base: str, metric: str) -> float | None:
        """How many times `base`'s median a contender's is; None where either is missing."""
        mine, other = self.median(contender, metric), self.median(base, metric)
        return mine / other if mine is not None and other else None
