"""The modules over the wire: their life, and what they refuse (S-20 to S-26)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventbus_runtime.contracts import AckResponse, ClusterConfig, ConsumerConfig, StreamConfig
from eventbus_runtime.plugin.client import PluginProcess
from eventbus_runtime.plugin.messages import message
from eventbus_runtime.plugin.values import packed
from eventbus_runtime.testing.server import NatsServer, free_port
from tests.conftest import MakeServer
from tests.plugin.hosting import (
    BILLING,
    BUS,
    CONSUMER,
    NATS,
    ORDERS,
    STREAM,
    alive,
    plugin,
    publish,
    refused,
    stocked,
)
from tests.triggers.live import connected, until

MODULES = [(BUS, NATS), (STREAM, ORDERS), (CONSUMER, BILLING)]


@pytest.mark.seed("S-20", "S-60")
async def test_each_module_is_made_initialised_started_stopped_and_destroyed(server: NatsServer) -> None:
    """S-20: what is started is there at the server, as declared, and stays when the module stops."""
    async with plugin(server) as process, connected(server.url) as outside:
        handles = []
        for kind, config in MODULES:
            handles.append(await process.create_module(kind, "main", config))
            await process.init_module(handles[-1])
        for handle in handles:
            await process.start_module(handle)
        stream = (await outside.api("STREAM.INFO.ORDERS"))["config"]
        consumer = (await outside.api("CONSUMER.INFO.ORDERS.billing"))["config"]
        assert (stream["subjects"], stream["retention"]) == (["orders.>"], "limits")
        assert (consumer["durable_name"], consumer["ack_policy"]) == ("billing", "explicit")
        for handle in reversed(handles):
            await process.stop_module(handle)
            await process.stop_module(handle)
            await process.destroy_module(handle)
            assert await refused(process.start_module(handle)) == f"unknown module handle: {handle}"
        assert (await outside.api("CONSUMER.INFO.ORDERS.billing"))["name"] == "billing"


@pytest.mark.seed("S-20")
async def test_the_later_names_are_served_from_a_struct_alone(server: NatsServer) -> None:
    """A host that knows no contract for them sends the Struct only, and keys of the engine's own within it."""
    async with plugin(server) as process, connected(server.url) as outside:
        cluster = {
            "provider": "nats",
            "deploy_target": "kubernetes",
            "jetstream": {"enabled": True, "max_age": "3600s"},
        }
        await process.run_module("eventbus.broker", "main", {**cluster, "_config_dir": "/etc/engine"})
        stream = {"name": "ORDERS", "subjects": ["orders.>"], "num_replicas": 1, "max_bytes": "1048576"}
        await process.run_module("eventbus.stream", "orders", {**stream, "retention_policy": "RETENTION_POLICY_LIMITS"})
        await process.run_module("eventbus.consumer", "billing", {"name": "billing", "stream_name": "ORDERS"})
        config = (await outside.api("STREAM.INFO.ORDERS"))["config"]
        assert (config["max_bytes"], config["max_age"]) == (1048576, 3600 * 10**9)
        assert (await outside.api("CONSUMER.INFO.ORDERS.billing"))["config"]["max_deliver"] == -1


@pytest.mark.seed("S-21", "S-22")
@pytest.mark.parametrize(
    ("kind", "config", "text"),
    [
        (BUS, ClusterConfig(deploy_target="kubernetes"), "provider is required"),
        (BUS, ClusterConfig(provider="nats"), "deploy_target is required"),
        (BUS, ClusterConfig(provider="nats", deploy_target="aws.msk"), "deploy_target: nats can't be put on aws.msk"),
        (BUS, ClusterConfig(provider="nat", deploy_target="aws.msk"), 'provider: unknown provider "nat"; known: nats'),
        (BUS, ClusterConfig(provider="nats", deploy_target="kubernetes", version="latest"), 'version: "latest" is not'),
        (STREAM, StreamConfig(subjects=("a",)), "name is required"),
        (STREAM, StreamConfig(name="S"), "subjects: at least one is required"),
        (STREAM, StreamConfig(name="a b", subjects=("a",)), "StreamConfig: name: 'a b' can't be a name"),
        (CONSUMER, ConsumerConfig(stream_name="S"), "name is required"),
        (CONSUMER, ConsumerConfig(name="c"), "stream_name is required"),
        (CONSUMER, {"name": "c", "stream_name": 7}, "ConsumerConfig: stream_name: expected text"),
        (STREAM, {"name": "S", "subjectz": ["a"]}, "StreamConfig: subjectz: unknown field, did you mean subjects?"),
        (STREAM, {"name": "S", "subjects": "a", "num_replicas": 1.5}, "num_replicas"),
        (BUS, packed(AckResponse()), 'typed_config: is of type "workflow.plugin.eventbus.v1.AckResponse"; expected'),
    ],
)
async def test_a_wrong_config_is_told_with_type_instance_and_field(kind: str, config: Any, text: str) -> None:
    """S-21, S-22: and the process lives."""
    async with plugin() as process:
        said = await refused(process.create_module(kind, "mine", config))
        assert said.startswith(f'{kind} "mine": ')
        assert text in said
        assert await alive(process)


