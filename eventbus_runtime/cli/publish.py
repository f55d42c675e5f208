"""`eventbus publish`: messages for a configuration's bus, from the command line."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from eventbus_runtime.buses.base import PubAck
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.cli.connect import choose_bus, connected, duration, open_bus, told_in_one_line
from eventbus_runtime.config.loader import load_buses
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.headers import encode
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.subjects import check_target

# Confirmations waited for at once: enough to keep a server busy, and little memory.
_AT_ONCE = 256


def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration; only its buses count.")],
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="Where to.")],
    body: Annotated[str, typer.Argument(metavar="BODY", help='The payload; "-" is standard input.')] = "-",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="NAME:VALUE", help="A header; may be repeated.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="How often to publish it.")] = 1,
    message_id: Annotated[
        str | None, typer.Option("--id", metavar="TEXT", help="Nats-Msg-Id: of one id, a stream stores the first.")
    ] = None,
    bus: Annotated[str | None, typer.Option(metavar="NAME", help="The bus, where the file has several.")] = None,
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="Most that connecting takes, and each confirmation.")
    ] = "5s",
) -> None:
    """Publish a message, and wait until a stream has stored it.

    Prints the stream and the message's sequence there. An embedded bus is there while eventbus-run runs the file.
    """
    stored: list[PubAck] = []
    with told_in_one_line():
        message = Publish(_subject(subject), _payload(body), [_header(text) for text in header or ()], message_id)
        buses = load_buses(file)
        name = choose_bus(buses, bus, file)
        opened = open_bus(file, name, buses[name])
        try:
            asyncio.run(_publish(opened, message, count, duration(timeout, "--timeout"), stored))
        finally:
            if stored:
                typer.echo(_summary(stored, count))


def _subject(text: str) -> str:
    try:
        return check_target(text)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _payload(body: str) -> bytes:
    # An argument that is not text reaches us with surrogate escapes, and leaves as the bytes that it was.
    return sys.stdin.buffer.read() if body == "-" else os.fsencode(body)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigError(f"-H {text!r}: a header is NAME:VALUE")
    pair = (name.strip(), value.strip())
    try:
        encode([pair])
    except ValueError as error:
        raise ConfigError(f"-H {text!r}: {error}") from None
    return pair


async def _publish(bus: NatsBus, message: Publish, count: int, timeout: float, stored: list[PubAck]) -> None:
    """Publish `count` times, and note each confirmation in `stored`, so that it is known after an error too.

    Raises:
        BusUnavailableError, AuthenticationError, PayloadTooLargeError, PublishError: see `Bus.publish`.
    """

    async def one() -> None:
        ack = await bus.publish(message.subject, message.payload, message.headers, id=message.id, timeout=timeout)
        stored.append(ack)

    async with connected(bus, timeout):
        for left in range(count, 0, -_AT_ONCE):
            await asyncio.gather(*(one() for _ in range(min(left, _AT_ONCE))))


def _summary(stored: list[PubAck], count: int) -> str:
    last, duplicates = max(stored, key=lambda ack: ack.sequence), sum(ack.duplicate for ack in stored)
    if count == 1:
        return f"{last.stream} {last.sequence}{' (duplicate)' if duplicates else ''}"
    note = f", {duplicates} duplicates" if duplicates else ""
    return f"{last.stream}: {len(stored)} of {count} confirmed{note}, last sequence {last.sequence}"
