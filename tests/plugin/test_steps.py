"""The three steps over the wire (S-30 to S-33), and the end-to-end run (S-71)."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import grpc
import pytest

from eventbus_runtime.contracts import (
    AckRequest,
    AckResponse,
    ConsumeRequest,
    ConsumeResponse,
    Duration,
    PublishRequest,
    PublishResponse,
)
from eventbus_runtime.plugin.channels import OPTIONS
from eventbus_runtime.plugin.client import PluginProcess
from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.plugin.messages import PLUGIN_SERVICE, message
from eventbus_runtime.plugin.values import packed
from eventbus_runtime.testing.server import NatsServer
from tests.conftest import MakeServer
from tests.plugin.hosting import (
    ACK,
    BUS,
    CONSUME,
    CONSUMER,
    NATS,
    PUBLISH,
    STREAM,
    alive,
    counts,
    plugin,
    publish,
    refused,
    stocked,
)
from tests.triggers.live import connected

V1 = "workflow.plugin.eventbus.v1"


async def consume(process: PluginProcess, batch: int = 10, **more: Any) -> ConsumeResponse:
    step = await process.create_step(CONSUME, "consume")
    request = ConsumeRequest(consumer="billing", batch_size=batch, **more)
    return await process.execute_step(step, request, ConsumeResponse)


def struct(**values: Any) -> Any:
    made = message("google.protobuf.Struct")()
    made.update(values)
    return made


@pytest.mark.seed("S-60", "S-71")
async def test_ten_messages_are_published_consumed_at_once_and_acked_one_by_one(server: NatsServer) -> None:
    """S-71: a real child process over its real transport, counted on the server."""
    async with stocked(server) as (process, outside):
        step = await process.create_step(PUBLISH, "publish")
        for number in range(10):
            request = PublishRequest(
                subject="orders.created", payload=b"%d" % number, headers={"Kind": "new"}, correlation_id="c-1"
            )
            answer = await process.execute_step(step, request, PublishResponse)
            assert answer.sequence == str(number + 1)
        assert (await outside.api("STREAM.INFO.ORDERS"))["state"]["messages"] == 10
        got = await consume(process)
        assert [each.payload for each in got.messages] == [b"%d" % number for number in range(10)]
        assert got.messages[0].headers == {"Kind": "new", "Nats-Correlation-Id": "c-1"}
        assert await counts(outside) == (10, 10, 0)
        ack = await process.create_step(ACK, "ack")
        for left, each in zip(range(9, -1, -1), got.messages, strict=True):
            await process.execute_step(ack, AckRequest(ack_token=each.ack_token), AckResponse)
            assert await counts(outside) == (10, left, 0)
        for handle in (step, ack):
            await process.destroy_step(handle)


@pytest.mark.seed("S-61", "S-71")
async def test_the_same_by_a_client_that_knows_only_the_descriptors(server: NatsServer) -> None:
    """S-61, S-71: every message is built and read by what the registry holds."""
    async with plugin(server) as process, connected(server.url) as outside:
        types = await process.types()
        configs = {each.module_type: each.config_message for each in (await process.contract_registry()).contracts}
        for kind, values in (
            (BUS, {"provider": "nats", "deploy_target": "kubernetes", "jetstream": {"enabled": True}}),
            (STREAM, {"name": "ORDERS", "subjects": ["orders.>"], "max_age": "3600s"}),
            (CONSUMER, {"name": "billing", "stream_name": "ORDERS", "ack_policy": "ACK_POLICY_EXPLICIT"}),
        ):
            await process.run_module(kind, "main", types.pack(configs[kind], values))

        async def run(kind: str, request: str, **values: Any) -> dict[str, Any]:
            handle = await process.create_step(kind, "a step")
            answer = await process.call("ExecuteStep", handle_id=handle, typed_input=types.pack(request, values))
            return types.unpack(answer.typed_output)

        for number in range(10):
            payload = base64.b64encode(b"%d" % number).decode()
            answer = await run(PUBLISH, f"{V1}.PublishRequest", subject="orders.created", payload=payload)
            assert answer["sequence"] == str(number + 1)
        got = await run(CONSUME, f"{V1}.ConsumeRequest", consumer="billing", batch_size=10, max_wait="2s")
        assert len(got["messages"]) == 10
        assert await counts(outside) == (10, 10, 0)
        for each in got["messages"]:
            assert await run(ACK, f"{V1}.AckRequest", ack_token=each["ack_token"]) == {}
        assert await counts(outside) == (10, 0, 0)


async def test_a_host_that_sends_only_structs_is_answered_in_one(server: NatsServer) -> None:
    async with stocked(server) as (process, outside):
        step = await process.create_step(PUBLISH, "p", {"subject": "orders.created", "_config_dir": "/etc"})
        payload = base64.b64encode(b"\x00\xff").decode()
        answer = await process.call("ExecuteStep", handle_id=step, current=struct(payload=payload, _meta=1))
        assert answer.output["sequence"] == "1"
        assert answer.typed_output.type_url == f"type.googleapis.com/{V1}.PublishResponse"
        taken = await process.create_step(CONSUME, "c")
        answer = await process.call("ExecuteStep", handle_id=taken, config=struct(consumer="billing", batch_size=1))
        assert answer.output["messages"][0]["payload"] == payload
        token = answer.output["messages"][0]["ack_token"]
        acked = await process.create_step(ACK, "a")
        answer = await process.call("ExecuteStep", handle_id=acked, current=struct(ack_token=token))
        assert dict(answer.output) == {}
        assert await counts(outside) == (1, 0, 0)


@pytest.mark.seed("S-32", "S-33", "S-71")
@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (PUBLISH, {}, "subject is required"),
        (PUBLISH, {"subject": 7}, "PublishRequest: subject: expected text"),
        (PUBLISH, {"subject": "orders.x", "payload": "§"}, "PublishRequest: payload: "),
        (PUBLISH, {"subject": "orders.x", "body": ""}, "PublishRequest: body: unknown field"),
        (PUBLISH, {"subject": "orders created"}, "orders created"),
        (PUBLISH, {"subject": "nowhere"}, "no stream stores 'nowhere'"),
        (CONSUME, {}, "consumer is required"),
        (CONSUME, {"consumer": "shipping"}, 'there is no consumer "shipping": declare it'),
        (CONSUME, {"consumer": "billing", "batch_size": "many"}, "ConsumeRequest: batch_size: "),
        (CONSUME, {"consumer": "billing", "max_wait": "soon"}, "ConsumeRequest: max_wait: "),
        (ACK, {}, "AckRequest: ack_token: is required"),
        (ACK, {"ack_token": "orders.created"}, "'orders.created' is not a JetStream acknowledgement subject"),
        (ACK, {"ack_token": "$JS.API.STREAM.DELETE.ORDERS"}, "is not a JetStream acknowledgement subject"),
        (
            ACK,
            {"ack_token": "$JS.ACK.ORDERS.billing.1.1.1.1.0\r\nPUB x 0"},
            "is not a JetStream acknowledgement subject",
        ),
        (ACK, {"ack_token": "$JS.ACK.ORDERS.gone.1.1.1.1.0"}, "$JS.ACK.ORDERS.gone.1.1.1.1.0"),
    ],
)
async def test_each_steps_mistakes_are_told_with_its_name_and_the_field(
    server: NatsServer, kind: str, values: dict[str, Any], text: str
) -> None:
    """S-33, S-71: and nothing is published anywhere, and the process lives."""
    async with stocked(server) as (process, outside):
        step = await process.create_step(kind, "s")
        said = await refused(process.call("ExecuteStep", handle_id=step, current=struct(**values)))
        assert said.startswith(f"{kind}: ")
        assert text in said
        assert (await outside.api("STREAM.INFO.ORDERS"))["state"]["messages"] == 0
        assert await alive(process)


async def test_what_is_no_step_or_no_config_of_one_is_told() -> None:
    async with plugin() as process:
        said = await refused(process.create_step("step.eventbus.purge", "x"))
        assert said == f'unknown step type "step.eventbus.purge"; known: {PUBLISH}, {CONSUME}, {ACK}'
        step = await process.create_step(
            PUBLISH, "x", message("google.protobuf.Any")(type_url="x/google.protobuf.Empty")
        )
        said = await refused(process.execute_step(step, ConsumeRequest(), PublishResponse))
        assert said == (f'{PUBLISH}: typed_input: is of type "{V1}.ConsumeRequest"; expected {V1}.PublishRequest')


@pytest.mark.seed("S-60")
async def test_a_payload_above_what_the_server_takes_is_told_and_the_process_lives(server: NatsServer) -> None:
    """S-60: 2 MiB where the server takes 1 MiB; a broker's limit, not one of the wire between host and plugin."""
    async with stocked(server) as (process, _):
        said = await refused(publish(process, "orders.created", b"x" * (2 << 20)))
        assert said.startswith("step.eventbus.publish: the message to 'orders.created' has 2097152 bytes")
        assert "1048576" in said
        assert (await publish(process, "orders.created", b"x" * (1 << 19))).sequence == "1"


