"""What pytest said of a row, and the Markdown table of all rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

_HEAD = ("row", "nats-server", "nats-py", "Python", "passed", "skipped", "failed", "seconds")


@dataclass(frozen=True)
class Result:
    """How a row ended.

    Args:
        row: its name.
        versions: of nats-server, nats-py and Python, as these said themselves.
        passed: how many tests passed.
        skipped: why a test was skipped, for each of them.
        failed: the tests that failed, each with the first line of why.
        seconds: how long they took together.
        unavailable: why the row could not be set up; empty where it ran.
    """

    row: str
    versions: tuple[str, str, str] = ("", "", "")
    passed: int = 0
    skipped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    seconds: float = 0.0
    unavailable: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it ran, and nothing failed."""
        return not self.unavailable and not self.failed and self.passed > 0

    def __str__(self) -> str:
        """One line."""
        if self.unavailable:
            return f"{self.row:<20} not available: {self.unavailable}"
        counts = f"{self.passed:5} passed {len(self.skipped):3} skipped {len(self.failed):3} failed"
        return f"{self.row:<20} {counts} {self.seconds:5.0f} s"


def read(row: str, versions: tuple[str, str, str], code: int, report: Path, seconds: float) -> Result:
    """The result of a row.

    Args:
        row: its name.
        versions: of nats-server, nats-py and Python.
        code: pytest's exit code.
        report: the JUnit file that pytest wrote.
        seconds: how long it ran.
    """
    cases = list(ElementTree.parse(report).iter("testcase")) if report.is_file() else []
    skipped = tuple(found.get("message", "") for case in cases for found in case.iter("skipped"))
    failed = [
        f"{case.get('classname')}::{case.get('name')}: {found.get('message', '').partition(chr(10))[0]}"
        for case in cases
        for found in (*case.iter("failure"), *case.iter("error"))
    ]
    if code and not failed:
        failed.append(f"pytest ended with code {code}")
    bad = sum(len(case.findall("failure") + case.findall("error") + case.findall("skipped")) > 0 for case in cases)
    return Result(row, versions, len(cases) - bad, skipped, tuple(failed), seconds)


def table(results: Sequence[Result]) -> str:
    """The rows as Markdown, and why tests were skipped."""
    lines = [_line(_HEAD), _line(("---",) * 4 + ("---:",) * 4)]
    for result in results:
        if result.unavailable:
            lines.append(_line((result.row, f"not available: {result.unavailable}", *[""] * 6)))
        else:
            counts = (result.passed, len(result.skipped), len(result.failed), round(result.seconds))
            lines.append(_line((result.row, *result.versions, *map(str, counts))))
    reasons = [
        f"- {result.row}: {count} skipped: {why}"
        for result in results
        for why, count in Counter(result.skipped).items()
    ]
    return "\n".join([*lines, *([""] if reasons else []), *reasons])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
