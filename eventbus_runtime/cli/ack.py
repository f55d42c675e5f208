"""`eventbus ack`: acknowledges deliveries by their tokens, by the ack step (S-32)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.cli.connect import choose_bus, connected, open_bus, told_in_one_line
from eventbus_runtime.config.loader import load_buses
from eventbus_runtime.contracts.model import AckRequest
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.message import check_ack_subject
from eventbus_runtime.pipelines.steps import AckStep

_CONNECTS_WITHIN = 5.0


def ack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration; only its buses count.")],
    tokens: Annotated[list[str], typer.Argument(metavar="TOKEN...", help="Ack tokens, as `eventbus consume` prints.")],
    bus: Annotated[str | None, typer.Option(metavar="NAME", help="The bus, where the file has several.")] = None,
) -> None:
    """Acknowledge deliveries, and wait until the server has confirmed it; prints nothing."""
    with told_in_one_line():
        for token in tokens:
            try:
                check_ack_subject(token)
            except ValueError as error:
                raise ConfigError(str(error)) from None
        buses = load_buses(file)
        name = choose_bus(buses, bus, file)
        asyncio.run(_ack(open_bus(file, name, buses[name]), tokens))


async def _ack(bus: NatsBus, tokens: Sequence[str]) -> None:
    async with connected(bus, _CONNECTS_WITHIN):
        step = AckStep(bus)
        await asyncio.gather(*(step(AckRequest(ack_token=token)) for token in tokens))
