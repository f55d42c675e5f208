"""The ledger of one scenario: every published message ends handled, dead-lettered or still in the stream.

Messages are numbered from 0. The driver writes down what it publishes; only what a PubAck came for counts as published,
the rest may be stored or not. Workers write down what they have handled, a line each, in a file opened for appending:
what is written there is the kernel's, so it outlives a worker's kill -9, and costs 2 us. (A stream would not do: its
server is what gets killed.) Dead letters and what is left are read from the server at the end, by `scene.Scene`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

_UNSURE, _CONFIRMED = 1, 2
_SHOWN = 5


class Run(NamedTuple):
    """One end of one message; times in seconds of the monotonic clock, which all processes of a machine share.

    Args:
        number: which message.
        began: when its handler began.
        ended: when it was handled.
        worker: process id of the worker.
        attempt: which delivery of the message it was, as the server counts them.
    """

    number: int
    began: float
    ended: float
    worker: int = 0
    attempt: int = 0


class Recorder:
    """A worker's side of the ledger.

    Args:
        path: the ledger's file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def handled(self, number: int, began: float, attempt: int = 1) -> None:
        """Write down that a message was handled, as the last thing that its handler does.

        Args:
            number: which message.
            began: when the handler began, by `time.monotonic`.
            attempt: which delivery of it this was.
        """
        line = b"%d %.6f %.6f %d %d\n" % (number, began, time.monotonic(), os.getpid(), attempt)
        os.write(self._file, line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@dataclass
class Disturbance:
    """What was done to the parts, and how many doubles it may explain.

    Args:
        what: in a word or two, for the printed line.
        began: when, by the monotonic clock, in seconds.
        doubles: the most messages that may end twice because of it.
        ended: when all was well again, as far as the driver can tell.
    """

    what: str
    began: float
    doubles: int
    ended: float = float("inf")


@dataclass
class Balance:
    """What became of all that was published."""

    published: int
    handled: int
    dead_lettered: int
    left: int
    doubles: int
    explained: Mapping[str, int]
    missing: int
    removed: int
    unexplained: list[str]

    def __str__(self) -> str:
        why = ", ".join(f"{count:,} {what}" for what, count in self.explained.items())
        parts = [
            f"published {self.published:,}",
            f"handled {self.handled:,}",
            f"dead-lettered {self.dead_lettered:,}",
            f"left {self.left:,}",
            f"doubles {self.doubles:,}" + (f" ({why})" if why else ""),
            *([f"removed by hand {self.removed:,}"] if self.removed else []),
            f"missing {self.missing:,}",
        ]
        return ", ".join(parts)

    def check(self) -> None:
        """Raise an AssertionError that names what nothing explains."""
        more = len(self.unexplained) - _SHOWN
        shown = [*self.unexplained[:_SHOWN], *([f"and {more:,} more"] if more > 0 else [])]
        assert not self.unexplained, f"{self}\n" + "\n".join(shown)


@dataclass
class Ledger:
    """The driver's side.

    Args:
        path: file that the workers append to.
    """

    path: Path
    _first: int = 0  # the number that `_sent` begins with
    _sent: bytearray = field(default_factory=bytearray)
    published: int = 0
    """How many were confirmed."""
    _disturbances: list[Disturbance] = field(default_factory=list)
    _removed: range = range(0)
    _read: int = 0
    _lines: int = 0

    def __post_init__(self) -> None:
        self.path.touch()

    def next(self) -> int:
        """The number of a message that is to be published; until `confirm`, nobody knows whether it is stored."""
        self._sent.append(_UNSURE)
        return self._first + len(self._sent) - 1

    def confirm(self, number: int) -> None:
        """The stream has confirmed it: from now on it must not get lost."""
        self.published += self._sent[number - self._first] != _CONFIRMED
        self._sent[number - self._first] = _CONFIRMED

    def turn_page(self) -> None:
        """Begin anew, with other numbers; only once all is balanced, and nobody has anything left to write."""
        self._first += len(self._sent)
        self._sent.clear()
        self._disturbances.clear()
        os.truncate(self.path, 0)
        self.published = self._read = self._lines = 0

    @property
    def runs(self) -> int:
        """How often a handler has written that it handled something. Reads only what came since the last time."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        self._lines += new.count(b"\n")
        return self._lines

    def history(self) -> Iterator[Run]:
        """All that was handled, in the order of its end."""
        with self.path.open("rb") as file:
            for line in file:
                number, began, ended, worker, attempt = line.split()
                yield Run(int(number), float(began), float(ended), int(worker), int(attempt))

    @contextmanager
    def disturbance(self, what: str, doubles: int) -> Iterator[None]:
        """Around what the driver does to the parts, until they may be well again; see `Disturbance`."""
        disturbance = Disturbance(what, time.monotonic(), doubles)
        self._disturbances.append(disturbance)
        yield
        disturbance.ended = time.monotonic()

    def removed(self) -> None:
        """The stream was deleted by hand, with all that was published so far: none of it need be handled."""
        self._removed = range(self._first + len(self._sent))

    def balance(self, dead: Collection[Run], left: Collection[int]) -> Balance:
        """Close the account.

        Args:
            dead: the dead letters: `began` and `ended` are when the stream got it.
            left: what the server would still deliver.
        """
        counts = Counter(run.number for run in self.history())
        handled = len(counts)
        counts.update(run.number for run in dead)
        counts.update(left)
        doubled = {number for number, count in counts.items() if count > 1}
        explained, unexplained = self._doubles(doubled, dead, left)
        known = range(self._first, self._first + len(self._sent))
        unexplained += [f"{number} was never published" for number in counts if number not in known]
        confirmed = (number for number, sent in zip(known, self._sent, strict=True) if sent == _CONFIRMED)
        gone = [number for number in confirmed if number not in counts]
        missing = [number for number in gone if number not in self._removed]
        unexplained += [f"{number} is missing: not handled, not dead-lettered, not in the stream" for number in missing]
        return Balance(
            published=self.published,
            handled=handled,
            dead_lettered=len({run.number for run in dead}),
            left=len(left),
            doubles=sum(counts[number] - 1 for number in doubled),
            explained=explained,
            missing=len(missing),
            removed=len(gone) - len(missing),
            unexplained=unexplained,
        )

    def _doubles(
        self, doubled: Collection[int], dead: Collection[Run], left: Collection[int]
    ) -> tuple[Counter[str], list[str]]:
        """By disturbance, how many doubles it explains; and those that none does."""
        now = time.monotonic()
        ends: dict[int, list[tuple[Run, str]]] = {number: [] for number in doubled}
        unsettled = (Run(number, now, now) for number in left)
        for how, runs in (("handled", self.history()), ("dead-lettered", iter(dead)), ("left", unsettled)):
            for run in runs:
                if run.number in ends:
                    ends[run.number].append((run, how))
        explained: Counter[str] = Counter()
        unexplained = []
        for number, several in ends.items():
            several.sort(key=lambda end: end[0].ended)
            for (before, how), (after, again) in pairwise(several):
                what = self._explanation(min(before.began, after.began), after.ended)
                if what is None:
                    unexplained.append(f"{number} was {how} at {before.ended:.3f}, and {again} at {after.ended:.3f}")
                else:
                    explained[what] += 1
        return explained, unexplained

    def _explanation(self, began: float, ended: float) -> str | None:
        """What happened between two ends of a message, and may still explain one double."""
        for disturbance in self._disturbances:
            if disturbance.began <= ended and began <= disturbance.ended and disturbance.doubles:
                disturbance.doubles -= 1
                return disturbance.what
        return None
