"""`eventbus plan`: what `eventbus apply` would do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.cli.connect import choose_bus, connected, duration, open_bus, told_in_one_line
from eventbus_runtime.cli.plan_output import Shown, as_json, exit_code, lines
from eventbus_runtime.config.connections import require_addresses
from eventbus_runtime.config.loader import Loaded, load
from eventbus_runtime.errors import BusError
from eventbus_runtime.provisioning.findings import warning
from eventbus_runtime.provisioning.patience import Patience
from eventbus_runtime.provisioning.plan import consumers_of, make_plan
from eventbus_runtime.provisioning.risks import risks
from eventbus_runtime.provisioning.server import read_server
from eventbus_runtime.provisioning.unmanaged import unmanaged

_USAGE = 2
_TOLD = ("streams.", "consumers.", "triggers.")


class PlanCommand(TyperCommand):
    """Where a wrong use ends with 1, since 2 says that there is something to do."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """As of any command."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except Exception as error:
            # The usage errors of typer's own click, whose module it keeps to itself.
            if getattr(error, "exit_code", 0) == _USAGE:
                error.exit_code = 1  # type: ignore[attr-defined] # asked for just above
            raise


def plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration.")],
    bus: Annotated[str | None, typer.Option(metavar="NAME", help="This bus alone; left out: every one.")] = None,
    as_machine: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="Most that connecting takes.")] = "5s",
) -> None:
    """Say what would have to be created or changed so that the server has what FILE declares; change nothing.

    Signs: + to create, ~ to change, ! can't be done, ? on the server and not in FILE. Exit codes: 0 nothing to do, 2
    something to do, 1 something that can't be done, or an error.
    """
    with told_in_one_line(code=1):
        loaded = load(file)
        wanted = wanted_buses(loaded, bus, file)
        shown = asyncio.run(look(loaded, wanted, duration(timeout, "--timeout")))
    if as_machine:
        typer.echo(json.dumps(as_json(shown), indent=2, ensure_ascii=False))
    else:
        for line in lines(shown):
            typer.echo(line)
    raise typer.Exit(exit_code(shown))


def wanted_buses(loaded: Loaded, named: str | None, file: Path) -> list[str]:
    """The names of the buses that are meant: `named`, or all.

    Raises:
        ConfigError: there is none of that name, or one has no address.
    """
    wanted = list(loaded.config.buses) if named is None else [choose_bus(loaded.config.buses, named, file)]
    only = {name: loaded.config.buses[name] for name in wanted}
    require_addresses(loaded.config.model_copy(update={"buses": only}), file)
    return wanted


async def look_at(loaded: Loaded, bus: NatsBus) -> Shown:
    """The plan of one bus, and all that is to be said beside it.

    Args:
        loaded: the configuration.
        bus: connected.

    Raises:
        BusError: the server does not tell what it has.
    """
    config = loaded.config
    streams = {name: one for name, one in config.streams.items() if one.bus == bus.name}
    read = partial(read_server, bus, consumers_of=streams, declared=streams)
    server = await Patience().once_possible(read, tell_waiting)
    made = make_plan(config, bus.name, loaded.dead_letter_streams, server)
    return Shown(
        made,
        unmanaged(made, config),
        (
            *made.findings,
            *(warning(one.key, one.text) for one in loaded.warnings if _is_about(one.key, loaded, bus.name)),
            *risks(made, config, {one.key for one in loaded.warnings}, datetime.now(UTC)),
        ),
    )


async def look(loaded: Loaded, wanted: Sequence[str], timeout: float) -> list[Shown]:
    """`look_at` of several buses.

    Args:
        loaded: the configuration.
        wanted: their names.
        timeout: seconds that connecting to each may take.

    Raises:
        BusError: one can't be reached, or does not tell what it has.
    """
    shown = []
    for name in wanted:
        async with connected(open_bus(loaded.path, name, loaded.config.buses[name]), timeout) as bus:
            shown.append(await look_at(loaded, bus))
    return shown


def tell_waiting(error: BusError) -> None:
    """Say on standard error why something takes longer."""
    typer.echo(f"not now, and tried again for a while: {error}", err=True)


def _is_about(key: str, loaded: Loaded, bus: str) -> bool:
    """Whether a warning is about what a plan of the bus is about."""
    if not key.startswith(_TOLD):
        return False
    section, name = key.split(".")[:2]
    config = loaded.config
    return {
        "streams": name not in config.streams or config.streams[name].bus == bus,
        "consumers": name not in config.consumers or name in consumers_of(config, bus),
        "triggers": name not in config.triggers or config.triggers[name].bus == bus,
    }[section]