async def test_batches_larger_than_grpcs_usual_limit_arrive_whole(make_server: MakeServer) -> None:
    """4 MiB is what a gRPC client takes by itself; go-plugin's takes any."""
    server = make_server("max_payload: 8MB")
    async with stocked(server) as (process, outside):
        for _ in range(4):
            await publish(process, "orders.created", b"x" * (2 << 20))
        got = await consume(process, batch=4)
        assert [len(each.payload) for each in got.messages] == [2 << 20] * 4
        assert await counts(outside) == (4, 4, 0)


async def test_a_client_that_takes_less_gets_a_status_that_says_so_and_the_next_call_works(
    make_server: MakeServer,
) -> None:
    server = make_server("max_payload: 8MB")
    async with stocked(server) as (process, _):
        await publish(process, "orders.created", b"x" * (5 << 20))
        step = await process.create_step(CONSUME, "c")
        asked = message("ExecuteStepRequest")(handle_id=step, typed_input=packed(ConsumeRequest(consumer="billing")))
        own = [option for option in OPTIONS if option[0] != "grpc.max_receive_message_length"]
        async with grpc.aio.insecure_channel(process.address.target, options=own) as narrow:
            execute: Any = narrow.unary_unary(f"/{PLUGIN_SERVICE}/ExecuteStep")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await execute(asked.SerializeToString())
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger than max" in (raised.value.details() or "")
            manifest: Any = narrow.unary_unary(f"/{PLUGIN_SERVICE}/GetManifest")
            assert await manifest(b"")


