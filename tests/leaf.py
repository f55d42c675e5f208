"""A server whose JetStream is reached through a leaf node, by its domain."""

from __future__ import annotations

from pathlib import Path

from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import BusError
from eventbus_runtime.testing.server import NatsServer, free_port
from tests.conftest import MakeServer
from tests.triggers.live import connected, until

HUB = BusConfig(domain="hub")


async def hub_and_leaf(folder: Path, make_server: MakeServer) -> tuple[NatsServer, NatsServer]:
    """Two servers, each with a JetStream of its own, once the leaf reaches the hub's."""
    port = free_port()
    hub = make_server(
        f'jetstream {{ domain: hub, store_dir: "{folder / "hub"}" }}\nleafnodes {{ listen: "127.0.0.1:{port}" }}'
    )
    leaf = make_server(
        f'jetstream {{ domain: leaf, store_dir: "{folder / "leaf"}" }}\n'
        f'leafnodes {{ remotes: [ {{ url: "nats-leaf://127.0.0.1:{port}" }} ] }}'
    )
    async with connected(leaf.url, config=HUB) as bus:

        async def reaches() -> bool:
            try:
                return bool(await bus.api("INFO", timeout=1.0))
            except BusError:
                return False

        await until(reaches)
    return hub, leaf
