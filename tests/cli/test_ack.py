"""`eventbus ack` against a real server (S-32)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventbus_runtime.buses.nats import NatsBus
from tests.cli.command import eventbus
from tests.cli.test_consume import file, pending_acks, prepare

__all__ = ["file"]

pytestmark = pytest.mark.seed("S-32")


async def test_what_consume_printed_is_acknowledged(bus: NatsBus, file: Path) -> None:
    await prepare(bus, b"1", b"2", b"3")
    lines = eventbus("consume", file, "billing", "--batch", "3").stdout.splitlines()
    tokens = [json.loads(line)["ack_token"] for line in lines]
    done = eventbus("ack", file, *tokens[:2])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert await pending_acks(bus) == 1


@pytest.mark.parametrize("token", ["orders.created", "$JS.API.STREAM.DELETE.ORDERS", "$JS.ACK.S.c.1.1.1.1.0 x", ""])
async def test_anything_else_is_refused_and_nothing_is_published(
    bus: NatsBus,
    file: Path,
    token: str,
) -> None:
    done = eventbus("ack", file, token)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert (await bus.api("STREAM.INFO.ORDERS"))["state"]["messages"] == 0


async def test_a_token_that_nobody_knows_is_told(bus: NatsBus, file: Path) -> None:
    done = eventbus("ack", file, "$JS.ACK.ORDERS.gone.1.1.1.1.0")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert done.stderr.startswith(b"step.eventbus.ack: nobody answers on ")
