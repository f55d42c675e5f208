"""What is rendered starts: a cluster of three forms, takes replicated streams, feeds the worker, and loses a server."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.loader import load
from eventbus_runtime.config.model import AuthConfig, BusConfig, RuntimeConfig, uri_variable
from eventbus_runtime.errors import BusError, PublishError
from eventbus_runtime.provisioning.render import render
from tests.buses.credentials import Operator
from tests.cli.command import eventbus
from tests.cluster import consumer_leader, once_complete
from tests.provisioning.boot import Boot, Deployed, booted, of_compose, of_kubernetes
from tests.service.worker import Worker
from tests.triggers.live import until

CONFIG = Path(__file__).parents[2] / "config"
READERS = {"self_hosted": of_compose, "kubernetes": of_kubernetes, "aws.eks": of_kubernetes}
BUS = "shop"


class Deployment(NamedTuple):
    """Servers, and a connection beside the worker's."""

    boot: Boot
    bus: NatsBus
    creds: Path


def production(target: str) -> tuple[RuntimeConfig, Deployed]:
    """The file, and what is rendered of it."""
    path = CONFIG / "production.toml"
    config = load(path, environ={}).config
    files = render(config, BUS, target, text=path.read_text("utf-8"), where=str(path)).files
    return config, READERS[target](files)


@asynccontextmanager
async def deployed(target: str, folder: Path) -> AsyncIterator[Deployment]:
    """`config/production.toml`, rendered for a target and started here, with the secrets that an operator would add."""
    _, rendered = production(target)
    operator = Operator()
    creds = operator.creds(folder / "nats.creds")
    async with (
        booted(rendered, folder, operator.server_config()) as boot,
        NatsBus("driver", BusConfig(auth=AuthConfig(creds=creds)), urls=boot.urls) as bus,
    ):
        await bus.wait_connected()
        await declare(boot, creds)
        yield Deployment(boot, bus, creds)


async def declare(boot: Boot, creds: Path) -> None:
    """Have `eventbus apply` create what the file declares; it waits until the meta leader has heard of all peers."""
    environ = {uri_variable(BUS): ",".join(boot.urls), f"EVENTBUS__BUSES__{BUS.upper()}__AUTH__CREDS": str(creds)}
    done = await asyncio.to_thread(eventbus, "apply", CONFIG / "production.toml", "--yes", environ=environ)
    assert done.returncode == 0, done.stderr.decode()


def worker(deployment: Deployment, folder: Path) -> Worker:
    """The worker as it was rendered: its file, its variables, and the user's code beside it."""
    folder.mkdir()
    shutil.copy(CONFIG / "production_handlers.py", folder)
    variables = deployment.boot.worker_variables(uri_variable(BUS), deployment.creds)
    return Worker(folder, deployment.boot.deployed.config, **variables)


async def publish(bus: NatsBus, numbers: range, total: float = 10.0) -> None:
    """Publish orders, each until a stream has confirmed it."""

    async def one(number: int) -> None:
        order = json.dumps({"number": number, "total": total})
        while True:
            try:
                await bus.publish("orders.created", order, id=f"order-{number}", timeout=2.0)
                return
            except (BusError, PublishError):
                await asyncio.sleep(0.05)

    await asyncio.gather(*map(one, numbers))


async def is_drained(bus: NatsBus) -> bool:
    """Whether the consumer has nothing more to deliver, and waits for no ack."""
    try:
        info = await bus.api("CONSUMER.INFO.ORDERS.billing", timeout=1.0)
    except BusError:
        return False
    return bool(info["num_pending"] + info["num_ack_pending"] == 0)


async def ask(bus: NatsBus, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the JetStream API until it answers, which nobody does while a leader is elected."""
    return await once_complete(partial(bus.api, subject, body, timeout=1.0))


async def billed(bus: NatsBus) -> list[int]:
    """The orders that there are invoices of."""
    last = (await ask(bus, "STREAM.INFO.INVOICES"))["state"]["last_seq"]
    read = [ask(bus, "STREAM.MSG.GET.INVOICES", {"seq": sequence}) for sequence in range(1, last + 1)]
    messages = [answer["message"] for answer in await asyncio.gather(*read)]
    return [json.loads(base64.b64decode(message["data"]))["order"] for message in messages]


@pytest.mark.parametrize("target", ["self_hosted", "kubernetes"])
async def test_a_rendered_cluster_loses_a_server_and_no_order(target: str, tmp_path: Path) -> None:
    async with deployed(target, tmp_path) as deployment:
        boot, bus, _ = deployment
        streams = {name: await ask(bus, f"STREAM.INFO.{name}") for name in ("ORDERS", "INVOICES", "DEAD")}
        assert {len(info["cluster"]["replicas"]) for info in streams.values()} == {2}
        with worker(deployment, tmp_path / "worker") as running:
            await publish(bus, range(200))
            await publish(bus, range(1000, 1001), total=-1.0)
            await until(lambda: is_drained(bus), within=20)
            leader = await consumer_leader(bus, "ORDERS", "billing")
            publishing = asyncio.create_task(publish(bus, range(200, 1000)))
            await asyncio.to_thread(boot.servers[leader].kill)
            await publishing
            await until(lambda: is_drained(bus), within=40)
            assert boot.servers[leader].health() == 0
            assert sorted(await billed(bus)) == list(range(1000))
            assert (await ask(bus, "STREAM.INFO.DEAD"))["state"]["messages"] == 1
            boot.servers[leader].start()
            await boot.until_healthy()
            running.signal()
            assert await asyncio.to_thread(running.wait) == 0


def test_the_servers_and_the_worker_are_the_same_on_eks_as_on_any_kubernetes() -> None:
    """So that what boots there boots here, too."""
    assert production("aws.eks")[1] == production("kubernetes")[1]


@pytest.mark.parametrize("what", ["port: 4222", "pid_file", "store_dir", "include"])
async def test_a_value_that_is_not_as_rendered_is_not_booted(what: str, tmp_path: Path) -> None:
    _, rendered = production("self_hosted")
    with pytest.raises(AssertionError, match=f"{what}.* is 0 times in"):
        Boot(rendered._replace(conf=rendered.conf.replace(what, "other")), tmp_path, "")


@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        ('grace_period: "10s"', 'grace_period: "30s"', "grace period"),
        ("server_name: $SERVER_NAME\n", "", "server_name"),
        ('  name: "shop"\n', "", "cluster.name"),
        ("max_memory_store: 0\n", "max_memory: 0\n", "max_memory"),
    ],
    ids=["grace as long as lame duck mode", "no server name", "no cluster name", "unknown key"],
)
async def test_what_a_server_would_refuse_does_not_boot(good: str, bad: str, why: str, tmp_path: Path) -> None:
    _, rendered = production("self_hosted")
    conf = rendered.conf.replace(good, bad)
    with pytest.raises(AssertionError, match=rf"(?s)ended.*{why}"):
        async with booted(rendered._replace(conf=conf), tmp_path, ""):
            pass
