"""The plugin process under a host that is built on the go-plugin library, and knows the messages by the contract
registry's FileDescriptorSet alone."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import psutil
import pytest

from eventbus_runtime.testing.server import NatsServer
from tests.interop.host import Host, RefusedError, hosting
from tests.interop.orders import ORDERS, prepare
from tests.triggers.live import connected, until

pytestmark = [pytest.mark.xdist_group("interop"), pytest.mark.timeout(600)]

TYPE = "type.googleapis.com/workflow.plugin.eventbus.v1"


async def declare(host: Host, kind: str, message: str, config: dict[str, Any]) -> str:
    """Create, initialise and start a module; its handle."""
    typed = {"@type": f"{TYPE}.{message}", **config}
    created = await host.call("CreateModule", type=kind, name=f"a {message}", typed_config=typed)
    assert created["error"] == ""
    handle: str = created["handle_id"]
    assert await host.call("InitModule", handle_id=handle) == {"error": ""}
    assert await host.call("StartModule", handle_id=handle) == {"error": ""}
    return handle


async def declare_all(host: Host) -> list[str]:
    """The bus, the stream and the consumer; their handles."""
    await host.call("GetContractRegistry")
    return [
        await declare(host, "infra.eventbus", "ClusterConfig", {"provider": "nats", "deploy_target": "kubernetes"}),
        await declare(host, "infra.eventbus.stream", "StreamConfig", {"name": "ORDERS", "subjects": ["orders.>"]}),
        await declare(host, "infra.eventbus.consumer", "ConsumerConfig", ORDERS),
    ]


async def step(host: Host, kind: str) -> str:
    created = await host.call("CreateStep", type=kind, name=kind)
    assert created["error"] == ""
    handle: str = created["handle_id"]
    return handle


async def execute(host: Host, handle: str, message: str, **request: Any) -> Any:
    """What a step answers to a typed input."""
    return await host.call("ExecuteStep", handle_id=handle, typed_input={"@type": f"{TYPE}.{message}", **request})


def ended(process: psutil.Process) -> bool:
    """Whether it has; a zombie only waits for whoever took it over."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.seed("S-40", "S-60", "S-71")
async def test_what_is_offered_is_told_with_seven_strict_contracts(
    goplugin: Path, launcher: Path, server: NatsServer
) -> None:
    async with hosting(goplugin, launcher, nats=server.url) as host:
        manifest = await host.call("GetManifest")
        assert manifest["name"] == "workflow-plugin-eventbus"
        assert manifest["version"]
        assert manifest["author"]
        types = [(await host.call(f"Get{kind}Types"))["types"] for kind in ("Module", "Step", "Trigger")]
        assert {"infra.eventbus", "infra.eventbus.stream", "infra.eventbus.consumer"} < set(types[0])
        assert {"eventbus.broker", "eventbus.stream", "eventbus.consumer"} < set(types[0])
        assert set(types[1]) == {"step.eventbus.publish", "step.eventbus.consume", "step.eventbus.ack"}
        assert types[2] == ["trigger.eventbus.subscribe"]
        contracts = (await host.call("GetContractRegistry"))["contracts"]
        assert {each["module_type"] + each["step_type"] + each["trigger_type"] for each in contracts} == {
            "infra.eventbus",
            "infra.eventbus.stream",
            "infra.eventbus.consumer",
            "step.eventbus.publish",
            "step.eventbus.consume",
            "step.eventbus.ack",
            "trigger.eventbus.subscribe",
        }
        assert [each["mode"] for each in contracts] == ["CONTRACT_MODE_STRICT_PROTO"] * 7


@pytest.mark.seed("S-61", "S-71")
async def test_ten_messages_are_published_consumed_in_one_batch_and_acked_one_by_one(
    goplugin: Path, launcher: Path, server: NatsServer
) -> None:
    """S-71, counted on the server, by a host that knows the messages from the registry's descriptors alone."""
    async with connected(server.url) as bus, hosting(goplugin, launcher, nats=server.url) as host:
        await prepare(bus)
        await host.call("GetContractRegistry")
        handles = await declare_all(host)
        publish = await step(host, "step.eventbus.publish")
        for number in range(10):
            payload = base64.b64encode(b"%d" % number).decode()
            answer = await execute(
                host, publish, "PublishRequest", subject="orders.new", payload=payload, headers={"n": f"{number}"}
            )
            assert (answer["error"], answer["typed_output"]["sequence"]) == ("", f"{number + 1}")
        assert (await bus.api("STREAM.INFO.ORDERS"))["state"]["messages"] == 10

        consume = await step(host, "step.eventbus.consume")
        answer = await execute(host, consume, "ConsumeRequest", consumer="billing", batch_size=10)
        messages = answer["typed_output"]["messages"]
        assert [base64.b64decode(each["payload"]) for each in messages] == [b"%d" % number for number in range(10)]
        assert [each["headers"]["n"] for each in messages] == [f"{number}" for number in range(10)]
        assert (await bus.api("CONSUMER.INFO.ORDERS.billing"))["num_ack_pending"] == 10

        ack = await step(host, "step.eventbus.ack")
        for message in messages:
            answer = await execute(host, ack, "AckRequest", ack_token=message["ack_token"])
            assert (answer["error"], answer["typed_output"]["@type"]) == ("", f"{TYPE}.AckResponse")
        consumer = await bus.api("CONSUMER.INFO.ORDERS.billing")
        assert (consumer["ack_floor"]["stream_seq"], consumer["num_ack_pending"]) == (10, 0)

        for handle in reversed(handles):
            assert await host.call("StopModule", handle_id=handle) == {"error": ""}
            assert await host.call("DestroyModule", handle_id=handle) == {"error": ""}