async def test_an_unknown_module_type_is_told_with_the_known_ones() -> None:
    async with plugin() as process:
        said = await refused(process.create_module("infra.eventbuzz", "x", NATS))
        assert said.startswith('unknown module type "infra.eventbuzz"; known: infra.eventbus, ')
        assert await alive(process)


@pytest.mark.seed("S-23")
async def test_without_an_address_all_is_valid_for_planning_and_a_step_names_both_variables() -> None:
    """S-23: nothing is connected, nothing fails; what needs a connection does."""
    async with plugin() as process:
        for kind, config in MODULES:
            await process.run_module(kind, "my-bus", config)
        said = await refused(publish(process, "orders.created"))
        assert said.startswith("step.eventbus.publish: ")
        assert "EVENTBUS_MY_BUS_URI" in said
        assert "NATS_URL" in said
        assert any("declared only" in line for line in process.stderr)


@pytest.mark.seed("S-23")
async def test_the_buses_own_variable_beats_the_common_one(server: NatsServer) -> None:
    dead = f"nats://127.0.0.1:{free_port()}"
    async with plugin(NATS_URL=dead, EVENTBUS_MY_BUS_URI=server.url) as process:
        await process.run_module(BUS, "my-bus", NATS)
        await process.run_module(STREAM, "orders", ORDERS)
        assert (await publish(process, "orders.created")).sequence == "1"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("embedded", '"embedded" is no address here: only eventbus-run starts a server of its own'),
        ("nats://host:port", "buses.main.url: an address can't be read"),
    ],
)
async def test_an_address_that_is_none_is_told(address: str, text: str) -> None:
    async with plugin(EVENTBUS_MAIN_URI=address) as process:
        bus = await process.create_module(BUS, "main", NATS)
        said = await refused(process.start_module(bus))
        assert said.startswith(f'infra.eventbus "main": {text}')


@pytest.mark.parametrize("password", ["hunter2/x", "hunter2#x", "[hunter2]", "hunter2,x"])
async def test_an_address_that_cannot_be_read_shows_no_password(password: str) -> None:
    """S-3: the parser takes it for the port, and quotes it."""
    async with plugin(EVENTBUS_MAIN_URI=f"nats://u:{password}@127.0.0.1:4222") as process:
        bus = await process.create_module(BUS, "main", NATS)
        said = await refused(process.start_module(bus))
        assert "an address can't be read" in said
        assert "hunter2" not in said
        assert "hunter2" not in "\n".join(process.stderr)


async def test_a_bus_of_another_provider_is_planned_and_no_more(server: NatsServer) -> None:
    async with plugin(server) as process:
        await process.run_module(BUS, "main", ClusterConfig(provider="kafka", deploy_target="aws.msk"))
        said = await refused(publish(process, "orders.created"))
        assert 'infra.eventbus "main" "kafka" can be declared to be provisioned by a plug-in, and no more' in said


