"""Three real servers that form a JetStream cluster, each of which can be stopped, killed and started alone."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import ApiError, BusError, BusUnavailableError
from eventbus_runtime.testing.server import NatsServer, free_port

T = TypeVar("T")
_NO_PEERS = 10005


class Cluster:
    """Three nodes, by the names that the server calls them by.

    Args:
        binary: the nats-server to run; left out, the one that an embedded bus would use.
        advertise: whether the nodes tell clients of each other.

    Attributes:
        nodes: the servers.
        monitors: the addresses of their monitors.
    """

    def __init__(self, binary: Path | None = None, *, advertise: bool = True) -> None:
        ports = {f"n{number}": free_port() for number in (1, 2, 3)}
        monitors = {name: free_port() for name in ports}
        self.monitors = {name: f"http://127.0.0.1:{port}" for name, port in monitors.items()}
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports.values())
        more = "" if advertise else ", no_advertise: true"
        self.nodes = {
            name: NatsServer(
                f'server_name: {name}\nhttp: "127.0.0.1:{monitors[name]}"\n'
                f'cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{routes}]{more} }}',
                binary=binary,
            )
            for name, port in ports.items()
        }

    def others(self, name: str) -> list[NatsServer]:
        """The nodes that are not this one."""
        return [node for other, node in self.nodes.items() if other != name]


@asynccontextmanager
async def cluster_of_three(binary: Path | None = None, *, advertise: bool = True) -> AsyncIterator[Cluster]:
    """A cluster that has a meta leader, and room for three replicas; all nodes are removed after the block."""
    async with AsyncExitStack() as stack:
        try:
            cluster = await _formed(stack, binary, advertise)
        except (
            TimeoutError,
            RuntimeError,
        ):  # another test's server took one of its nine ports between the choice and the start
            cluster = await _formed(stack, binary, advertise)
        yield cluster


async def _formed(stack: AsyncExitStack, binary: Path | None, advertise: bool) -> Cluster:
    cluster = Cluster(binary, advertise=advertise)
    for node in cluster.nodes.values():
        stack.callback(node.remove)
    await asyncio.gather(*(asyncio.to_thread(node.start) for node in cluster.nodes.values()))
    async with asyncio.timeout(20):
        await asyncio.gather(*(_until_it_takes_replicas(*named) for named in cluster.nodes.items()))
    return cluster


async def _until_it_takes_replicas(name: str, node: NatsServer) -> None:
    """A meta leader alone is not enough: until it has heard of both others, there are no peers for three replicas."""
    stream = {"name": name, "subjects": [name], "num_replicas": 3, "storage": "memory"}
    async with NatsBus("ready", BusConfig(), urls=[node.url]) as bus:
        await bus.wait_connected()
        while True:
            try:
                await bus.api(f"STREAM.CREATE.{name}", stream, timeout=1.0)
                await bus.api(f"STREAM.DELETE.{name}", timeout=1.0)
                return
            except BusError:
                await asyncio.sleep(0.01)


async def once_complete(make: Callable[[], Awaitable[T]]) -> T:
    """The result of `make`, tried again while the cluster answers that a peer is missing: a meta leader that is newly
    elected counts its peers as offline until it has heard of them. The runtime tries again by itself, too."""
    async with asyncio.timeout(40):
        while True:
            try:
                return await make()
            except BusUnavailableError:
                pass
            except ApiError as error:
                if error.err_code != _NO_PEERS:
                    raise
            await asyncio.sleep(0.05)


async def consumer_leader(bus: NatsBus, stream: str = "S", consumer: str = "c") -> str:
    """Name of the node that leads a consumer, once one does."""
    async with asyncio.timeout(20):
        while True:
            try:
                answer = await bus.api(f"CONSUMER.INFO.{stream}.{consumer}", timeout=1.0)
            except BusError:
                answer = {}
            if leader := answer.get("cluster", {}).get("leader"):
                return str(leader)
            await asyncio.sleep(0.01)


async def meta_leader(monitor: str) -> str:
    """Name of the node that leads JetStream, once one does, by a node's monitor."""

    def told() -> str:
        with urllib.request.urlopen(f"{monitor}/jsz", timeout=5) as answer:
            return str(json.load(answer)["meta_cluster"].get("leader", ""))

    async with asyncio.timeout(20):
        while not (leader := await asyncio.to_thread(told)):
            await asyncio.sleep(0.05)
    return leader
