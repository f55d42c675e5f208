"""`eventbus apply`: have the server be as the configuration declares."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from eventbus_runtime.cli.connect import ask, connected, duration, is_answered, open_bus, told_in_one_line
from eventbus_runtime.cli.plan import look, look_at, tell_waiting, wanted_buses
from eventbus_runtime.cli.plan_output import Shown, exit_code, lines
from eventbus_runtime.config.loader import Loaded, load
from eventbus_runtime.errors import BusError, ConfigError, TopologyError
from eventbus_runtime.provisioning.apply import carry_out, delete
from eventbus_runtime.provisioning.plan import Action, Item
from eventbus_runtime.provisioning.topology import Changed
from eventbus_runtime.provisioning.unmanaged import Unmanaged


def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration.")],
    bus: Annotated[str | None, typer.Option(metavar="NAME", help="This bus alone; left out: every one.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Delete what is not in FILE, too: listed first, and asked about by itself without --yes.",
        ),
    ] = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="Most that connecting takes.")] = "5s",
) -> None:
    """Create and change streams and consumers so that the server has what FILE declares.

    Shows the plan, and asks. Where anything in it can't be done, nothing is: exit code 1. What the server refuses in
    the end, it says (exit code 1), and the rest is done. Where nothing differs, nothing is sent. Nothing is deleted
    without --prune; never what belongs to key-value buckets, object stores, MQTT or the runtime itself.
    """
    with told_in_one_line():
        if not yes and not is_answered():
            raise ConfigError("apply asks before it changes anything, and nobody is here to answer: add --yes")
        loaded = load(file)
        asyncio.run(_apply(loaded, wanted_buses(loaded, bus, file), duration(timeout, "--timeout"), yes, prune))


async def _apply(loaded: Loaded, wanted: Sequence[str], timeout: float, yes: bool, prune: bool) -> None:
    shown = await look(loaded, wanted, timeout)
    for line in lines(shown):
        typer.echo(line)
    code = exit_code(shown)
    if code == 1:
        raise TopologyError("Nothing was done: mend what can't be done first.")
    if code and not yes:
        ask(f"Do this on {_places(shown)}?")
    failures = list[str]()
    for plan in (one.plan for one in shown if one.plan.having(Action.CREATE, Action.UPDATE)):
        try:
            async with connected(open_bus(loaded.path, plan.bus, loaded.config.buses[plan.bus]), timeout) as bus:
                failures += await carry_out(bus, plan, _tell_done, waiting=tell_waiting)
        except BusError as error:
            failures.append(str(error))
    if failures:
        raise TopologyError("\n".join(failures))
    if prune:
        for name in wanted:
            await _prune(loaded, name, timeout, yes)


async def _prune(loaded: Loaded, name: str, timeout: float, yes: bool) -> None:
    async with connected(open_bus(loaded.path, name, loaded.config.buses[name]), timeout) as bus:
        # Looked at anew: what is deleted is what is said now.
        surplus = (await look_at(loaded, bus)).unmanaged
        if not surplus:
            return
        typer.echo(f"To delete from bus {name}, with all that is in it:")
        for one in surplus:
            typer.echo(f"  - {one.label}: {one.what}")
        if not yes:
            ask("Delete this for good?")
        await delete(bus, surplus, _tell_deleted)


def _tell_done(item: Item, changed: Changed) -> None:
    typer.echo(f"{item.label}: {changed}")


def _tell_deleted(one: Unmanaged) -> None:
    typer.echo(f"{one.label}: deleted")


def _places(shown: Sequence[Shown]) -> str:
    return " and ".join(f"bus {one.plan.bus}" for one in shown if one.plan.having(Action.CREATE, Action.UPDATE))
