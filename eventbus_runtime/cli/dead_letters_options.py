"""The options of `eventbus dead-letters`: how they are written, and what they mean."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from eventbus_runtime.cli.connect import duration
from eventbus_runtime.config.dead_letters import DeadLetterRoute, dead_letter_routes
from eventbus_runtime.config.loader import load, load_dead_letters
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.config.report import did_you_mean, listed
from eventbus_runtime.config.units import seconds
from eventbus_runtime.dead_letters.letter import Place, places
from eventbus_runtime.dead_letters.selection import Span, Wanted
from eventbus_runtime.errors import ConfigError

Triggers: TypeAlias = Annotated[
    list[str] | None, typer.Option("--trigger", metavar="NAME", help="Only this trigger's; may be repeated.")
]
Reasons: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--reason", metavar="WORD", help="Only for this reason, as rejected, exhausted or undecodable; may be repeated."
    ),
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help='Only those stored since then: "2h" ago, or "2026-01-31T10:00".'),
]
Until: TypeAlias = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Only those stored before then.")]
Sequences: TypeAlias = Annotated[
    str | None,
    typer.Option("--sequence", metavar="NUMBERS", help='Only these dead letters: "17", "17,20-30" or "40-".'),
]
OriginSequences: TypeAlias = Annotated[
    str | None,
    typer.Option("--origin-sequence", metavar="NUMBERS", help="Only those of these messages of the stream they left."),
]
Limit: TypeAlias = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="NUMBER", help="At most so many, the oldest first.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
Imports: TypeAlias = Annotated[
    bool, typer.Option("--imports", help="Import the handlers, to know triggers that only @subscribe declares.")
]
Timeout: TypeAlias = Annotated[
    str, typer.Option("--timeout", metavar="DURATION", help="Most that connecting takes, and each answer.")
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(frozen=True)
class Scope:
    """Where to look, and what for.

    Args:
        file: the configuration.
        buses: its buses, by name.
        places: where the dead letters may be.
        wanted: which of them are meant.
        limit: most of them; None: all.
        timeout: seconds to wait for each answer.
    """

    file: Path
    buses: Mapping[str, BusConfig]
    places: tuple[Place, ...]
    wanted: Wanted
    limit: int | None
    timeout: float


def read_scope(
    file: Path,
    *,
    timeout: str,
    imports: bool,
    trigger: Sequence[str] | None = None,
    reason: Sequence[str] | None = None,
    since: str | None = None,
    until: str | None = None,
    sequence: str | None = None,
    origin_sequence: str | None = None,
    limit: int | None = None,
) -> Scope:
    """Read the file, and the options as they were written.

    Raises:
        ConfigError: a mistake in either.
    """
    wanted = Wanted(
        frozenset(trigger or ()),
        frozenset(reason or ()),
        _when(since, "--since"),
        _when(until, "--until"),
        _spans(sequence, "--sequence"),
        _spans(origin_sequence, "--origin-sequence"),
    )
    buses, routes = _read_with_code(file) if imports else load_dead_letters(file)
    found = places(_chosen(file, routes, trigger, imports))
    return Scope(file, buses, found, wanted, limit, duration(timeout, "--timeout"))


def rate(text: str | None) -> float | None:
    """Messages a second of "100/s", "100" or "30/m".

    Raises:
        ConfigError: it is no rate.
    """
    if text is None:
        return None
    number, slash, unit = text.partition("/")
    per = {"s": 1, "m": 60, "h": 3600, "": 0 if slash else 1}.get(unit, 0)
    if not number.isascii() or not number.isdigit() or not int(number) or not per:
        raise ConfigError(f'--rate: {text!r} is no rate; write "100/s", "30/m" or a number a second')
    return int(number) / per


def _read_with_code(file: Path) -> tuple[Mapping[str, BusConfig], tuple[DeadLetterRoute, ...]]:
    config = load(file).config
    return config.buses, dead_letter_routes(config)


def _chosen(
    file: Path, routes: Sequence[DeadLetterRoute], named: Iterable[str] | None, imports: bool
) -> list[DeadLetterRoute]:
    cure = "" if imports else "; if only @subscribe says so, add --imports"
    known = {route.trigger: route for route in routes}
    for name in named or ():
        if name not in known:
            hint = did_you_mean(name, known) or f"; it has {listed(known)}{cure}"
            raise ConfigError(f"{file} has no trigger {name!r}{hint}")
        if not known[name].subject:
            raise ConfigError(f"the trigger {name} of {file} has no dead_letter{cure}")
    chosen = [known[name] for name in named] if named else [route for route in routes if route.subject]
    if not chosen:
        raise ConfigError(f"no trigger of {file} has a dead_letter{cure}")
    # All triggers of a place are needed to tell whose a dead letter is.
    wanted = {(route.bus, route.subject) for route in chosen}
    return [route for route in routes if (route.bus, route.subject) in wanted]


def _when(text: str | None, option: str) -> int | None:
    """Nanoseconds since 1970 of a moment, or of a duration before now."""
    if text is None:
        return None
    try:
        return time.time_ns() - int(seconds(text) * 10**9)
    except ValueError:
        pass
    try:
        return int(datetime.fromisoformat(text).timestamp() * 10**6) * 1000
    except (ValueError, OverflowError, OSError):
        raise ConfigError(
            f'{option}: {text!r} is no time; write how long ago, as "2h", or when, as "2026-01-31T10:00" '
            '(of this machine) or "2026-01-31T10:00Z"'
        ) from None


def _spans(text: str | None, option: str) -> tuple[Span, ...]:
    return tuple(_span(part.strip(), option) for part in text.split(",")) if text is not None else ()


def _span(text: str, option: str) -> Span:
    first, dash, last = text.partition("-")
    ends = [first, last] if last else [first]
    if all(end.isascii() and end.isdigit() and len(end) < 20 for end in ends):
        span = Span(int(first), int(last) if last else None if dash else int(first))
        if span.last is None or span.first <= span.last:
            return span
    raise ConfigError(f'{option}: {text!r} is no number, nor a span of them; write "17", "20-30" or "40-"')
