"""`eventbus consume` against a real server: what it prints, what it leaves at the server, and how it fails."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.testing.server import NatsServer, free_port
from tests.cli.command import eventbus

pytestmark = pytest.mark.seed("S-31")

CONSUMERS = """
[streams.ORDERS]
subjects = ["orders.>"]
[consumers.billing]
stream = "ORDERS"
filter_subjects = ["orders.created"]
[triggers.shipping]
stream = "ORDERS"
"""


@pytest.fixture
def file(server: NatsServer, tmp_path: Path) -> Path:
    """A configuration with two consumers, and with user code that can't be imported, which must not matter here."""
    path = tmp_path / "consume.toml"
    path.write_text(f'[runtime]\nimports = ["no.such.module"]\n[buses.main]\nurl = "{server.url}"\n{CONSUMERS}')
    return path


async def prepare(bus: NatsBus, *payloads: bytes, name: str = "billing") -> None:
    """The consumer, and orders for it."""
    config = {"durable_name": name, "ack_policy": "explicit", "filter_subject": "orders.created"}
    await bus.api(f"CONSUMER.CREATE.ORDERS.{name}", {"stream_name": "ORDERS", "config": config})
    for payload in payloads:
        await bus.publish("orders.created", payload, {"Kind": "test"})


async def pending_acks(bus: NatsBus) -> int:
    return int((await bus.api("CONSUMER.INFO.ORDERS.billing"))["num_ack_pending"])


async def test_it_prints_each_message_as_json_and_leaves_it_unacknowledged(bus: NatsBus, file: Path) -> None:
    await prepare(bus, b'{"id": 1}', "é".encode())
    done = eventbus("consume", file, "billing", "--batch", "5", "--max-wait", "300ms")
    assert (done.returncode, done.stderr) == (0, b"")
    first, second = map(json.loads, done.stdout.splitlines())
    assert sorted(first) == [
        "ack_token",
        "headers",
        "payload",
        "payload_encoding",
        "published_at",
        "sequence",
        "subject",
    ]
    assert (first["subject"], first["payload"], first["sequence"]) == ("orders.created", '{"id": 1}', "1")
    assert first["headers"]["Kind"] == "test"
    assert second["payload"] == "é"
    assert await pending_acks(bus) == 2


async def test_with_ack_they_are_done(bus: NatsBus, file: Path) -> None:
    await prepare(bus, b"1", b"2", b"3")
    done = eventbus("consume", file, "billing", "--batch", "3", "--ack")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    assert await pending_acks(bus) == 0


async def test_one_is_fetched_where_nothing_is_said(bus: NatsBus, file: Path) -> None:
    await prepare(bus, b"1", b"2")
    assert len(eventbus("consume", file, "billing").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("payload", "options", "shown"),
    [
        (b"\xff\x00", (), {"payload": "/wA=", "payload_encoding": "base64"}),
        (b"text", ("--base64",), {"payload": "dGV4dA==", "payload_encoding": "base64"}),
        (b"", (), {"payload": "", "payload_encoding": "utf-8"}),
    ],
)
async def test_a_payload_that_is_no_text_is_in_base64(
    bus: NatsBus, file: Path, payload: bytes, options: tuple[str, ...], shown: dict[str, str]
) -> None:
    await prepare(bus, payload)
    (line,) = eventbus("consume", file, "billing", *options).stdout.splitlines()
    message = json.loads(line)
    assert {key: value for key, value in message.items() if key.startswith("payload")} == shown


async def test_nothing_there_is_no_error(bus: NatsBus, file: Path) -> None:
    await prepare(bus)
    done = eventbus("consume", file, "billing", "--max-wait", "50ms")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_the_consumer_that_a_trigger_has_is_declared_too(bus: NatsBus, file: Path) -> None:
    await prepare(bus, b"x", name="shipping")
    assert json.loads(eventbus("consume", file, "shipping").stdout)["payload"] == "x"


async def test_an_unknown_consumer_is_told_with_what_to_declare(bus: NatsBus, file: Path) -> None:
    done = eventbus("consume", file, "biling")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f'{file} declares no consumer "biling"; did you mean billing?\n'
    done = eventbus("consume", file, "nothing")
    assert done.stderr.decode() == (
        f'{file} declares no consumer "nothing"; declare [consumers.nothing] with its stream; '
        "declared: billing and shipping\n"
    )


async def test_one_that_is_not_at_the_server_is_told_by_name(bus: NatsBus, file: Path) -> None:
    done = eventbus("consume", file, "billing")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"step.eventbus.consume: there is no consumer billing of the stream ORDERS: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("wait", ["0s", "soon"])
async def test_a_wait_that_is_none_is_refused(bus: NatsBus, file: Path, wait: str) -> None:
    done = eventbus("consume", file, "billing", "--max-wait", wait)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert done.stderr.startswith(b"--max-wait")


def test_a_dead_bus_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "app.toml"
    path.write_text(f'[buses.main]\nurl = "nats://127.0.0.1:{free_port()}"\n{CONSUMERS}')
    began = time.monotonic()
    done = eventbus("consume", path, "billing", "--max-wait", "60s")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert done.stderr.startswith(b"bus 'main' can't be reached within 5 s: ")
    assert time.monotonic() - began < 30
