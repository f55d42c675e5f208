"""Triggers whose stop, bus or host changes while they are busy with something else (S-51, S-52)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eventbus_runtime.contracts import ConsumerConfig
from eventbus_runtime.events import Fact, Warned
from eventbus_runtime.plugin.broker import Broker
from eventbus_runtime.plugin.callback import Callback
from eventbus_runtime.plugin.declared import Declared
from eventbus_runtime.plugin.handshake import Address
from eventbus_runtime.plugin.host import Fired, Host
from eventbus_runtime.plugin.messages import BROKER, message
from eventbus_runtime.plugin.modules import BusModule
from eventbus_runtime.plugin.triggers import Subscription, TriggerModule
from eventbus_runtime.supervisor import RestartBudget, Supervisor
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers.subscribe import SubscribeTrigger
from tests.conftest import MakeServer
from tests.plugin.hosting import (
    BUS,
    NATS,
    SUBSCRIBE,
    Workflow,
    plugin,
    publish,
    stocked,
    until_counts,
)
from tests.triggers.live import until

CONFIG = {"name": "billing", "stream_name": "ORDERS"}


@pytest.mark.seed("S-51", "S-52")
async def test_a_stop_while_it_waits_for_a_connection_is_obeyed_at_once(make_server: MakeServer) -> None:
    """S-52: and it does not begin to run when the connection comes after all."""
    server = make_server()
    server.stop()
    async with plugin(server) as process:
        bus = await process.create_module(BUS, "main", NATS)
        await process.init_module(bus)
        await process.serve_callbacks(Workflow())
        handle = await process.create_trigger(SUBSCRIBE, "flow", CONFIG)
        await process.start_module(handle)
        await until(lambda: any('"bus main: backing_off"' in line for line in process.stderr))
        await process.stop_module(handle, timeout=3.0)
        server.start()
        await process.start_module(bus)
        assert not any("trigger trigger.eventbus" in line for line in process.stderr)


class _Crashes(SubscribeTrigger):
    """Has a fault of its own, which no message and no server explains."""

    async def run(self) -> None:
        raise RuntimeError("a fault of ours")


@pytest.mark.seed("S-51")
async def test_a_stop_does_not_wait_until_a_crashed_trigger_would_be_started_again(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-51: after several crashes that is a minute and more."""
    at_once = partial(Supervisor, budget=lambda: RestartBudget(limit=0))
    monkeypatch.setattr("eventbus_runtime.plugin.triggers.Supervisor", at_once)
    monkeypatch.setattr("eventbus_runtime.plugin.triggers.SubscribeTrigger", _Crashes)
    facts: list[Fact] = []
    declared, broker = Declared({"NATS_URL": server.url}, facts.append), Broker()
    bus = BusModule("bus", "main", NATS, declared)
    host = await Host.serve(Workflow())
    callback = Callback(broker)
    try:
        await bus.start()
        await announce(broker, host.address)
        await callback.configure(1)
        subscription = Subscription(ConsumerConfig(name="billing", stream_name="ORDERS"))
        trigger = TriggerModule("trigger", "flow", subscription, declared, callback)
        await trigger.start()
        await until(lambda: any(isinstance(fact, Warned) and "started again in 60" in fact.text for fact in facts))
        async with asyncio.timeout(5):
            await trigger.stop(1.0)
        assert trigger not in declared.triggers
    finally:
        await bus.stop(0.0)
        await callback.close()
        await host.close()


async def announce(broker: Broker, address: Address) -> None:
    """Tell a broker where its connection 1 is, as a host does."""

    async def infos() -> AsyncIterator[Any]:
        yield message(f"{BROKER}.ConnInfo")(service_id=1, network=address.network, address=address.address)

    assert [answer async for answer in broker.stream(infos())] == []


@pytest.mark.seed("S-54")
async def test_workflows_that_run_when_the_host_names_another_callback_are_run_once(server: NatsServer) -> None:
    """S-54: they end where they were begun, however long they take; what comes later goes to the new one."""
    async with stocked(server) as (process, outside):
        begun: list[Fired] = []
        opened = asyncio.Event()

        async def slow(fired: Fired) -> None:
            begun.append(fired)
            await opened.wait()

        first = await process.serve_callbacks(slow)
        try:
            handle = await process.create_trigger(SUBSCRIBE, "flow", CONFIG)
            await process.start_module(handle)
            await publish(process, "orders.created", b"long")
            await until(lambda: len(begun) == 1)
            workflow = Workflow()
            async with asyncio.timeout(4):
                await process.serve_callbacks(workflow, number=2)
            await publish(process, "orders.created", b"later")
            assert [fired.payload for fired in await workflow.wait(1)] == [b"later"]
            opened.set()
            await until_counts(outside, (2, 0, 0))
            assert [fired.payload for fired in begun] == [b"long"]
            assert [fired.payload for fired in workflow.fired] == [b"later"]
        finally:
            opened.set()
            await first.close()


async def test_a_client_closes_every_host_that_it_has_served() -> None:
    async with plugin() as process:
        hosts = [await process.serve_callbacks(Workflow(), number=number) for number in (1, 2)]
        assert all(Path(host.address.address).exists() for host in hosts)
    assert not any(Path(host.address.address).parent.exists() for host in hosts)
