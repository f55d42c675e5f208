"""`eventbus conformance`: whether provider, bus, trigger and plugin process do at a server what they are to do."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from eventbus_runtime.cli.connect import told_in_one_line
from eventbus_runtime.config.targets import NATS


class Format(StrEnum):
    """How the report is printed."""

    TEXT = "text"
    JSON = "json"


def conformance(
    bus: Annotated[
        str,
        typer.Option(metavar="URL", help="A running server, with user and password if it wants; left out: one starts."),
    ] = "",
    provider: Annotated[str, typer.Option(metavar="NAME", help="The provider, a plug-in's too.")] = NATS,
    target: Annotated[str, typer.Option(metavar="TARGET", help="One of its deploy targets.")] = "self_hosted",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP", help="A group of phases: targets, provider, process or trigger; may be repeated."
        ),
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, max=5, help="Copies of each stream that is made.")] = 1,
    report: Annotated[Format, typer.Option("--format", help="How to print the report.")] = Format.TEXT,
) -> None:
    """Run the conformance suite against a server, and print what it shows.

    It makes streams of its own under names that nobody else has, and removes them whatever happens; it touches nothing
    else. Exit codes: 0 all passed, 1 something did not or no server is there, 2 a mistake in the command.
    """
    # No other command waits for these imports.
    from eventbus_runtime.cli.conformance_run import conform, want

    with told_in_one_line():
        wanted = want(provider, target, bus, only or (), replicas, is_json=report is Format.JSON)
        found = asyncio.run(conform(wanted))
    if not found.passed:
        raise typer.Exit(1)