@pytest.mark.seed("S-24")
async def test_a_dead_bus_is_told_at_its_start_and_used_once_it_lives(make_server: MakeServer) -> None:
    """S-24: tried again by the next who needs it."""
    server = make_server()
    server.stop()
    async with plugin(server) as process:
        bus = await process.create_module(BUS, "main", NATS)
        await process.init_module(bus)
        said = await refused(process.start_module(bus))
        assert said.startswith('infra.eventbus "main" is not connected within 5 s: ')
        assert await alive(process)
        server.start()
        await process.start_module(bus)
        await process.run_module(STREAM, "orders", ORDERS)
        assert (await publish(process, "orders.created")).sequence == "1"


@pytest.mark.seed("S-24")
async def test_a_bus_has_one_connection_however_many_use_it_first_and_none_after_its_stop(server: NatsServer) -> None:
    """S-24: made when first needed, shared, closed by stop."""
    async with plugin(server) as process, connected(server.url) as outside:
        bus = await process.create_module(BUS, "main", NATS)
        await process.init_module(bus)
        stream = await process.create_module(STREAM, "orders", ORDERS)
        await process.init_module(stream)
        await process.start_module(stream)
        clients = [line for line in process.stderr if '"bus main: running"' in line]
        assert len(clients) == 1
        await asyncio.gather(*(publish(process, "orders.created") for _ in range(20)))
        assert (await outside.api("STREAM.INFO.ORDERS"))["state"]["messages"] == 20
        assert len([line for line in process.stderr if '"bus main: running"' in line]) == 1
        await process.stop_module(bus)
        await process.stop_module(bus)
        await until(lambda: any('"bus main: stopped"' in line for line in process.stderr))
        assert "no bus is declared" in await refused(publish(process, "orders.created"))


async def test_wrong_credentials_are_told_at_the_start(make_server: MakeServer) -> None:
    server = make_server('authorization { user: "a", password: "b" }', jetstream=False)
    async with plugin(EVENTBUS_MAIN_URI=server.url.replace("nats://", "nats://a:wrong-secret@")) as process:
        bus = await process.create_module(BUS, "main", NATS)
        said = await refused(process.start_module(bus))
        assert said.startswith('infra.eventbus "main": ')
        assert "refuses the credentials" in said
        assert "wrong-secret" not in said
        assert "wrong-secret" not in "\n".join(process.stderr)


@pytest.mark.seed("S-25")
async def test_several_buses_and_none_named_is_an_error_that_lists_them(server: NatsServer) -> None:
    """S-25, ours: never the first by name; one that is named is used."""
    async with plugin(server) as process:
        for name in ("one", "two"):
            await process.run_module(BUS, name, NATS)
        text = "there are several buses, and none is named; name one as bus: one, two"
        stream = await process.create_module(STREAM, "orders", ORDERS)
        assert await refused(process.start_module(stream)) == f'infra.eventbus.stream "orders": {text}'
        assert await refused(publish(process, "orders.created")) == f"step.eventbus.publish: {text}"
        await process.run_module(
            "eventbus.stream", "more", {"name": "MORE", "subjects": ["more.>"], "broker_ref": "two"}
        )
        step = await process.create_step("step.eventbus.publish", "p", {"bus": "one"})
        answer = await process.call("ExecuteStep", handle_id=step, current=_struct({"subject": "more.x"}))
        assert answer.output["sequence"] == "1"
        other = await process.create_step("step.eventbus.publish", "p", {"bus": "three"})
        said = await refused(process.call("ExecuteStep", handle_id=other, current=_struct({"subject": "more.x"})))
        assert said == 'step.eventbus.publish: there is no bus "three"; declared: one, two'


def _struct(values: dict[str, Any]) -> Any:
    struct = message("google.protobuf.Struct")()
    struct.update(values)
    return struct


@pytest.mark.seed("S-25")
async def test_streams_of_one_name_on_two_buses_stay_apart(make_server: MakeServer) -> None:
    """S-25: a consumer has its own bus's stream made first, never the other one's."""
    one, two = make_server(), make_server()
    async with plugin(EVENTBUS_ONE_URI=one.url, EVENTBUS_TWO_URI=two.url) as process, connected(two.url) as outside:
        for name in ("one", "two"):
            await process.run_module(BUS, name, NATS)
            stream = {"name": "ORDERS", "subjects": [f"{name}.>"], "bus": name}
            await process.run_module(STREAM, f"orders-{name}", stream)
        await process.run_module(CONSUMER, "billing", {"name": "billing", "stream_name": "ORDERS", "bus": "two"})
        assert (await outside.api("STREAM.INFO.ORDERS"))["config"]["subjects"] == ["two.>"]


