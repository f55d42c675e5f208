"""Triggers over the wire: the host's workflow is run for each message, over the broker (S-50 to S-54)."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from eventbus_runtime.contracts import AckRequest, AckResponse, ConsumerConfig
from eventbus_runtime.plugin.client import PluginProcess
from eventbus_runtime.plugin.host import Fired, Host
from eventbus_runtime.plugin.values import packed
from eventbus_runtime.testing.server import NatsServer
from tests.conftest import MakeServer
from tests.plugin.hosting import (
    ACK,
    BUS,
    CONSUMER,
    NATS,
    ORDERS,
    STREAM,
    SUBSCRIBE,
    Workflow,
    alive,
    counts,
    plugin,
    publish,
    refused,
    stocked,
    until_counts,
)
from tests.triggers.live import until

CONFIG = {"name": "billing", "stream_name": "ORDERS"}


async def subscribe(process: PluginProcess, workflow: str = "flow", /, **config: Any) -> str:
    """A trigger that is started; its handle."""
    handle = await process.create_trigger(SUBSCRIBE, workflow, config or CONFIG)
    await process.start_module(handle)
    return handle


@pytest.mark.seed("S-50", "S-53", "S-60")
async def test_the_host_gets_all_six_fields_as_a_struct_and_as_the_contracts_message(server: NatsServer) -> None:
    """S-53: in the Struct by protobuf's JSON mapping, so that a payload of any bytes arrives."""
    async with stocked(server) as (process, outside):
        workflow = Workflow()
        await process.serve_callbacks(workflow)
        await subscribe(process, "orders.flow")
        body = bytes(range(256))
        await outside.publish("orders.created", body, {"Kind": "new"})
        fired = (await workflow.wait(1))[0]
        assert (fired.trigger_type, fired.action) == ("orders.flow", "message")
        assert set(fired.data) == {"subject", "payload", "headers", "sequence", "published_at", "ack_token"}
        assert fired.data["subject"] == "orders.created"
        assert base64.b64decode(fired.data["payload"]) == fired.payload == body
        assert fired.data["headers"] == {"Kind": "new"}
        assert fired.data["sequence"] == "1"
        assert fired.data["published_at"].endswith("Z")
        assert fired.data["ack_token"].startswith("$JS.ACK.ORDERS.billing.1.1.1.")
        assert fired.message is not None
        assert fired.message.model_dump() == {**fired.data, "payload": body}
        await until_counts(outside, (1, 0, 0))


@pytest.mark.seed("S-54")
async def test_a_workflow_that_fails_is_run_again_and_acknowledged_after_success(server: NatsServer) -> None:
    """S-54, ours: what the host says is wrong is told in the log, and the message comes again."""
    async with stocked(server) as (process, outside):
        workflow = Workflow(failures=1)
        await process.serve_callbacks(workflow)
        await subscribe(process)
        await publish(process, "orders.created", b"once more")
        fired = await workflow.wait(2)
        assert [each.payload for each in fired] == [b"once more"] * 2
        assert [each.data["ack_token"].split(".")[4] for each in fired] == ["1", "2"]
        assert any("the host says: the ledger is closed" in line for line in process.stderr)
        await until_counts(outside, (1, 0, 0))


@pytest.mark.seed("S-54")
async def test_a_workflow_that_acks_by_its_step_has_settled_it_even_where_it_fails_later(server: NatsServer) -> None:
    """S-54: the step's word is the delivery's own; nothing is settled twice."""
    async with stocked(server) as (process, outside):
        ack = await process.create_step(ACK, "ack")
        ran: list[Fired] = []

        async def acking(fired: Fired) -> None:
            ran.append(fired)
            await process.execute_step(ack, AckRequest(ack_token=fired.data["ack_token"]), AckResponse)
            raise RuntimeError("after the ack")

        await process.serve_callbacks(acking)
        await subscribe(process)
        await publish(process, "orders.created")
        await until_counts(outside, (1, 0, 0))
        await publish(process, "orders.created")
        await until(lambda: len(ran) == 2)
        assert [fired.data["sequence"] for fired in ran] == ["1", "2"]


