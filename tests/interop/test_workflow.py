"""The plugin process under the engine's own host package: what a workflow's modules, steps and triggers do with it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from eventbus_runtime.testing.server import NatsServer
from tests.interop.host import Host, RefusedError, hosting
from tests.interop.orders import ORDERS, prepare
from tests.triggers.live import connected, until

pytestmark = [pytest.mark.xdist_group("interop"), pytest.mark.timeout(1800)]

NAME = "workflow-plugin-eventbus"
MODULES = [
    ("infra.eventbus", "bus", {"provider": "nats", "deploy_target": "kubernetes", "replicas": 1}),
    ("infra.eventbus.stream", "orders", {"name": "ORDERS", "subjects": ["orders.>"], "max_age": "3600s"}),
    ("infra.eventbus.consumer", "billing", ORDERS),
]
EARLIER_NAMES = {
    "infra.eventbus": "eventbus.broker",
    "infra.eventbus.stream": "eventbus.stream",
    "infra.eventbus.consumer": "eventbus.consumer",
}


async def start(host: Host, names: dict[str, str] | None = None) -> None:
    """Load the plugin, and start a bus, a stream and a consumer."""
    await host.do("load", name=NAME)
    for kind, name, config in MODULES:
        await host.do("module", type=(names or {}).get(kind, kind), name=name, config=config)
        await host.do("life", name=name, stage="init")
        await host.do("life", name=name, stage="start")


@pytest.mark.seed("S-40", "S-60")
async def test_the_engine_finds_what_the_plugin_has(workflow: Path, plugins: Path) -> None:
    async with hosting(workflow, plugins) as host:
        loaded = await host.do("load", name=NAME)
        assert (loaded["found"], loaded["name"]) == ([NAME], NAME)
        assert {kind for kind, _, _ in MODULES} | set(EARLIER_NAMES.values()) | {"trigger.eventbus.subscribe"} == set(
            loaded["modules"]
        )
        assert set(loaded["steps"]) == {"step.eventbus.publish", "step.eventbus.consume", "step.eventbus.ack"}
        assert loaded["triggers"] == ["trigger.eventbus.subscribe"]
        assert [each["mode"] for each in loaded["contracts"]] == ["CONTRACT_MODE_STRICT_PROTO"] * 7
        assert {kind for kind, _, _ in MODULES} <= {each["type"] for each in loaded["schemas"]}


@pytest.mark.seed("S-20", "S-30", "S-31", "S-32", "S-60")
@pytest.mark.parametrize("names", [{}, EARLIER_NAMES], ids=["names", "earlier names"])
async def test_a_pipeline_publishes_consumes_and_acks(
    workflow: Path, plugins: Path, server: NatsServer, names: dict[str, str]
) -> None:
    async with connected(server.url) as bus, hosting(workflow, plugins, nats=server.url) as host:
        await prepare(bus)
        await start(host, names)
        await host.do("step", type="step.eventbus.publish", name="publish", config={"subject": "orders.new"})
        for number in range(10):
            payload = base64.b64encode(b"%d" % number).decode()
            answer = await host.do(
                "execute", name="publish", current={"payload": payload, "subject": "not.this", "more": 1}
            )
            assert answer["sequence"] == f"{number + 1}"
        await host.do("step", type="step.eventbus.consume", name="consume", config={"consumer": "billing"})
        messages = (await host.do("execute", name="consume", current={"batch_size": 10}))["messages"]
        assert [base64.b64decode(each["payload"]) for each in messages] == [b"%d" % number for number in range(10)]
        await host.do("step", type="step.eventbus.ack", name="ack", config={"ack_token": "{{ .ack_token }}"})
        for message in messages:
            assert await host.do("execute", name="ack", current=message) == {}
        consumer = await bus.api("CONSUMER.INFO.ORDERS.billing")
        assert (consumer["ack_floor"]["stream_seq"], consumer["num_ack_pending"]) == (10, 0)
        for _, name, _ in reversed(MODULES):
            await host.do("life", name=name, stage="stop")
            await host.do("life", name=name, stage="destroy")


@pytest.mark.seed("S-53", "S-60")
async def test_the_engines_trigger_gets_every_message_and_refuses_one(
    workflow: Path, plugins: Path, server: NatsServer
) -> None:
    async with connected(server.url) as bus, hosting(workflow, plugins, nats=server.url) as host:
        await prepare(bus)
        await start(host)
        config = {"consumer": "billing", "bus": "bus", "workflowType": "pipeline:bill", "_config_dir": "/"}
        await host.do("trigger", type="trigger.eventbus.subscribe", name="bill", config=config)
        await host.do("life", name="bill", stage="init")
        await host.do("life", name="bill", stage="start")
        await host.do("refuse", error="not now")
        await bus.publish("orders.new", b"\xff\x00", {"kind": "a"})
        first, second = await host.event("TriggerWorkflow"), await host.event("TriggerWorkflow")
        assert (first["trigger_type"], first["action"]) == ("pipeline:bill", "message")
        assert {key: first["data"][key] for key in ("subject", "payload", "headers", "sequence")} == {
            "subject": "orders.new",
            "payload": base64.b64encode(b"\xff\x00").decode(),
            "headers": {"kind": "a"},
            "sequence": "1",
        }
        assert second["data"]["sequence"] == "1"
        assert second["data"]["ack_token"] != first["data"]["ack_token"]

        await host.do("step", type="step.eventbus.ack", name="ack", config=None)
        assert await host.do("execute", name="ack", current=second["data"]) == {}
        assert (await bus.api("CONSUMER.INFO.ORDERS.billing"))["num_ack_pending"] == 0
        await host.do("life", name="bill", stage="stop")
        await host.do("life", name="bill", stage="destroy")


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("module", {"type": "infra.eventbus", "config": {"provider": "nats"}}, "deploy_target"),
    ("module", {"type": "infra.eventbus.stream", "config": {"name": "ORDERS", "unknown": 1}}, "unknown"),
    ("module", {"type": "eventbus.stream", "config": {"name": "ORDERS", "unknown": 1}}, "unknown"),
    ("trigger", {"type": "trigger.eventbus.subscribe", "config": {"name": 42, "stream_name": "S"}}, "name"),
    ("trigger", {"type": "trigger.eventbus.subscribe", "config": {"name": "billing"}}, "stream_name"),
]


@pytest.mark.seed("S-33", "S-60")
async def test_the_engine_is_told_what_is_wrong(workflow: Path, plugins: Path, server: NatsServer) -> None:
    async with hosting(workflow, plugins, nats=server.url) as host:
        await host.do("load", name=NAME)
        for command, fields, told in WRONG:
            with pytest.raises(RefusedError, match=told):
                await host.do(command, name="wrong", **fields)
        await host.do("step", type="step.eventbus.ack", name="ack", config=None)
        with pytest.raises(RefusedError, match=r"step\.eventbus\.ack: .*orders\.created"):
            await host.do("execute", name="ack", current={"ack_token": "orders.created"})


CONFIG = """
modules:
  - name: events
    type: infra.eventbus
    config: {provider: nats, deploy_target: kubernetes}
  - name: orders
    type: infra.eventbus.stream
    dependsOn: [events]
    config: {name: ORDERS, subjects: ["orders.>", "invoices.>"]}
  - name: billing
    type: infra.eventbus.consumer
    dependsOn: [orders]
    config: {name: billing, stream_name: ORDERS, filter_subject: orders.>}
