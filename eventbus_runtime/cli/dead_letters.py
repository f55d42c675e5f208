"""`eventbus dead-letters`: look at what could not be handled, replay it, or drop it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack, aclosing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from eventbus_runtime.cli.connect import ask, told_in_one_line
from eventbus_runtime.cli.dead_letters_options import (
    AsJson,
    Imports,
    Limit,
    OriginSequences,
    Reasons,
    Scope,
    Sequences,
    Since,
    Timeout,
    Triggers,
    Until,
    Yes,
    rate,
    read_scope,
)
from eventbus_runtime.cli.dead_letters_output import Listing, Tally, counted, show
from eventbus_runtime.cli.dead_letters_search import buses_of, letters_on, one, pick, shelves_of
from eventbus_runtime.config.report import listed
from eventbus_runtime.dead_letters.drop import drop, refuse_undeletable
from eventbus_runtime.dead_letters.replay import Replay
from eventbus_runtime.dead_letters.results import Done
from eventbus_runtime.dead_letters.selection import Picked
from eventbus_runtime.dead_letters.unfinished import Unfinished

dead_letters = typer.Typer(no_args_is_help=True)

_INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended: 128 and SIGINT's number."""

_UNNOTED = (
    "warning: {} can't be written ({}). If this replay is killed, repeat it within the duplicate_window of the stream "
    "that it publishes to, or some messages may double"
)


@dead_letters.callback()
def of_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration whose triggers' dead letters count.")],
) -> None:
    """Look at dead letters, replay them, or drop them.

    FILE tells where they are; the handlers that it names are not needed.
    No stream or consumer is made or changed.
    """
    context.obj = file


@dead_letters.command("list")
def list_command(
    context: typer.Context,
    trigger: Triggers = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    sequence: Sequences = None,
    origin_sequence: OriginSequences = None,
    limit: Limit = None,
    as_json: AsJson = False,
    timeout: Timeout = "5s",
    imports: Imports = False,
) -> None:
    """List dead letters, oldest first.

    A table on a terminal, aligned lines in a pipe. With --json everything, payloads too.
    """
    with told_in_one_line():
        scope = read_scope(
            context.obj,
            trigger=trigger,
            reason=reason,
            since=since,
            until=until,
            sequence=sequence,
            origin_sequence=origin_sequence,
            limit=limit,
            timeout=timeout,
            imports=imports,
        )
        listing = Listing(as_json)
        asyncio.run(_list(scope, listing))
    if not as_json:
        typer.echo(_found(listing.count, scope), err=True)


@dead_letters.command("show")
def show_command(
    context: typer.Context,
    sequence: Annotated[int, typer.Argument(min=1, metavar="SEQUENCE", help="The dead letter's, as list prints it.")],
    trigger: Triggers = None,
    as_json: AsJson = False,
    timeout: Timeout = "5s",
    imports: Imports = False,
) -> None:
    """Print all of one dead letter: why it is here, its headers, its payload."""
    with told_in_one_line():
        scope = read_scope(context.obj, trigger=trigger, timeout=timeout, imports=imports)
        bus, letter = asyncio.run(one(scope, sequence))
        if as_json:
            typer.echo(json.dumps(letter.as_dict(bus)))
        else:
            show(bus, letter)


