"""What triggers need at their servers, where one of these does not answer."""

from __future__ import annotations

import asyncio
import signal

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig, RuntimeConfig
from eventbus_runtime.provisioning.prepare import Topology
from eventbus_runtime.testing.server import NatsServer

FILE = {
    "buses": {"deaf": {}, "main": {}},
    "streams": {name: {"bus": name, "subjects": [f"{name}.>"]} for name in ("deaf", "main")},
    "consumers": {name: {"stream": name} for name in ("deaf", "main")},
    "triggers": {
        name: {"bus": name, "stream": name, "consumer": name, "pipeline": "billing"} for name in ("deaf", "main")
    },
}


async def test_a_bus_that_does_not_answer_holds_up_none_of_another(server: NatsServer, bus: NatsBus) -> None:
    with NatsServer() as silent:
        async with NatsBus("deaf", BusConfig(), urls=[silent.url]) as deaf:
            await deaf.wait_connected()
            silent.send_signal(signal.SIGSTOP)
            topology = Topology(RuntimeConfig.model_validate(FILE), {"deaf": deaf, "main": bus}, {}, lambda fact: None)
            tasks = {name: asyncio.create_task(topology.prepare(name, None)) for name in ("deaf", "main")}
            first, _ = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            tasks["deaf"].cancel()
            silent.send_signal(signal.SIGCONT)
            done = await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert first == {tasks["main"]}
    assert done[1] is None, done
    assert (await bus.api("CONSUMER.INFO.main.main"))["name"] == "main"