@pytest.mark.seed("S-53", "S-60")
async def test_a_trigger_calls_the_host_back_and_a_refused_message_comes_again(
    goplugin: Path, launcher: Path, server: NatsServer
) -> None:
    async with connected(server.url) as bus, hosting(goplugin, launcher, nats=server.url) as host:
        await prepare(bus)
        await declare_all(host)
        loaded = await host.event("loaded")
        assert await host.call("ConfigureCallback", broker_id=loaded["broker_id"]) == {"error": ""}
        config = {**ORDERS, "workflowType": "pipeline:bill"}
        created = await host.call(
            "CreateTrigger", type="trigger.eventbus.subscribe", name="pipeline:bill", config=config
        )
        assert created["error"] == ""
        assert await host.call("InitModule", handle_id=created["handle_id"]) == {"error": ""}
        assert await host.call("StartModule", handle_id=created["handle_id"]) == {"error": ""}
        assert "already" in (await host.call("StartModule", handle_id=created["handle_id"]))["error"]

        await host.do("refuse", error="not now")
        await bus.publish("orders.new", b"\xff\x00", {"kind": "a"})
        refused = await host.event("TriggerWorkflow")
        await host.do("refuse", error="")
        taken = await host.event("TriggerWorkflow")
        while (again := taken["data"]["ack_token"]) == refused["data"]["ack_token"]:
            taken = await host.event("TriggerWorkflow")
        assert (taken["trigger_type"], taken["action"]) == ("pipeline:bill", "message")
        assert {**taken["typed_data"], "published_at": "", "ack_token": ""} == {
            "@type": f"{TYPE}.Message",
            "subject": "orders.new",
            "payload": base64.b64encode(b"\xff\x00").decode(),
            "headers": {"kind": "a"},
            "sequence": "1",
            "published_at": "",
            "ack_token": "",
        }
        assert again.startswith("$JS.ACK.")
        assert taken["typed_data"]["published_at"].endswith("Z")
        assert taken["data"] == {name: taken["typed_data"][name] for name in taken["data"]}
        assert len(taken["data"]) == 6

        assert await host.call("StopModule", handle_id=created["handle_id"]) == {"error": ""}
        assert await host.call("StopModule", handle_id=created["handle_id"]) == {"error": ""}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("CreateModule", {"type": "infra.nothing", "name": "x"}, "infra.nothing"),
    (
        "CreateModule",
        {"type": "infra.eventbus", "name": "x", "config": {"provider": "nats", "replicas": "many"}},
        "replicas",
    ),
    (
        "CreateModule",
        {"type": "infra.eventbus.stream", "name": "x", "typed_config": {"@type": f"{TYPE}.AckRequest"}},
        "AckRequest",
    ),
    ("CreateStep", {"type": "step.nothing", "name": "x"}, "step.nothing"),
    ("CreateTrigger", {"type": "trigger.nothing", "name": "x"}, "trigger.nothing"),
    ("CreateTrigger", {"type": "trigger.eventbus.subscribe", "config": {"name": 42, "stream_name": "S"}}, "name"),
    ("StartModule", {"handle_id": "none"}, "unknown module handle"),
    ("ExecuteStep", {"handle_id": "none"}, "unknown step handle"),
    ("DestroyStep", {"handle_id": "none"}, "unknown step handle"),
]


@pytest.mark.seed("S-33", "S-60")
async def test_wrong_input_is_answered_with_a_text_and_the_process_lives(
    goplugin: Path, launcher: Path, server: NatsServer
) -> None:
    async with connected(server.url) as bus, hosting(goplugin, launcher, nats=server.url) as host:
        await prepare(bus)
        await declare_all(host)
        for method, request, told in WRONG:
            answer = await host.call(method, **request)
            assert told in answer["error"], (method, request)
        publish, ack = await step(host, "step.eventbus.publish"), await step(host, "step.eventbus.ack")
        answer = await execute(host, publish, "PublishRequest", payload="AA==")
        assert answer["error"] == "step.eventbus.publish: subject is required"
        answer = await execute(host, ack, "AckRequest", ack_token="orders.created")
        assert "step.eventbus.ack: " in answer["error"]
        assert "orders.created" in answer["error"]
        large = base64.b64encode(bytes(2 * 2**20)).decode()
        answer = await execute(host, publish, "PublishRequest", subject="orders.new", payload=large)
        assert "step.eventbus.publish: " in answer["error"]
        assert "max_payload" in answer["error"]
        with pytest.raises(RefusedError) as refused:
            await host.call("GetConfigFragment")
        assert refused.value.code == "Unimplemented"
        assert await host.do("ping") is None
        assert (await bus.api("STREAM.INFO.ORDERS"))["state"]["messages"] == 0


