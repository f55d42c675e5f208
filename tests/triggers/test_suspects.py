"""Where a suspect runs: in a child that loads what we did, or in this process where none can."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import pytest

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.loader import load
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.events import Fact, Warned
from eventbus_runtime.launch import launch
from eventbus_runtime.message import Message, Raw
from eventbus_runtime.pipelines.registry import Registration, Registry
from eventbus_runtime.runtime import Runtime
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers.child import Launch, read_raw, write_raw
from tests.triggers.live import connected, make_consumer, make_stream, running, until

CONFIG = """
[buses.main]
url = "{url}"
[triggers.t]
stream = "S"
consumer = "c"
pipeline = "ours"
attempts = 1
on_exhausted = "terminate"
[streams.S]
declare = false
[consumers.c]
stream = "S"
declare = false
"""
HANDLERS = """
import os
from pathlib import Path
from eventbus_runtime import Message, pipeline

@pipeline
async def ours(message: Message) -> None:
    note("ours", message)

@pipeline
async def others(message: Message) -> None:
    note("others", message)

def note(name: str, message: Message) -> None:
    with Path(__file__).with_name("handled").open("a") as file:
        print(name, os.getpid(), message.payload, dict(message.headers), message.ack_token, file=file)
"""


class Facts:
    """A listener that keeps them."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def on_fact(self, fact: Fact) -> None:
        if isinstance(fact, Warned):
            self.warnings.append(fact.text)


async def deliver_once(server: NatsServer, *payloads: bytes) -> None:
    """Messages in stream `S` that its consumer has delivered to somebody who handed them back."""
    async with connected(server.url) as bus:
        await make_stream(bus)
        await make_consumer(bus)
        for payload in payloads:
            await bus.publish("s.a", payload, {"A": "b"})
        came: list[Raw] = []
        inbox = await bus.open_inbox(came.extend)
        bus.send([Frame("$JS.API.CONSUMER.MSG.NEXT.S.c", b'{"batch":%d}' % len(payloads), inbox.subject)])
        await until(lambda: len(came) == len(payloads))
        bus.answer_all([raw[1] for raw in came], b"-NAK")
        await bus.ping()


def write(folder: Path, server: NatsServer) -> Path:
    (folder / "handlers.py").write_text(HANDLERS)
    (folder / "app.toml").write_text(CONFIG.format(url=server.url))
    return folder / "app.toml"


async def handled(folder: Path) -> list[str]:
    """The words of the one line that a handler has noted."""
    file = folder / "handled"
    await until(lambda: file.exists() and file.read_text().endswith("\n"))
    (line,) = file.read_text().splitlines()
    return line.split(" ", 2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"overrides": ["triggers.t.pipeline=others"]},
        {"environ": {"EVENTBUS__TRIGGERS__T__PIPELINE": "others"}},
    ],
    ids=["overrides", "environment"],
)
async def test_the_child_loads_what_we_loaded_and_gets_the_message_as_it_came(
    arguments: dict[str, Any], tmp_path: Path, server: NatsServer
) -> None:
    payload = b"\xff\x00\n"
    await deliver_once(server, payload)
    facts = Facts()
    async with Runtime.from_file(write(tmp_path, server), only=["t"], listeners=[facts], **arguments) as runtime:
        name, pid, message = await handled(tmp_path)
        await until(lambda: runtime.trigger_counters()["t"][1].acked == 1)
    assert name == "others"
    assert int(pid) != os.getpid()
    assert message.startswith(f"{payload!r} {{'A': 'b'}} $JS.ACK.S.c.2.1.")
    assert [text.partition(",")[0] for text in facts.warnings] == ["message 1 has a delivery count of 2"]


async def test_a_suspect_runs_in_this_process_where_the_connection_is_the_applications_own(
    tmp_path: Path, server: NatsServer
) -> None:
    await deliver_once(server, b"x")
    facts = Facts()
    client = await nats.connect(server.url)
    path = write(tmp_path, server)
    async with Runtime.from_file(path, connections={"main": client}, listeners=[facts]) as runtime:
        _, pid, _ = await handled(tmp_path)
        await until(lambda: runtime.trigger_counters()["t"][1].acked == 1)
    await client.close()
    assert int(pid) == os.getpid()
    (text,) = facts.warnings
    assert text.endswith("runs in this one, since the connection of bus main is the application's own")


async def test_suspects_of_a_trigger_that_no_other_process_knows_are_warned_of_once(server: NatsServer) -> None:
    seen: list[int] = []

    async def handler(message: Message) -> None:
        seen.append(message.delivery_count)

    await deliver_once(server, b"x", b"y")
    async with running(server, handler, make=False, max_in_flight=1, attempts=1, on_exhausted="terminate") as live:
        await until(lambda: seen == [2, 2])
        await until(live.drained)
        assert len(live.warnings()) == 1


def refused(change: Callable[[Any], Any], tmp_path: Path, server: NatsServer) -> Launch | str:
    loaded = load(write(tmp_path, server))
    return launch(change(loaded), "t", NatsBus("main", BusConfig(), urls=[server.url]))


def in_main_script(loaded: Any) -> Any:
    ours = loaded.registry.pipelines["ours"]
    moved = Registration("pipeline", "ours", ours.function, "__main__", ours.where, {})
    return replace(loaded, registry=Registry([moved]))


def test_what_no_other_process_can_know_is_told_with_its_reason(
    tmp_path: Path, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(refused(lambda loaded: loaded, tmp_path, server), Launch)
    assert "made in code" in refused(lambda loaded: replace(loaded, arguments=None), tmp_path, server)
    assert "runtime.imports" in refused(in_main_script, tmp_path, server)
    monkeypatch.setattr(sys, "platform", "win32")
    assert "Windows" in refused(lambda loaded: loaded, tmp_path, server)


@pytest.mark.parametrize("block", [None, b"", b"NATS/1.0\r\nA: \xff\r\n\r\n"])
def test_a_message_crosses_as_it_came(block: bytes | None) -> None:
    raw = (b"s.\xff", b"$JS.ACK.S.c.1.1.1.1.0", bytes(range(256)), block)
    assert read_raw(write_raw(raw)) == raw