@pytest.mark.seed("S-31")
async def test_an_empty_stream_answers_nothing_within_the_wait(server: NatsServer) -> None:
    """S-31: nothing there is no error."""
    async with stocked(server) as (process, _):
        assert (await consume(process, max_wait="0.2s")).messages == ()


@pytest.mark.seed("S-30")
async def test_a_cancelled_call_and_one_whose_time_is_over_end_the_brokers_too(server: NatsServer) -> None:
    """S-30: the caller's cancellation and deadline hold: what comes later is not delivered to a call that is gone."""
    async with stocked(server) as (process, outside):
        step = await process.create_step(CONSUME, "c")
        long = ConsumeRequest(consumer="billing", max_wait=Duration(seconds=60))
        with pytest.raises(PluginError, match="DEADLINE_EXCEEDED"):
            await process.execute_step(step, long, ConsumeResponse, timeout=0.3)
        waiting = asyncio.create_task(process.execute_step(step, long, ConsumeResponse))
        await asyncio.wait({waiting}, timeout=0.3)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await publish(process, "orders.created", b"late")
        got = await consume(process, batch=1, max_wait="10s")
        assert [each.payload for each in got.messages] == [b"late"]
        assert await counts(outside) == (1, 1, 0)


async def test_a_bus_that_dies_is_told_by_every_step_and_used_again_when_it_is_back(make_server: MakeServer) -> None:
    server = make_server()
    async with stocked(server) as (process, _):
        await publish(process, "orders.created")
        server.kill()
        for call in (publish(process, "orders.created"), consume(process, max_wait="0.5s")):
            said = await refused(call)
            assert said.startswith("step.eventbus.")
            assert "connected" in said or "connection" in said
        assert await alive(process)
        server.start()
        assert (await publish(process, "orders.created")).sequence == "2"


async def test_many_calls_at_once_are_all_answered(server: NatsServer) -> None:
    """A host runs its workflows side by side; gRPC's own bound of open calls is 1000."""
    async with stocked(server) as (process, outside):
        step = await process.create_step(PUBLISH, "p")
        request = PublishRequest(subject="orders.created")
        calls = [process.execute_step(step, request, PublishResponse) for _ in range(3000)]
        answers = await asyncio.gather(*calls)
        assert sorted(int(answer.sequence) for answer in answers) == list(range(1, 3001))
        assert (await outside.api("STREAM.INFO.ORDERS"))["state"]["messages"] == 3000


@pytest.mark.seed("S-31")
async def test_a_consumer_is_fetched_from_on_the_bus_that_it_names(server: NatsServer, make_server: MakeServer) -> None:
    """S-31, with two buses: consume and ack follow the declared consumer, so that neither needs to name the bus."""
    other = make_server()
    async with plugin(EVENTBUS_ONE_URI=server.url, EVENTBUS_TWO_URI=other.url) as process:
        await process.run_module(BUS, "one", NATS)
        await process.run_module(BUS, "two", NATS)
        async with connected(other.url) as outside:
            named = {"name": "ORDERS", "subjects": ["orders.>"], "bus": "two"}
            await process.run_module(STREAM, "orders", named)
            await process.run_module(CONSUMER, "billing", {"name": "billing", "stream_name": "ORDERS", "bus": "two"})
            await outside.publish("orders.created", b"here")
            got = await consume(process, batch=1)
            assert [each.payload for each in got.messages] == [b"here"]
            ack = await process.create_step(ACK, "a")
            await process.execute_step(ack, AckRequest(ack_token=got.messages[0].ack_token), AckResponse)
            assert await counts(outside) == (1, 0, 0)