async def test_a_dead_bus_is_told_by_every_step_and_the_process_lives(
    goplugin: Path, launcher: Path, server: NatsServer
) -> None:
    async with hosting(goplugin, launcher, nats=server.url) as host:
        async with connected(server.url) as bus:
            await prepare(bus)
        await declare_all(host)
        publish = await step(host, "step.eventbus.publish")
        assert (await execute(host, publish, "PublishRequest", subject="orders.new"))["error"] == ""
        server.kill()
        answer = await execute(host, publish, "PublishRequest", subject="orders.new")
        assert answer["error"].startswith("step.eventbus.publish: ")
        assert await host.do("ping") is None


async def test_killing_the_client_ends_the_process_without_force(
    goplugin: Path, launcher: Path, server: NatsServer
) -> None:
    """The library waits 2 s for a process that it told to shut down, warns, and sends SIGKILL."""
    async with hosting(goplugin, launcher, nats=server.url) as host:
        async with connected(server.url) as bus:
            await prepare(bus)
        await declare_all(host)
        loaded = await host.event("loaded")
        process = psutil.Process(int(loaded["pid"]))
        family = [process, *process.children(recursive=True)]
        assert Path(loaded["address"]).is_socket()
        assert (await host.do("kill"))["exited"] is True
        assert [line for line in host.events["log"] if "[WARN]" in line or "[ERROR]" in line] == []
        assert any("plugin process exited" in line for line in host.events["log"])
        await until(lambda: all(map(ended, family)))
        assert not Path(loaded["address"]).exists()


async def test_a_host_that_is_killed_leaves_no_process(goplugin: Path, launcher: Path, server: NatsServer) -> None:
    async with hosting(goplugin, launcher, nats=server.url) as host:
        loaded = await host.event("loaded")
        process = psutil.Process(int(loaded["pid"]))
        family = [process, *process.children(recursive=True)]
        host.kill()
        await until(lambda: all(map(ended, family)))
        assert not Path(loaded["address"]).exists()


async def test_two_hosts_at_once_have_a_process_each(goplugin: Path, launcher: Path, server: NatsServer) -> None:
    async with (
        connected(server.url) as bus,
        hosting(goplugin, launcher, nats=server.url) as one,
        hosting(goplugin, launcher, nats=server.url) as other,
    ):
        await prepare(bus)
        await asyncio.gather(declare_all(one), declare_all(other))
        publish = [await step(host, "step.eventbus.publish") for host in (one, other)]
        pids = [(await host.event("loaded"))["pid"] for host in (one, other)]
        assert len(set(pids)) == 2
        assert (await one.do("kill"))["exited"] is True
        answer = await execute(other, publish[1], "PublishRequest", subject="orders.new")
        assert answer["typed_output"]["sequence"] == "1"


async def test_thousands_of_calls_at_once_are_all_answered(goplugin: Path, launcher: Path, server: NatsServer) -> None:
    """gRPC drops calls of which a thousand wait to be taken up, if it is not told otherwise."""
    async with connected(server.url) as bus, hosting(goplugin, launcher, nats=server.url) as host:
        await prepare(bus)
        await declare_all(host)
        publish = await step(host, "step.eventbus.publish")
        answers = await asyncio.gather(
            *(execute(host, publish, "PublishRequest", subject="orders.new") for _ in range(4000))
        )
        assert {answer["error"] for answer in answers} == {""}
        assert (await bus.api("STREAM.INFO.ORDERS"))["state"]["messages"] == 4000


async def test_the_standard_streams_reach_the_host(goplugin: Path, launcher: Path, server: NatsServer) -> None:
    """stdout carries the hand-over line alone; what is logged on stderr arrives line by line."""
    async with hosting(goplugin, launcher, nats=server.url) as host:
        assert (await host.event("loaded"))["protocol"] == "grpc"
        await until(lambda: any("waiting for stdio data" in line for line in host.events["log"]))
        assert "plugin: serving" in await host.event("stderr")
        await host.call("GetContractRegistry")
        config = {"provider": "nats", "deploy_target": "kubernetes"}
        await declare(host, "infra.eventbus", "ClusterConfig", config)
        await until(lambda: any("running" in line for line in host.events["stderr"]))
        assert host.events["stdio_stdout"] == []


async def test_what_is_logged_keeps_its_level_in_the_hosts_log(
    goplugin: Path, launcher: Path, server: NatsServer
) -> None:
    async with hosting(goplugin, launcher, nats=server.url) as host:

        def logged(level: str, text: str) -> bool:
            return any(line.startswith(level) and text in line for line in host.events["log"])

        await declare_all(host)
        await until(lambda: any("plugin: serving" in line for line in host.events["log"]))
        server.kill()
        await until(lambda: any("a ClusterConfig: backing_off" in line for line in host.events["log"]))
        assert logged("[INFO]", "plugin: serving: ")
        assert logged("[WARN]", "bus a ClusterConfig: backing_off: ")
