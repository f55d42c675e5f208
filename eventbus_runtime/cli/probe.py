"""`eventbus probe`: whether a server is reached, and whether JetStream works there."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Annotated

import typer

from eventbus_runtime.cli.connect import duration, told_in_one_line
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.probe import Health, Probed, check_address, check_monitor
from eventbus_runtime.provisioning.probe import probe as probed


def probe(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The server's address, with user and password if it wants.")
    ],
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="Most that all of it takes.")] = "5s",
    monitor: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Its monitor; left out: port 8222 of that host, if that is the same server's."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Say whether a NATS server is healthy, degraded (reached, but JetStream is off, has no leader or misses replicas)
    or unreachable.

    It writes nothing there. Exit codes: 0 healthy, 1 degraded or unreachable, 2 a mistake in the command. The system's
    certificate authorities count, or those of SSL_CERT_FILE.
    """
    with told_in_one_line():
        seconds = duration(timeout, "--timeout")
        if seconds <= 0:
            raise ConfigError("--timeout: must be more than 0")
        if monitor:
            check_monitor(monitor)
        if url.strip():  # that there is none is a finding (S-14): a variable that nobody has set
            check_address(url)
    asyncio.run(_probe_and_leave(url, seconds, monitor, as_json))


async def _probe_and_leave(url: str, timeout: float, monitor: str, as_json: bool) -> None:
    found = await probed(url, timeout=timeout, monitor=monitor)
    typer.echo(json.dumps(found._asdict()) if as_json else _line(found))
    if found.status is not Health.HEALTHY:
        # An ordinary end would wait for the thread that still asks for a host's address, beyond the time limit.
        if sys.stdout is not None:  # None: closed by who started us
            sys.stdout.flush()
        os._exit(1)


def _line(found: Probed) -> str:
    facts = [f"nats-server {found.server_version}, {found.round_trip * 1000:.1f} ms away"] if found.round_trip else []
    text = f"{found.uri or '(none)'}: {found.status}" + (f": {found.error}" if found.error else "")
    return f"{text} ({', '.join([*facts, f'{found.seconds:.2f} s in all'])})"
