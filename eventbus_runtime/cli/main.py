"""`eventbus`: the commands beside `eventbus-run`. One file per command."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from eventbus_runtime.cli.ack import ack
from eventbus_runtime.cli.apply import apply
from eventbus_runtime.cli.conformance import conformance
from eventbus_runtime.cli.consume import consume
from eventbus_runtime.cli.contracts import contracts
from eventbus_runtime.cli.dead_letters import dead_letters
from eventbus_runtime.cli.import_ import import_
from eventbus_runtime.cli.plan import PlanCommand, plan
from eventbus_runtime.cli.probe import probe
from eventbus_runtime.cli.publish import publish
from eventbus_runtime.cli.render import render

app = typer.Typer(name="eventbus", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command(cls=PlanCommand)(plan)
app.command()(apply)
app.command("import")(import_)
app.command()(render)
app.command()(probe)
app.command()(publish)
app.command()(consume)
app.command()(ack)
app.command()(conformance)
app.command()(contracts)
app.add_typer(dead_letters, name="dead-letters")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"eventbus-runtime {version('eventbus-runtime')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end."),
    ] = False,
) -> None:
    """Look at, and talk to, what an eventbus-runtime configuration describes. `eventbus-run FILE` runs it."""


def main() -> None:
    """The console script `eventbus`."""
    try:
        app()
    except OSError as error:  # that no command foresaw: most often what it prints, onto a full disk
        sys.stderr.write(f"eventbus: {error.strerror or error}{f': {error.filename}' if error.filename else ''}\n")
        if sys.stdout is not None:  # what is still to be written would fail once more when the interpreter ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
