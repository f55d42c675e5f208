"""What every command that talks to a bus needs: to open it from the file, and to end with one line where it can't."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer

from eventbus_runtime.buses.embedded import read_url
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.buses.nats.connected import connected as connected
from eventbus_runtime.config.model import EMBEDDED, BusConfig
from eventbus_runtime.config.report import did_you_mean, listed
from eventbus_runtime.config.units import seconds
from eventbus_runtime.errors import ConfigError, EventbusError


@contextmanager
def told_in_one_line(code: int | None = None) -> Iterator[None]:
    """End the command with the text of an error of ours, and with its exit code, or `code`."""
    try:
        yield
    except EventbusError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code if code is None else code) from None


def ask(question: str) -> None:
    """Go on only if somebody says so.

    Raises:
        ConfigError: there is nobody to ask.
    """
    if not is_answered():
        raise ConfigError(f"{question} Nobody is here to answer: add --yes")
    # asyncio's own handler cancels a task, which a loop that stands still here would never see.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        typer.confirm(question, abort=True, err=True)
    finally:
        signal.signal(signal.SIGINT, before)


def is_answered() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()  # None: closed by who started us


def choose_bus(buses: Mapping[str, BusConfig], named: str | None, file: Path) -> str:
    """The name of the bus that is meant: `named`, or the only one.

    Raises:
        ConfigError: there are several, or none of that name.
    """
    if named is None:
        if len(buses) > 1:
            raise ConfigError(f"{file} has several buses: choose one with --bus, of {listed(sorted(buses))}")
        return next(iter(buses))
    if named not in buses:
        raise ConfigError(f"{file} has no bus {named!r}; it has {listed(sorted(buses))}{did_you_mean(named, buses)}")
    return named


def open_bus(file: Path, name: str, config: BusConfig) -> NatsBus:
    """A bus of `file`, not yet connected.

    Args:
        file: the configuration.
        name: the bus's name.
        config: its section.

    Raises:
        ConfigError: it has no address, or one that can't be used.
        BusUnavailableError: it is embedded, and nothing runs it.
    """
    urls = (read_url(file.absolute().parent, name),) if EMBEDDED in config.url else config.url
    return NatsBus(name, config, urls=urls)


def duration(text: str, option: str) -> float:
    """The seconds that an option says.

    Raises:
        ConfigError: it is no duration.
    """
    try:
        return seconds(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None
