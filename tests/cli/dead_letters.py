"""Dead letters for the tests of `eventbus dead-letters`: as a worker would have stored them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.errors import NotFoundError
from eventbus_runtime.headers import Headers
from eventbus_runtime.message import Message
from eventbus_runtime.triggers import dead_letter
from tests.cli.command import eventbus

STAMP = 1_700_000_000_000_000_000

CONFIG = """
[runtime]
imports = ["no.such.module"]
[buses.main]
url = "{url}"
[streams.ORDERS]
subjects = ["orders.>"]
[triggers.billing]
filter_subjects = ["orders.created"]
dead_letter = "dead.orders"
[triggers.shipping]
filter_subjects = ["orders.paid"]
dead_letter = "dead.orders"
[triggers.audit]
filter_subjects = ["orders.*"]
max_in_fligth = 3
"""
"""Two triggers that share a subject of dead letters, and one without; what must not matter here is wrong."""


async def make_streams(bus: NatsBus, *, orders: dict[str, Any] | None = None, **dead: Any) -> None:
    """An empty ORDERS, and an empty stream DEAD of `dead.>`; with these settings."""
    for name in ("ORDERS", "DEAD"):
        with suppress(NotFoundError):
            await bus.api(f"STREAM.DELETE.{name}")
    await bus.api("STREAM.CREATE.ORDERS", {"name": "ORDERS", "subjects": ["orders.>"], **(orders or {})})
    await bus.api("STREAM.CREATE.DEAD", {"name": "DEAD", "subjects": ["dead.>"], **dead})


async def bury(
    bus: NatsBus,
    numbers: Iterable[int],
    *,
    reason: str = "rejected",
    error: str = "Reject: no",
    consumer: str = "billing",
    subject: str = "orders.created",
    payload: bytes | None = None,
    headers: Sequence[tuple[str, str]] = (),
    to: str = "dead.orders",
    reference: bool = False,
) -> None:
    """Store the dead letters of the messages `numbers` of ORDERS, whose payload is their number, in that order."""

    def letter(number: int) -> dead_letter.DeadLetter:
        message = Message.build(
            subject,
            b"%d" % number if payload is None else payload,
            headers,
            stream="ORDERS",
            consumer=consumer,
            sequence=number,
            delivery_count=5,
            timestamp_ns=STAMP + number,
        )
        built = dead_letter.build(message, reason, error)
        return dead_letter.reference(built) if reference else built

    # In one turn of the loop, so that they are stored in order.
    await asyncio.gather(
        *(bus.publish(to, each.payload, each.headers, id=each.id, timeout=30) for each in map(letter, numbers))
    )


async def messages(bus: NatsBus, stream: str) -> list[tuple[str, bytes, Headers]]:
    """All that a stream stores, in order: subject, payload, headers."""
    state = (await bus.api(f"STREAM.INFO.{stream}"))["state"]
    found = []
    for sequence in range(max(state["first_seq"], 1), state["last_seq"] + 1):
        try:
            message = (await bus.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence}))["message"]
        except NotFoundError:
            continue
        headers = Headers.parse(base64.b64decode(message.get("hdrs", "")))
        found.append((message["subject"], base64.b64decode(message.get("data", "")), headers))
    return found


async def payloads(bus: NatsBus, stream: str) -> list[int]:
    """The numbers that a stream stores, in order."""
    return [int(payload) for _, payload, _ in await messages(bus, stream)]


async def buried(bus: NatsBus) -> list[int]:
    """The numbers whose dead letters are still there."""
    return [int(headers["Eventbus-Sequence"]) for _, _, headers in await messages(bus, "DEAD")]


def dead_letters(file: Path, *arguments: str) -> CompletedProcess[bytes]:
    """Run `eventbus dead-letters FILE …`."""
    return eventbus("dead-letters", file, *arguments)


def json_lines(done: CompletedProcess[bytes]) -> list[dict[str, Any]]:
    """The objects that a command printed; it must have ended well."""
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]