@pytest.mark.seed("S-54")
async def test_with_manual_ack_the_workflows_step_settles_and_success_does_not(server: NatsServer) -> None:
    """S-54: as in the origin, where a workflow may ack after it has answered."""
    async with stocked(server) as (process, outside):
        workflow = Workflow()
        await process.serve_callbacks(workflow)
        await subscribe(process, consumer="billing", ack="manual")
        await publish(process, "orders.created")
        token = (await workflow.wait(1))[0].data["ack_token"]
        assert await counts(outside) == (1, 1, 0)
        ack = await process.create_step(ACK, "ack")
        await process.execute_step(ack, AckRequest(ack_token=token), AckResponse)
        await until_counts(outside, (1, 0, 0))


@pytest.mark.seed("S-50")
@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"name": 42, "stream_name": "S"}, "name must be a text, not a number (42)"),
        ({"consumer": True, "stream_name": "S"}, "consumer must be a text, not a boolean (True)"),
        ({"name": "c", "stream_name": ["S"]}, "stream_name must be a text, not a list (['S'])"),
        ({"name": "c", "stream_name": "S", "filter_subject": None}, "filter_subject must be a text, not null (None)"),
        ({"name": "c", "stream_name": "S", "bus": {}}, "bus must be a text, not a table ({})"),
        ({"name": "c", "stream_name": "S", "subject": "x"}, "ConsumerConfig: subject: unknown field"),
        ({"name": "c", "stream_name": "S", "ack": "later"}, 'ack must be "on_success" or "manual", not a text'),
        ({"name": "c", "stream_name": "S", "max_in_flight": 0.5}, "max_in_flight must be a number, 1 to 100000"),
        ({"name": "a b", "stream_name": "S"}, "ConsumerConfig: name: 'a b' can't be a name"),
        (
            {"name": "c", "stream_name": "S", "filter_subject": "a..b"},
            "ConsumerConfig: filter_subject: 'a..b' is not a",
        ),
        ({"stream_name": "S"}, "name (of the durable consumer; or consumer) is required"),
        ({"name": "c"}, "stream_name is required: no module of type infra.eventbus.consumer declares"),
    ],
)
async def test_a_wrong_config_is_told_with_key_expectation_and_value(config: dict[str, Any], text: str) -> None:
    """S-50: a value of a wrong type is never read as absent."""
    async with plugin() as process:
        for create in (process.create_trigger, process.create_module):
            said = await refused(create(SUBSCRIBE, "flow", config))
            assert said.startswith(f'{SUBSCRIBE} "flow": ')
            assert text in said
        assert await alive(process)


@pytest.mark.seed("S-50")
async def test_an_unknown_type_and_a_typed_config_of_another_message_are_refused_by_name() -> None:
    """S-50."""
    async with plugin() as process:
        said = await refused(process.create_trigger("trigger.eventbus.publish", "x", CONFIG))
        assert said == 'unknown trigger type "trigger.eventbus.publish"; known: trigger.eventbus.subscribe'
        said = await refused(process.create_module(SUBSCRIBE, "x", packed(NATS)))
        assert 'typed_config: is of type "workflow.plugin.eventbus.v1.ClusterConfig"' in said
        assert "workflow.plugin.eventbus.v1.ConsumerConfig" in said


@pytest.mark.seed("S-50")
async def test_the_aliases_the_engines_own_keys_and_a_declared_consumers_stream(make_server: MakeServer) -> None:
    """S-50: `consumer` for `name`, `bus` for the bus, the stream and the bus of the declared consumer."""
    one, two = make_server(), make_server()
    async with plugin(EVENTBUS_ONE_URI=one.url, EVENTBUS_TWO_URI=two.url) as process:
        for name in ("one", "two"):
            await process.run_module(BUS, name, NATS)
            stream = {"name": "ORDERS", "subjects": ["orders.>"], "bus": name}
            await process.run_module(STREAM, f"orders-{name}", stream)
        await process.run_module(CONSUMER, "billing", {**CONFIG, "bus": "two"})
        workflow = Workflow()
        await process.serve_callbacks(workflow)
        await subscribe(process, "inherits", consumer="billing", workflowType="inherits", _config_dir="/etc")
        await subscribe(process, "names", consumer="ship", stream_name="ORDERS", broker_ref="one")
        step = await process.create_step("step.eventbus.publish", "p", {"bus": "two", "subject": "orders.b"})
        await process.call("ExecuteStep", handle_id=step)
        assert [each.trigger_type for each in await workflow.wait(1)] == ["inherits"]
        step = await process.create_step("step.eventbus.publish", "p", {"bus": "one", "subject": "orders.a"})
        await process.call("ExecuteStep", handle_id=step)
        assert [each.trigger_type for each in await workflow.wait(2)] == ["inherits", "names"]


