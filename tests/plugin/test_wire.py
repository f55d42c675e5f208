"""Anything at all on the wire: a status or an error with a text, and the process lives."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventbus_runtime.plugin.client import PluginProcess
from eventbus_runtime.plugin.messages import BROKER, PLUGIN_SERVICE, SERVICES, message
from eventbus_runtime.plugin.values import TYPE_URL
from tests.plugin.hosting import (
    ACK,
    BUS,
    CONSUME,
    CONSUMER,
    PUBLISH,
    STREAM,
    SUBSCRIBE,
    alive,
    plugin,
    refused,
    unary,
    unstarted,
)

V1 = "workflow.plugin.eventbus.v1"
NAMES = st.sampled_from(["ClusterConfig", "StreamConfig", "ConsumerConfig", "PublishRequest", "AckRequest", "Nothing"])
KINDS = st.sampled_from([BUS, STREAM, CONSUMER, SUBSCRIBE, PUBLISH, CONSUME, ACK, "eventbus.stream", "", "x\x00y"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["name", "stream_name", "subject", "subjects", "provider", "ack_token", "consumer", "bus", "_x"])
TABLES = st.dictionaries(KEYS | st.text(max_size=6), JSON, max_size=4)
LITTLE = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def request(kind: str, **fields: Any) -> Any:
    made = message(kind)()
    for name, value in fields.items():
        if isinstance(value, dict):
            getattr(made, name).update(value)
        elif value is not None and name.startswith("typed_"):
            getattr(made, name).CopyFrom(message("google.protobuf.Any")(type_url=value[0], value=value[1]))
        elif value is not None:
            setattr(made, name, value)
    return made


async def answered(process: PluginProcess, method: str, asked: Any) -> str:
    """The answer's error; empty for none. A status of our own making would be raised."""
    answer = await process.raw(PLUGIN_SERVICE, method, asked, timeout=20)
    return str(getattr(answer, "error", ""))


@pytest.mark.seed("S-60")
async def test_garbage_in_an_any_is_told() -> None:
    """S-60: bytes that are no such message, under a name that is right."""
    async with plugin() as process:
        for kind, name in ((BUS, "ClusterConfig"), (STREAM, "StreamConfig"), (SUBSCRIBE, "ConsumerConfig")):
            garbage = message("google.protobuf.Any")(type_url=f"{TYPE_URL}{V1}.{name}", value=b"\xff\xff\xff")
            said = await refused(process.create_module(kind, "x", garbage))
            assert said.startswith(f'{kind} "x": typed_config: these bytes are no {V1}.{name}')
        step = await process.create_step(PUBLISH, "x")
        garbage = message("google.protobuf.Any")(type_url=f"{TYPE_URL}{V1}.PublishRequest", value=b"\x0a\xff")
        said = await refused(process.call("ExecuteStep", handle_id=step, typed_input=garbage))
        assert said.startswith(f"{PUBLISH}: typed_input: these bytes are no {V1}.PublishRequest")
        unknown = message("google.protobuf.Any")(type_url=f"{TYPE_URL}{V1}.PublishRequest", value=b"\xfa\x01\x01x")
        said = await refused(process.call("ExecuteStep", handle_id=step, typed_input=unknown))
        assert "31" in said, "a strict contract knows no field 31"
        assert await alive(process)


@pytest.mark.seed("S-60")
async def test_an_error_that_quotes_a_huge_value_is_short_and_one_line_and_keeps_its_reason() -> None:
    """S-60: a text of more than 4 MiB would not reach every host, and a line end would break its log."""
    async with plugin() as process:
        said = await refused(process.create_module(STREAM, "a\nb", {"name": "x" * 5_000_000 + " ", "subjects": ["a"]}))
        assert said.startswith('infra.eventbus.stream "a\\nb": StreamConfig: name: \'xxx')
        assert "can't be a name" in said
        assert len(said) < 5000
        assert await alive(process)