pipelines:
  bill:
    trigger:
      type: trigger.eventbus.subscribe
      config: {consumer: billing, bus: events}
    steps:
      - name: publish
        type: step.eventbus.publish
        config: {subject: invoices.new, correlation_id: "{{ .sequence }}"}
      - name: ack
        type: step.eventbus.ack
        config: {ack_token: "{{ .ack_token }}"}
"""


@pytest.mark.seed("S-20", "S-30", "S-32", "S-50", "S-53", "S-60")
async def test_a_whole_engine_runs_a_workflow_of_triggers_and_steps(
    workflow: Path, plugins: Path, server: NatsServer, tmp_path: Path
) -> None:
    (tmp_path / "app.yaml").write_text(CONFIG)
    async with connected(server.url) as bus, hosting(workflow, plugins, nats=server.url) as host:
        await host.do("load", name=NAME)
        await host.do("run", file=str(tmp_path / "app.yaml"))
        for number in range(10):
            await bus.publish("orders.new", b"\xff%d" % number)

        async def done() -> bool:
            consumer = await bus.api("CONSUMER.INFO.ORDERS.billing")
            return bool(consumer["ack_floor"]["consumer_seq"] == 10)

        await until(done)
        assert (await bus.api("CONSUMER.INFO.ORDERS.billing"))["num_redelivered"] == 0
        invoices = await bus.api("STREAM.INFO.ORDERS", {"subjects_filter": "invoices.>"})
        assert invoices["state"]["subjects"] == {"invoices.new": 10}
        last = (await bus.api("STREAM.MSG.GET.ORDERS", {"last_by_subj": "invoices.new"}))["message"]
        assert base64.b64decode(last["data"]).startswith(b"\xff")
        assert b"Nats-Correlation-Id: " in base64.b64decode(last["hdrs"])
        await host.do("stop")


async def test_unloading_ends_the_process_and_it_can_be_loaded_again(workflow: Path, plugins: Path) -> None:
    async with hosting(workflow, plugins) as host:
        await host.do("load", name=NAME)
        await host.do("unload", name=NAME)
        await until(lambda: any("unloaded" in line for line in host.events["log"]))
        assert (await host.do("load", name=NAME))["name"] == NAME