@dead_letters.command("replay")
def replay_command(
    context: typer.Context,
    trigger: Triggers = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    sequence: Sequences = None,
    origin_sequence: OriginSequences = None,
    limit: Limit = None,
    rate_text: Annotated[
        str | None, typer.Option("--rate", metavar="RATE", help='At most so many messages: "100/s", "30/m".')
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would happen, and do nothing.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    timeout: Timeout = "5s",
    imports: Imports = False,
) -> None:
    """Publish dead letters again to the subjects that they came from, and delete each once that is confirmed.

    Every consumer of that subject's stream gets them, not only the trigger
    that failed: the others get them a second time. Without any filter it
    asks first.

    Killed or interrupted, it loses nothing. The same command again goes on,
    and doubles nothing.
    """
    with told_in_one_line():
        scope = read_scope(
            context.obj,
            trigger=trigger,
            reason=reason,
            since=since,
            until=until,
            sequence=sequence,
            origin_sequence=origin_sequence,
            limit=limit,
            timeout=timeout,
            imports=imports,
        )
        at_most = rate(rate_text)
        found = _pick(scope)
        if not (yes or dry_run or scope.wanted or limit):
            ask(f"Replay {_named(found)}? Every consumer of their subjects gets them.")
        tally = Tally(sum(map(len, found)), "replaying", as_json=as_json)
        _carry_out(tally, lambda: _replay(scope, found, tally, at_most, dry_run))
        _end(tally, _replayed(tally, dry_run))


@dead_letters.command("drop")
def drop_command(
    context: typer.Context,
    trigger: Triggers = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    sequence: Sequences = None,
    origin_sequence: OriginSequences = None,
    limit: Limit = None,
    yes: Yes = False,
    as_json: AsJson = False,
    timeout: Timeout = "5s",
    imports: Imports = False,
) -> None:
    """Delete dead letters for good. Asks first."""
    with told_in_one_line():
        scope = read_scope(
            context.obj,
            trigger=trigger,
            reason=reason,
            since=since,
            until=until,
            sequence=sequence,
            origin_sequence=origin_sequence,
            limit=limit,
            timeout=timeout,
            imports=imports,
        )
        found = _pick(scope)
        if not yes:
            ask(f"Delete {_named(found)} for good?")
        tally = Tally(sum(map(len, found)), "dropping", as_json=as_json)
        _carry_out(tally, lambda: _drop(scope, found, tally))
        _end(tally, f"dropped {tally.counts[Done.DROPPED]:,} of {counted(tally.total)}")


async def _list(scope: Scope, listing: Listing) -> None:
    async with shelves_of(scope) as shelves, aclosing(letters_on(scope, shelves)) as letters:
        async for shelf, letter in letters:
            listing.add(shelf.place.bus, letter)
    listing.flush()


def _pick(scope: Scope) -> list[Picked]:
    """What is to be replayed or dropped, by place; ends the command where there is nothing."""
    found = asyncio.run(pick(scope))
    if not found:
        typer.echo(_found(0, scope), err=True)
        raise typer.Exit
    for picked in found:
        refuse_undeletable(picked.stream)
    return found


async def _replay(scope: Scope, found: Sequence[Picked], tally: Tally, at_most: float | None, dry_run: bool) -> None:
    async with buses_of(scope) as buses:
        for picked in found:
            name = picked.place.bus
            unfinished = Unfinished(scope.file.absolute().parent, picked.stream)
            with ExitStack() as stack:
                if not dry_run or unfinished.path.exists():
                    try:
                        stack.enter_context(unfinished)
                    except OSError as error:
                        tally.say(_UNNOTED.format(unfinished.path, error.strerror))
                replay = Replay(
                    buses[name],
                    picked,
                    unfinished,
                    report=partial(tally.add, name),
                    say=tally.say,
                    timeout=scope.timeout,
                    dry_run=dry_run,
                )
                await replay.run(None if dry_run else at_most)


async def _drop(scope: Scope, found: Sequence[Picked], tally: Tally) -> None:
    async with buses_of(scope) as buses:
        for picked in found:
            name = picked.place.bus
            await drop(buses[name], picked, partial(tally.add, name), timeout=scope.timeout)


def _carry_out(tally: Tally, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it; where it is interrupted or fails, say first what was done."""
    try:
        with tally:
            asyncio.run(work())
    except KeyboardInterrupt:
        left = tally.total - tally.counts.total()
        tally.sum_up(f"interrupted: {counted(left)} of {tally.total:,} left; the same command again goes on with them")
        raise typer.Exit(_INTERRUPTED) from None
    except Exception:
        tally.sum_up(f"stopped after {tally.counts.total():,} of {counted(tally.total)}")
        raise


def _end(tally: Tally, text: str) -> None:
    tally.sum_up(text)
    if tally.has_problems:
        raise typer.Exit(1)


def _replayed(tally: Tally, dry_run: bool) -> str:
    counts = tally.counts
    if dry_run:
        return f"would replay {counts[Done.WOULD_REPLAY]:,} of {counted(tally.total)}"
    text = f"replayed {counts[Done.REPLAYED] + counts[Done.FINISHED]:,} of {counted(tally.total)}"
    if counts[Done.FINISHED]:
        text += f"; {counts[Done.FINISHED]:,} had been published by an earlier replay"
    if counts[Done.GONE]:
        text += f"; {counts[Done.GONE]:,} were gone"
    return text


def _named(found: Sequence[Picked]) -> str:
    return listed(f"{counted(len(picked))} of {picked.stream.name}" for picked in found)


def _found(count: int, scope: Scope) -> str:
    if count:
        return counted(count)
    return "no dead letter passes these filters" if scope.wanted else "no dead letters"
