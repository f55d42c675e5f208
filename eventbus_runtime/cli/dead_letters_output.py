"""What `eventbus dead-letters` prints. All that comes from a message is strangers' text: no terminal may obey it."""

from __future__ import annotations

import json
from collections import Counter
from itertools import groupby
from types import TracebackType
from typing import NamedTuple, Self

import typer
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from eventbus_runtime.dead_letters.letter import Letter
from eventbus_runtime.dead_letters.results import Done, Result
from eventbus_runtime.frames import printable
from eventbus_runtime.triggers.dead_letter import OURS

_COLUMNS = ("STREAM", "SEQUENCE", "STORED", "TRIGGER", "REASON", "SUBJECT", "ORIGIN", "TRIES", "REPLAYED", "ERROR")
# Rows that are laid out together: their columns are as wide as these need.
_BLOCK = 500
# Characters of an error in a table; `show` has all of it.
_LONGEST_ERROR = 120
# Problems that are told one by one.
_MOST_PROBLEMS = 20


class Listing:
    """Rows of `list`: a table on a terminal, aligned lines elsewhere, or JSON. Memory for one block of rows."""

    def __init__(self, as_json: bool) -> None:
        self.count = 0
        self._json = as_json
        self._rows: list[tuple[str, ...]] = []
        self._widths = [len(name) for name in _COLUMNS]
        self._console = Console()

    def add(self, bus: str, letter: Letter) -> None:
        """Print a dead letter, or keep it until a block is full."""
        self.count += 1
        if self._json:
            typer.echo(json.dumps(letter.as_dict(bus)))
            return
        self._rows.append(_row(letter))
        if len(self._rows) == _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Print what was kept."""
        if not self._rows:
            return
        if self._console.is_terminal:
            self._print_table()
        else:
            self._print_lines(with_header=self.count <= _BLOCK)
        self._rows.clear()

    def _print_table(self) -> None:
        # Ten columns do not fit: what belongs together shares one, and each stream has a table.
        for stream, group in groupby(self._rows, lambda row: row[0]):
            rows = list(group)
            come_back = any(row[8] != "-" for row in rows)
            table = Table(box=SIMPLE_HEAD, title=Text(stream), title_justify="left")
            table.add_column("SEQUENCE", no_wrap=True, justify="right")
            for name in ("STORED", "TRIGGER", "ORIGIN"):
                table.add_column(name, overflow="fold")
            for name in ("TRIES", "REPLAYED")[: 1 + come_back]:
                table.add_column(name, no_wrap=True, justify="right")
            table.add_column("WHY", overflow="fold")
            for _, sequence, stored, trigger, reason, subject, origin, tries, replayed, error in rows:
                short = error if len(error) <= _LONGEST_ERROR else f"{error[:_LONGEST_ERROR]}…"
                numbers = (tries, replayed)[: 1 + come_back]
                cells = (
                    sequence,
                    stored.replace(" ", "\n"),
                    trigger,
                    f"{origin}\n{subject}",
                    *numbers,
                    f"{reason}\n{short}",
                )
                table.add_row(*map(Text, cells))
            self._console.print(table)

    def _print_lines(self, with_header: bool) -> None:
        rows = [_COLUMNS, *self._rows] if with_header else self._rows
        for row in rows:
            self._widths = [max(width, cell_len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        for row in rows:
            padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, self._widths, strict=True))
            typer.echo("  ".join(padded).rstrip())


def show(bus: str, letter: Letter) -> None:
    """Print all of one dead letter."""
    message, origin = letter.message, letter.origin
    lines = [
        ("dead letter", f"{message.sequence} of {message.stream} (bus {bus}), to {message.subject}"),
        ("stored", message.time),
        ("trigger", ", ".join(letter.triggers) or "none of this file"),
        ("reason", letter.reason),
        ("error", letter.error),
        ("origin", f"message {origin.sequence} of {origin.stream}, to {origin.subject}"),
        ("consumer", origin.consumer),
        ("deliveries", str(letter.delivery_count or "")),
        ("failed", letter.failed_at),
        ("replayed", f"{letter.replays}x, and came back" if letter.replays else "never"),
        *(("header", f"{name}: {value}") for name, value in message.headers.pairs() if name.casefold() not in OURS),
    ]
    for name, text in lines:
        typer.echo(f"{name:<12} {printable(text)}".rstrip())
    size = f"{len(message.payload)} bytes"
    if letter.left_out is not None:
        size = f"left out: {letter.left_out} bytes, which are with the original only"
    body, kind = _body(message.payload, letter.as_dict(bus))
    typer.echo(f"{'payload':<12} {size}{kind}")
    for line in body:
        typer.echo(printable(line))


class Problem(NamedTuple):
    """What several dead letters have in common that did not work."""

    stream: str
    detail: str


class Tally:
    """Counts what became of the dead letters, with a progress bar where somebody watches.

    Args:
        total: how many there are.
        verb: what is done to them, as "replaying".
        as_json: print each result as a line of JSON.
    """

    def __init__(self, total: int, verb: str, *, as_json: bool) -> None:
        self.total = total
        self.counts: Counter[Done] = Counter()
        self._json = as_json
        self._problems: dict[Problem, list[int]] = {}
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=as_json or not console.is_terminal, transient=True)
        self._task = self._progress.add_task(verb, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Tell the user something meanwhile."""
        self._progress.console.print(Text(printable(text)), soft_wrap=True)

    def add(self, bus: str, result: Result) -> None:
        """Count one."""
        self.counts[result.done] += 1
        self._progress.advance(self._task)
        if self._json:
            typer.echo(json.dumps(result.as_dict(bus)))
        elif result.done in (Done.REFUSED, Done.FAILED):
            self._problems.setdefault(Problem(result.stream, result.detail), []).append(result.sequence)

    @property
    def has_problems(self) -> bool:
        """Whether any dead letter is not what it was to become."""
        return bool(self.counts[Done.REFUSED] + self.counts[Done.FAILED])

    def sum_up(self, text: str) -> None:
        """Print what did not work to stderr, and `text` to stdout; with `as_json` all was said."""
        if self._json:
            return
        problems = list(self._problems.items())
        for problem, sequences in problems[:_MOST_PROBLEMS]:
            some = ", ".join(map(str, sequences[:5]))
            rest = f" and {len(sequences) - 5} more" if len(sequences) > 5 else ""
            typer.echo(printable(f"{problem.stream} {some}{rest}: {problem.detail}"), err=True)
        if hidden := sum(len(sequences) for _, sequences in problems[_MOST_PROBLEMS:]):
            typer.echo(f"… and {hidden} more that did not work; --json tells each", err=True)
        typer.echo(text)


def counted(number: int) -> str:
    """`1 dead letter`, `1,000 dead letters`."""
    return f"{number:,} dead letter{'' if number == 1 else 's'}"


def _row(letter: Letter) -> tuple[str, ...]:
    message, origin = letter.message, letter.origin
    cells = (
        message.stream,
        str(message.sequence),
        message.time[:19].replace("T", " "),
        ",".join(letter.triggers) or f"({origin.consumer})",
        letter.reason or "-",
        origin.subject or "-",
        f"{origin.stream} {origin.sequence}" if origin.stream else "-",
        str(letter.delivery_count or "-"),
        f"{letter.replays}x" if letter.replays else "-",
        letter.error or "-",
    )
    return tuple(map(printable, cells))


def _body(payload: bytes, told: dict[str, object]) -> tuple[list[str], str]:
    """The payload for people, in lines, and what it is."""
    if not payload:
        return [], ""
    text = str(told["payload"])
    if told["payload_encoding"] == "base64":
        return [text], ", as base64"
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text.splitlines(), ""
    return text.splitlines(), ", JSON"
