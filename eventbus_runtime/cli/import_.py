"""`eventbus import`: the file that declares what a server has."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.cli.connect import connected, duration, told_in_one_line
from eventbus_runtime.config.connections import has_credentials, is_address
from eventbus_runtime.config.loader import load
from eventbus_runtime.config.model import BusConfig, uri_variable
from eventbus_runtime.config.toml import toml_key, toml_value
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.imported import Imported, comment, import_server
from eventbus_runtime.provisioning.server import Server, read_server


def import_(
    url: Annotated[str, typer.Argument(metavar="URL", help='The server, as "nats://127.0.0.1:4222".')],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there; left out: print it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    bus: Annotated[str, typer.Option(metavar="NAME", help="What the file calls the bus.")] = "main",
    domain: Annotated[str | None, typer.Option(metavar="NAME", help="JetStream domain.")] = None,
    creds: Annotated[Path | None, typer.Option(metavar="FILE", help="Credentials file, as nsc writes it.")] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="Most that connecting takes.")] = "5s",
) -> None:
    """Write the configuration that declares the streams and durable pull consumers of a server.

    It holds only what differs from the defaults, and says in comments what it leaves out, and why. `eventbus plan` has
    nothing to do on it. No password gets into it: where the address carries one, the file names no address.
    """
    with told_in_one_line():
        if not is_address(url):  # not shown: it may hold a password
            raise ConfigError('URL is not an address; expected "nats://host:4222"')
        if out is not None and out.exists() and not force:
            raise ConfigError(f"--out {out}: is there already; add --force to write over it")
        config = BusConfig.model_validate({"domain": domain, "auth": {"creds": creds} if creds else {}})
        server = asyncio.run(_read(NatsBus(bus, config, urls=[url]), duration(timeout, "--timeout")))
        text = file_of(server, _head(url, bus, config, server))
        if out is None:
            typer.echo(text, nl=False)
        else:
            _write(out, text)


async def _read(bus: NatsBus, timeout: float) -> Server:
    async with connected(bus, timeout) as opened:
        return await read_server(opened)


def _head(url: str, bus: str, config: BusConfig, server: Server) -> str:
    lines = [f"# What a nats-server {server.version} had.", f"[buses.{toml_key(bus)}]"]
    if has_credentials(url):
        where = f"set {uri_variable(bus)} or NATS_URL"
        lines.append(comment(f"Its address carries a user or password, so that it does not stand here: {where}."))
    else:
        lines.append(f"url = {toml_value(url)}")
    if config.domain:
        lines.append(f"domain = {toml_value(config.domain)}")
    if config.auth.creds:
        lines.append(f"auth = {toml_value({'creds': str(config.auth.creds.absolute())})}")
    return "\n".join(lines)


def file_of(server: Server, head: str) -> str:
    """The file that declares what a server has, without what the loader refuses.

    Args:
        server: all of it.
        head: the tables of the buses.
    """
    found = import_server(server)
    while True:
        text = found.text(head)
        try:
            load(None, environ={"EVENTBUS_CONFIG": f"{text}\n[runtime]\nimports = []\n"})
        except ConfigError as error:
            if not any(_taken_out(found, problem.key, problem.text) for problem in error.problems):
                raise
        else:
            return text


def _taken_out(found: Imported, key: str, why: str) -> bool:
    section, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    if section == "consumers" and name in found.consumers:
        found.leave_out(name, why)
        return True
    if section == "streams" and "declare" not in found.streams.get(name, {"declare": False}):
        found.attach_only(name, why)
        return True
    return False


def _write(out: Path, text: str) -> None:
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: can't be written: {error}") from None
    typer.echo(str(out))