@pytest.mark.seed("S-26")
async def test_stop_unregisters_and_what_is_made_again_works(server: NatsServer) -> None:
    """S-26: for all three, and with the same handle as with a new one."""
    async with plugin(server) as process:

        async def again(kind: str, config: Any) -> None:
            handle = await process.run_module(kind, "main", config)
            await process.stop_module(handle)
            await process.start_module(handle)
            await process.stop_module(handle)
            await process.destroy_module(handle)
            await process.run_module(kind, "main", config)

        for kind, config in MODULES:
            await again(kind, config)
        assert (await publish(process, "orders.created")).sequence == "1"


async def test_two_of_one_name_are_told(server: NatsServer) -> None:
    async with plugin(server) as process:
        for kind, config in MODULES:
            await process.run_module(kind, "main", config)
            second = await process.create_module(kind, "main", config)
            said = await refused(process.init_module(second))
            assert said.startswith(f'{kind} "main": ')
            assert "there is another one of this name" in said or "declares the consumer billing already" in said


async def test_a_consumer_whose_stream_is_nowhere_is_told_and_a_declared_stream_is_made_first(
    server: NatsServer,
) -> None:
    """A host starts modules in an order of its own."""
    async with plugin(server) as process:
        await process.run_module(BUS, "main", NATS)
        consumer = await process.create_module(CONSUMER, "billing", BILLING)
        await process.init_module(consumer)
        said = await refused(process.start_module(consumer))
        assert said.startswith('infra.eventbus.consumer "billing": there is no stream ORDERS; declare it')
        stream = await process.create_module(STREAM, "orders", ORDERS)
        await process.init_module(stream)
        await process.start_module(consumer)
        await process.start_module(stream)
        assert (await publish(process, "orders.created")).sequence == "1"


async def test_a_stream_that_cannot_be_made_so_is_told_with_its_field(server: NatsServer) -> None:
    async with stocked(server) as (process, _):
        narrow = StreamConfig(name="OTHER", subjects=("orders.created",))
        said = await refused(process.run_module(STREAM, "other", narrow))
        assert said.startswith('infra.eventbus.stream "other": ')
        assert 'the stream ORDERS stores "orders.created" already' in said
        assert await alive(process)


async def test_the_server_that_lost_jetstream_is_told(make_server: MakeServer) -> None:
    server = make_server(jetstream=False)
    async with plugin(server) as process:
        await process.run_module(BUS, "main", NATS)
        said = await refused(process.run_module(STREAM, "orders", ORDERS))
        assert said.startswith('infra.eventbus.stream "orders": JetStream is off on ')


async def test_calls_of_one_handle_wait_for_each_other_and_what_is_destroyed_does_not_start(server: NatsServer) -> None:
    async with stocked(server) as (process, outside):
        for _ in range(20):
            handle = await process.create_module(CONSUMER, "ship", ConsumerConfig(name="ship", stream_name="ORDERS"))
            calls = (process.start_module, process.stop_module, process.destroy_module, process.start_module)
            said = await asyncio.gather(*(call(handle) for call in calls), return_exceptions=True)
            assert all(each is None or f"unknown module handle: {handle}" in str(each) for each in said)
        assert (await outside.api("STREAM.INFO.ORDERS"))["state"]["consumer_count"] == 2
        handle = await process.run_module(CONSUMER, "ship", ConsumerConfig(name="ship", stream_name="ORDERS"))
        await process.destroy_module(handle)


async def test_unknown_handles_are_told() -> None:
    async with plugin() as process:
        await _check_unknown(process)
        assert await alive(process)


async def _check_unknown(process: PluginProcess) -> None:
    for call in (process.init_module, process.start_module, process.stop_module, process.destroy_module):
        assert await refused(call("no-such")) == "unknown module handle: no-such"
    assert await refused(process.destroy_step("no-such")) == "unknown step handle: no-such"
    assert await refused(process.call("ExecuteStep", handle_id="no-such")) == "unknown step handle: no-such"