async def test_bytes_that_are_no_request_are_an_invalid_argument() -> None:
    async with plugin() as process:
        for method, described in SERVICES[PLUGIN_SERVICE].items():
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await unary(process, method)(b"\xff\xff\xff")
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert described.request in (raised.value.details() or "")
        assert await alive(process)


async def test_a_broker_stream_of_garbage_ends_and_a_knock_is_refused() -> None:
    async with plugin() as process:
        channel = process._channel
        assert channel is not None
        garbage: Any = channel.stream_stream(f"/{BROKER}.GRPCBroker/StartStream")()
        await garbage.write(b"\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await garbage.read()
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        knows = message(f"{BROKER}.ConnInfo")
        stream: Any = channel.stream_stream(
            f"/{BROKER}.GRPCBroker/StartStream", knows.SerializeToString, knows.FromString
        )()
        await stream.write(knows(service_id=3, knock={"knock": True}))
        answer = await stream.read()
        assert (answer.service_id, answer.knock.ack) == (3, True)
        assert answer.knock.error == "this plugin has no multiplexed connections"
        await stream.write(knows(service_id=4, network="carrier pigeon", address="the loft"))
        said = await refused(process.call("ConfigureCallback", broker_id=4))
        assert said == "broker connection 4 is at 'carrier pigeon'; only unix and tcp can be dialled"
        stream.cancel()
        assert await alive(process)


def test_whatever_a_host_makes_of_a_module_a_step_or_a_trigger_is_answered() -> None:
    """Random types, names, tables and Anys: never a status, never an end, and what is made can be let go again."""
    with asyncio.Runner() as runner:
        process = runner.run(unstarted().__aenter__())
        try:

            @LITTLE
            @given(
                st.sampled_from(["CreateModule", "CreateStep", "CreateTrigger"]),
                KINDS,
                st.text(max_size=5),
                st.none() | TABLES,
                st.none()
                | st.tuples(NAMES.map(lambda name: f"{TYPE_URL}{V1}.{name}") | st.text(max_size=9), st.binary()),
            )
            def play(method: str, kind: str, name: str, config: Any, typed: Any) -> None:
                more = {} if method == "CreateTrigger" else {"typed_config": typed}
                asked = request(SERVICES[PLUGIN_SERVICE][method].request, type=kind, name=name, config=config, **more)
                answer = runner.run(process.raw(PLUGIN_SERVICE, method, asked, timeout=20))
                assert bool(answer.error) != bool(answer.handle_id)
                assert "internal error" not in answer.error
                if answer.handle_id:
                    handle = request("HandleRequest", handle_id=answer.handle_id)
                    ends = ["DestroyStep"] if method == "CreateStep" else ["InitModule", "StopModule", "DestroyModule"]
                    for end in ends:
                        said = runner.run(answered(process, end, handle))
                        assert not said or "another one of this name" in said

            play()
            assert runner.run(alive(process))
        finally:
            runner.run(process.__aexit__(None, None, None))


def test_whatever_a_step_is_given_is_answered() -> None:
    """Random tables and Anys as a step's input, without a bus: an error of one line, begun with the step's name."""
    with asyncio.Runner() as runner:
        process = runner.run(unstarted().__aenter__())
        try:
            steps = {kind: runner.run(process.create_step(kind, "s")) for kind in (PUBLISH, CONSUME, ACK)}

            @LITTLE
            @given(
                st.sampled_from(sorted(steps)),
                TABLES,
                TABLES,
                st.none() | st.tuples(NAMES.map(lambda name: f"{TYPE_URL}{V1}.{name}"), st.binary()),
            )
            def play(kind: str, current: Any, config: Any, typed: Any) -> None:
                asked = request(
                    "ExecuteStepRequest", handle_id=steps[kind], current=current, config=config, typed_input=typed
                )
                said = runner.run(answered(process, "ExecuteStep", asked))
                assert said.startswith(f"{kind}: ")
                assert "internal error" not in said

            play()
            assert runner.run(alive(process))
        finally:
            runner.run(process.__aexit__(None, None, None))