@pytest.mark.seed("S-50")
async def test_the_filter_is_the_consumers_that_is_made_for_it(server: NatsServer) -> None:
    async with stocked(server) as (process, _):
        workflow = Workflow()
        await process.serve_callbacks(workflow)
        await subscribe(process, name="ship", stream_name="ORDERS", filter_subject="orders.shipped")
        for subject in ("orders.created", "orders.shipped"):
            await publish(process, subject)
        assert (await workflow.wait(1))[0].data["subject"] == "orders.shipped"
        said = await refused(
            process.create_trigger(SUBSCRIBE, "other", {"name": "billing", "filter_subject": "orders.shipped"})
        )
        assert "filter_subject is 'orders.shipped', and infra.eventbus.consumer \"billing\" has ''" in said


@pytest.mark.seed("S-50")
@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"max_deliver": 3}, "max_deliver is 3, and"),
        ({"deliver_policy": "DELIVER_POLICY_NEW"}, "deliver_policy is DELIVER_POLICY_NEW, and"),
    ],
)
async def test_what_a_trigger_wants_otherwise_than_its_declared_consumer_is_told(
    server: NatsServer, config: dict[str, Any], text: str
) -> None:
    """S-50: never left out without a word."""
    async with stocked(server) as (process, _):
        said = await refused(process.create_trigger(SUBSCRIBE, "flow", {**CONFIG, **config}))
        assert text in said
        assert said.endswith("for the same consumer: leave it out here")
        assert f'{CONSUMER} "billing" has ' in said


@pytest.mark.seed("S-20", "S-51")
async def test_made_as_a_module_it_runs_and_stops_too(server: NatsServer) -> None:
    """S-20: the fourth module type, from its typed config."""
    async with stocked(server) as (process, outside):
        workflow = Workflow()
        await process.serve_callbacks(workflow)
        handle = await process.run_module(SUBSCRIBE, "orders-flow", ConsumerConfig(name="ship", stream_name="ORDERS"))
        await publish(process, "orders.created")
        assert (await workflow.wait(1))[0].trigger_type == "orders-flow"
        await process.stop_module(handle)
        await process.destroy_module(handle)
        await publish(process, "orders.created")
        assert await counts(outside, "ship") == (1, 0, 1)
        assert len(workflow.fired) == 1


@pytest.mark.seed("S-51")
async def test_a_second_start_is_an_error_and_the_first_goes_on_and_stop_comes_as_often_as_one_likes(
    server: NatsServer,
) -> None:
    """S-51: stop is safe before start, too, and a stopped trigger can be started again."""
    async with stocked(server) as (process, _):
        workflow = Workflow()
        await process.serve_callbacks(workflow)
        handle = await process.create_trigger(SUBSCRIBE, "flow", CONFIG)
        await process.stop_module(handle)
        await process.start_module(handle)
        assert await refused(process.start_module(handle)) == f'{SUBSCRIBE} "flow": already started'
        await publish(process, "orders.created")
        await workflow.wait(1)
        await process.stop_module(handle)
        await process.stop_module(handle)
        await process.start_module(handle)
        await publish(process, "orders.created")
        await workflow.wait(2)


@pytest.mark.seed("S-51")
async def test_without_a_callback_start_does_nothing(server: NatsServer) -> None:
    """S-51: and once the host has said where to call it, a start starts."""
    async with stocked(server) as (process, outside):
        await publish(process, "orders.created")
        handle = await process.create_trigger(SUBSCRIBE, "flow", CONFIG)
        await process.start_module(handle)
        await process.start_module(handle)
        assert await counts(outside) == (0, 0, 1)
        workflow = Workflow()
        await process.serve_callbacks(workflow)
        await process.start_module(handle)
        await workflow.wait(1)


@pytest.mark.seed("S-52")
async def test_a_bus_and_a_stream_that_come_later_are_picked_up(server: NatsServer) -> None:
    """S-52: start never fails for what is not there yet."""
    async with plugin(server) as process:
        workflow = Workflow()
        await process.serve_callbacks(workflow)
        await subscribe(process)
        await until(lambda: any("waiting: no bus is declared" in line for line in process.stderr))
        await process.run_module(BUS, "main", NATS)
        await until(lambda: any("backing_off" in line for line in process.stderr))
        await process.run_module(STREAM, "orders", ORDERS)
        await publish(process, "orders.created")
        await workflow.wait(1, within=20)
        assert [message.sequence for message in workflow.messages()] == ["1"]


