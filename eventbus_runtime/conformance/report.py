"""What a run has shown: a table for people, JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """What became of a phase."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"  # something that it needs has failed
    NOT_APPLICABLE = "not applicable"


class Result(NamedTuple):
    """One phase, run.

    Args:
        suite, phase: its names.
        rule: of the origin.
        verdict: what became of it.
        text: what was seen; for a failure what was expected too; else why it was not run, or is not applicable.
        seconds: that it took.
    """

    suite: str
    phase: str
    rule: str
    verdict: Verdict
    text: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """The results of all suites that were run.

    Args:
        subject: what was held to them, as "nats on self_hosted, nats-server 2.15.1 at nats://127.0.0.1:4222".
        results: in order.
    """

    subject: str
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether something was shown, and nothing has failed or was not run."""
        bad = (Verdict.FAILED, Verdict.NOT_RUN)
        return self.count(Verdict.PASSED) > 0 and not any(one.verdict in bad for one in self.results)

    def count(self, verdict: Verdict) -> int:
        """How many phases ended so."""
        return sum(one.verdict is verdict for one in self.results)

    def summary(self) -> str:
        """One line: how many phases passed, failed, were not run or are not applicable."""
        counts = [f"{count} {verdict}" for verdict in Verdict if (count := self.count(verdict))]
        return f"{', '.join(counts) or 'nothing was run'}: {'conforms' if self.passed else 'does not conform'}"

    def text(self) -> str:
        """All of it as a table."""
        lines = [self.subject, "", *rows(self.results), "", self.summary()]
        return "\n".join(lines)

    def json(self) -> str:
        """All of it as one JSON object."""
        return json.dumps(
            {
                "subject": self.subject,
                "passed": self.passed,
                "phases": [one._asdict() | {"seconds": round(one.seconds, 3)} for one in self.results],
            },
            indent=2,
        )


def rows(results: Sequence[Result], width: int = 120) -> Iterator[str]:
    """Table rows for people, each of one line or more; what they have in common is aligned.

    Args:
        results: at least those that are shown.
        width: characters of a line.
    """
    columns = columns_of((one.suite, one.phase) for one in results)
    for one in results:
        yield row(one, columns, width)


def columns_of(names: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """Widths of the columns of suites and phases, given all their names."""
    held = list(names)
    return max((len(suite) for suite, _ in held), default=0), max((len(phase) for _, phase in held), default=0)


def row(result: Result, columns: tuple[int, int], width: int = 120) -> str:
    """One row of the table; see `rows`."""
    first, second = columns
    head = f"{result.suite:{first}}  {result.phase:{second}}  {result.rule:5} {result.verdict:14} "
    head += f"{result.seconds:6.2f} s  "
    indent = " " * len(head) if width - len(head) >= 40 else " " * 4
    text = " ".join(result.text.split())
    wrapper = textwrap.TextWrapper(
        width,
        initial_indent=head,
        subsequent_indent=indent,
        break_long_words=False,  # names and subjects are copied
        break_on_hyphens=False,
    )
    return wrapper.fill(text).rstrip() if text else head.rstrip()
