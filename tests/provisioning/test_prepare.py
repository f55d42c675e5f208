"""What triggers need at their servers, where one of these does not answer."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Any

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig, RuntimeConfig
from eventbus_runtime.config.objects import StreamConfig
from eventbus_runtime.provisioning.prepare import Topology
from eventbus_runtime.testing.server import NatsServer

BUSES = ("deaf", "main")


def tables(names: Sequence[str]) -> dict[str, Any]:
    """Two buses, and a stream and a consumer of each name, on the bus that its first letters name."""
    return {
        "buses": {bus: {} for bus in BUSES},
        "streams": {name: {"bus": name[:4], "subjects": [f"{name}.>"]} for name in names},
        "consumers": {name: {"stream": name} for name in names},
    }


def trigger(name: str, bus: str) -> dict[str, Any]:
    return {"bus": bus, "stream": name, "consumer": name, "pipeline": "billing"}


async def test_triggers_of_two_buses_that_are_one_server_share_a_dead_letter_stream(
    server: NatsServer, bus: NatsBus
) -> None:
    for attempt in range(5):
        names = (f"main{attempt}", f"deaf{attempt}")
        subject = f"dead.{attempt}"
        triggers = {f"t{name}": trigger(name, name[:4]) | {"dead_letter": subject} for name in names}
        file = RuntimeConfig.model_validate(tables(names) | {"triggers": triggers})
        filled = {name: f"DEAD_{name}" for name in triggers}
        streams = {
            stream: StreamConfig(bus=file.triggers[name].bus, subjects=(subject,)) for name, stream in filled.items()
        }
        file = file.model_copy(update={"streams": {**file.streams, **streams}})
        async with NatsBus("deaf", BusConfig(), urls=[server.url]) as other:
            await other.wait_connected()
            topology = Topology(file, {"main": bus, "deaf": other}, filled, lambda fact: None)
            stored = await asyncio.gather(*(topology.prepare(name, None) for name in triggers))
        assert len(set(stored)) == 1
        assert (await bus.api("STREAM.NAMES", {"subject": subject}))["streams"] == [stored[0]]


async def test_a_bus_that_does_not_answer_holds_up_none_of_another(server: NatsServer, bus: NatsBus) -> None:
    with NatsServer() as silent:
        async with NatsBus("deaf", BusConfig(), urls=[silent.url]) as deaf:
            await deaf.wait_connected()
            silent.send_signal(signal.SIGSTOP)
            file = RuntimeConfig.model_validate(
                tables(BUSES) | {"triggers": {name: trigger(name, name) for name in BUSES}}
            )
            topology = Topology(file, {"deaf": deaf, "main": bus}, {}, lambda fact: None)
            tasks = {name: asyncio.create_task(topology.prepare(name, None)) for name in ("deaf", "main")}
            first, _ = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            tasks["deaf"].cancel()
            silent.send_signal(signal.SIGCONT)
            done = await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert first == {tasks["main"]}
    assert done[1] is None, done
    assert (await bus.api("CONSUMER.INFO.main.main"))["name"] == "main"
