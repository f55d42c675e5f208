"""What `eventbus conformance` does: finds the server, runs the suites, prints the report."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import typer

from eventbus_runtime.buses.embedded import EmbeddedServer
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.config.report import did_you_mean, listed
from eventbus_runtime.config.targets import NATS, target_problem
from eventbus_runtime.conformance import Candidate, Report, Result, Suite, Verdict, run
from eventbus_runtime.conformance.groups import GROUPS, suites
from eventbus_runtime.conformance.report import columns_of, row
from eventbus_runtime.conformance.targets import NAME as TARGETS
from eventbus_runtime.errors import BusUnavailableError, ConfigError
from eventbus_runtime.provisioning.probe import Health, check_address, masked
from eventbus_runtime.provisioning.providers import Providers
from eventbus_runtime.signals import on_stop_signals

_PLAIN_WIDTH = 120
_INTERRUPTED = 130  # as shells have it


class Wanted(NamedTuple):
    """What the command line asks for, checked."""

    candidate: Candidate
    bus: str
    groups: Sequence[str]
    replicas: int
    is_json: bool


def want(provider: str, target: str, bus: str, only: Sequence[str], replicas: int, *, is_json: bool) -> Wanted:
    """Check what the command line asks for.

    Args:
        provider, target: what is held to the suites, by their names.
        bus: address of a running server; empty: one is started.
        only: groups of phases; empty: all.
        replicas: copies of each stream that is made.
        is_json: whether the report is printed as JSON.

    Raises:
        ConfigError: there is no such provider, target or group, or the address is none.
    """
    wanted = Wanted(_candidate(provider, target), bus, _groups(only), replicas, is_json)
    if bus and provider == NATS:
        check_address(bus)
    return wanted


def _candidate(name: str, target: str) -> Candidate:
    provider = Providers().get(name)
    if why := target_problem(name, target, provider.targets):
        raise ConfigError(f"--target: {why}")
    return Candidate.nats(target) if name == NATS else Candidate(provider, target)


def _groups(only: Sequence[str]) -> Sequence[str]:
    for one in only:
        if one not in GROUPS:
            raise ConfigError(
                f"--only: there is no group {one!r}; there are {listed(GROUPS)}{did_you_mean(one, GROUPS)}"
            )
    return [group for group in GROUPS if not only or group in only]


async def conform(wanted: Wanted) -> Report:
    """Run it all, and print it. The first SIGINT or SIGTERM cancels it, so that nothing is left at the server.

    Raises:
        BusUnavailableError: nobody answers at the address.
        BusError: no server can be started.
        typer.Exit: it was interrupted.
    """
    task, interrupted = asyncio.current_task(), False

    def cancel() -> None:
        nonlocal interrupted
        interrupted = True
        if task is not None:
            task.cancel()

    with on_stop_signals(cancel, _nothing):
        try:
            if list(wanted.groups) == [TARGETS]:
                return await _run(wanted, "", "no server")
            async with _server(wanted.bus) as uri:
                return await _run(wanted, uri, await _described(wanted.candidate, uri))
        except asyncio.CancelledError:
            if not interrupted:
                raise
            typer.echo("interrupted", err=True)
            raise typer.Exit(_INTERRUPTED) from None


def _nothing() -> None:
    """It is cleaning up already, which takes 10 s at most."""


async def _run(wanted: Wanted, uri: str, where: str) -> Report:
    candidate = wanted.candidate
    chosen = suites(candidate, uri, wanted.groups, replicas=wanted.replicas)
    subject = f"{candidate.provider.name} on {candidate.target}, {where}"
    printer = _Printer(chosen, is_live=not wanted.is_json)
    printer.begin(subject)
    report = await run(chosen, subject, tell=printer, secrets=_secrets(uri))
    typer.echo(f"\n{report.summary()}" if printer.is_live else report.json())
    return report


@asynccontextmanager
async def _server(uri: str) -> AsyncIterator[str]:
    """The address of the server that is meant; where none is, of one that runs until the block ends."""
    if uri:
        yield uri
        return
    folder = Path(tempfile.mkdtemp(prefix="eventbus-conformance-"))
    try:
        async with EmbeddedServer("conformance", BusConfig(), folder) as server:
            yield server.url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _described(candidate: Candidate, uri: str) -> str:
    """The server and its version, as a probe sees them.

    Raises:
        BusUnavailableError: nobody answers there.
    """
    try:
        probed = await candidate.provider.probe(uri)
    except Exception:  # noqa: BLE001 - a plug-in's may raise anything; the phase `probe` tells it
        return f"a server at {masked(uri)}"
    if probed.status is Health.UNREACHABLE:
        raise BusUnavailableError(f"{probed.uri}: {probed.status}: {probed.error}")
    return f"{candidate.provider.name}-server {probed.server_version} at {probed.uri}"


def _secrets(uri: str) -> Sequence[str]:
    """What of an address no report shows, as written and as meant."""
    with suppress(ValueError):
        held = urlsplit(uri if "://" in uri else f"nats://{uri}")
        secret = held.password or held.username or ""  # one without a password is a token
        return tuple(filter(None, {secret, unquote(secret)}))
    return ()


class _Printer:
    """Prints each phase as it ends."""

    def __init__(self, chosen: Sequence[Suite], *, is_live: bool) -> None:
        self.is_live = is_live
        self._columns = columns_of((suite.name, phase.name) for suite in chosen for phase in suite.phases)
        self._width = shutil.get_terminal_size().columns if sys.stdout and sys.stdout.isatty() else _PLAIN_WIDTH

    def begin(self, subject: str) -> None:
        """Say what is held to the suite."""
        if self.is_live:
            typer.echo(f"{subject}\n")

    def __call__(self, result: Result) -> None:
        if self.is_live:
            is_bad = result.verdict in (Verdict.FAILED, Verdict.NOT_RUN)
            typer.secho(row(result, self._columns, self._width), fg="red" if is_bad else None)
