"""Three real servers that form a JetStream cluster, each of which can be stopped, killed and started alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import BusError, BusUnavailableError
from eventbus_runtime.testing.server import NatsServer, free_port


class Cluster:
    """Three nodes, by the names that the server calls them by.

    Args:
        binary: the nats-server to run; left out, the one that an embedded bus would use.
    """

    def __init__(self, binary: Path | None = None) -> None:
        ports = {f"n{number}": free_port() for number in (1, 2, 3)}
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports.values())
        self.nodes = {
            name: NatsServer(
                f'server_name: {name}\ncluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{routes}] }}',
                binary=binary,
            )
            for name, port in ports.items()
        }

    def others(self, name: str) -> list[NatsServer]:
        """The nodes that are not this one."""
        return [node for other, node in self.nodes.items() if other != name]


@asynccontextmanager
async def cluster_of_three(binary: Path | None = None) -> AsyncIterator[Cluster]:
    """A cluster that has a meta leader, and room for three replicas; all nodes are removed after the block."""
    cluster = Cluster(binary)
    async with AsyncExitStack() as stack:
        for node in cluster.nodes.values():
            stack.callback(node.remove)
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in cluster.nodes.values()))
        async with asyncio.timeout(30):
            for node in cluster.nodes.values():
                async with NatsBus("ready", BusConfig(), urls=[node.url]) as bus:
                    await bus.wait_connected()
                    await _until_it_has_a_leader(bus)
        yield cluster


async def _until_it_has_a_leader(bus: NatsBus) -> None:
    while True:
        try:
            await bus.api("STREAM.NAMES", timeout=0.3)
            return
        except BusUnavailableError:
            await asyncio.sleep(0.01)


async def consumer_leader(bus: NatsBus, stream: str = "S", consumer: str = "c") -> str:
    """Name of the node that leads a consumer; empty while an election goes on."""
    try:
        answer = await bus.api(f"CONSUMER.INFO.{stream}.{consumer}", timeout=1.0)
    except BusError:
        return ""
    return str(answer.get("cluster", {}).get("leader", ""))