@pytest.mark.seed("S-26", "S-52")
async def test_a_bus_that_is_stopped_and_started_again_is_used_by_what_was_not_stopped(server: NatsServer) -> None:
    """S-26, S-52: the trigger lets the old connection go, waits, and goes on with the new one."""
    async with plugin(server) as process:
        bus = await process.run_module(BUS, "main", NATS)
        await process.run_module(STREAM, "orders", ORDERS)
        workflow = Workflow()
        await process.serve_callbacks(workflow)
        await subscribe(process)
        await publish(process, "orders.created")
        await workflow.wait(1)
        await process.stop_module(bus)
        await until(lambda: any("waiting: no bus is declared" in line for line in process.stderr))
        await process.start_module(bus)
        await publish(process, "orders.created")
        await workflow.wait(2, within=20)
        assert [message.sequence for message in workflow.messages()] == ["1", "2"]


async def test_a_callback_that_is_announced_late_is_waited_for() -> None:
    """The host announces on a stream of its own, beside the call that names the number."""
    async with plugin() as process:
        host = await Host.serve(Workflow())
        try:
            asked = asyncio.create_task(process.call("ConfigureCallback", broker_id=7))
            await asyncio.wait({asked}, timeout=0.2)
            assert not asked.done()
            await process.announce(host, 8)
            await process.announce(host, 7)
            await asked
            await process.call("ConfigureCallback", broker_id=7)
        finally:
            await host.close()


@pytest.mark.timed
async def test_a_callback_that_never_comes_is_told_and_so_is_a_wrong_one() -> None:
    async with plugin() as process:
        said = await refused(process.call("ConfigureCallback", broker_id=9))
        assert said == ("the host has not announced broker connection 9 within 5 s (plugin.GRPCBroker/StartStream)")
        assert await refused(process.call("ConfigureCallback")) == "broker_id is required"
        assert await alive(process)


async def test_a_message_too_large_to_be_sent_twice_arrives_as_the_struct(make_server: MakeServer) -> None:
    """The engine's callback server takes 4 MiB, and reads `data` alone."""
    server = make_server("max_payload: 8MB")
    async with stocked(server) as (process, outside):
        workflow = Workflow()
        narrow = await Host.serve(workflow, most=4 << 20)
        try:
            asked = asyncio.create_task(process.call("ConfigureCallback", broker_id=1))
            await process.announce(narrow, 1)
            await asked
            await subscribe(process)
            await publish(process, "orders.created", b"x" * (2 << 20))
            fired = (await workflow.wait(1))[0]
            assert len(fired.payload) == 2 << 20
            assert fired.message is None
            await publish(process, "orders.created", b"x" * (6 << 20))
            await until(lambda: any("RESOURCE_EXHAUSTED" in line for line in process.stderr))
            assert await counts(outside) == (2, 1, 0)
        finally:
            await narrow.close()


async def test_a_host_whose_callback_is_gone_gets_everything_when_it_has_another(server: NatsServer) -> None:
    async with stocked(server) as (process, _):
        first = await process.serve_callbacks(Workflow())
        await subscribe(process)
        await first.close()
        await publish(process, "orders.created", b"kept")
        await until(lambda: any("the host could not be called" in line for line in process.stderr))
        workflow = Workflow()
        await process.serve_callbacks(workflow, number=2)
        assert (await workflow.wait(1))[0].payload == b"kept"


async def test_a_slow_host_gets_no_more_at_once_than_it_is_told_to(server: NatsServer) -> None:
    async with stocked(server) as (process, outside):
        begun: list[Fired] = []
        opened = asyncio.Event()

        async def slow(fired: Fired) -> None:
            begun.append(fired)
            await opened.wait()

        await process.serve_callbacks(slow)
        await subscribe(process, consumer="billing", max_in_flight=3)
        for _ in range(10):
            await publish(process, "orders.created")
        await until(lambda: len(begun) == 3)
        assert await counts(outside) == (3, 3, 7)
        opened.set()
        await until_counts(outside, (10, 0, 0))
        assert len(begun) == 10
