"""A step's config: fields of its input, which a workflow's author writes once (S-60)."""

from __future__ import annotations

import base64

import pytest

from eventbus_runtime.contracts import AckRequest, ConsumeRequest, PublishRequest, PublishResponse
from eventbus_runtime.plugin.messages import message
from eventbus_runtime.plugin.values import TYPE_URL, packed
from eventbus_runtime.testing.server import NatsServer
from tests.plugin.hosting import ACK, PUBLISH, plugin, refused, stocked

INPUT = PublishRequest(subject="not.this", payload=b"from the pipeline", headers={"a": "1", "b": "2"})


@pytest.mark.seed("S-30", "S-60")
async def test_what_a_config_sets_goes_before_what_the_pipeline_holds(server: NatsServer) -> None:
    """The engine sends both: the config, and what of a pipeline's values has the names of the input's fields."""
    async with stocked(server) as (process, outside):
        step = await process.create_step(PUBLISH, "x", PublishRequest(subject="orders.at.first", headers={"c": "3"}))
        await process.execute_step(step, INPUT, PublishResponse)
        stored = (await outside.api("STREAM.MSG.GET.ORDERS", {"seq": 1}))["message"]
        assert stored["subject"] == "orders.at.first"
        assert stored["data"] == "ZnJvbSB0aGUgcGlwZWxpbmU="
        config = packed(PublishRequest(subject="orders.now"))
        await process.call("ExecuteStep", handle_id=step, typed_config=config, typed_input=packed(INPUT))
        assert (await outside.api("STREAM.MSG.GET.ORDERS", {"seq": 2}))["message"]["subject"] == "orders.now"


@pytest.mark.seed("S-30", "S-60")
async def test_a_config_counts_in_whichever_form_it_and_the_input_come(server: NatsServer) -> None:
    """A table beside a typed input, a typed config beside a table: nothing of either is left out without a word."""
    config, current = message("google.protobuf.Struct")(), message("google.protobuf.Struct")()
    config.update({"subject": "orders.table", "headers": {"c": "3"}})
    current.update({"subject": "not.this", "payload": "ZnJvbSBhIHRhYmxl"})
    typed = packed(PublishRequest(subject="orders.typed", headers={"d": "4"}))
    async with stocked(server) as (process, outside):
        plain = await process.call("CreateStep", type=PUBLISH, name="x", config=config)
        await process.call("ExecuteStep", handle_id=plain.handle_id, typed_input=packed(INPUT))
        other = await process.create_step(PUBLISH, "x")
        await process.call("ExecuteStep", handle_id=other, config=config, typed_input=packed(INPUT))
        await process.call("ExecuteStep", handle_id=other, typed_config=typed, current=current)
        stored = [(await outside.api("STREAM.MSG.GET.ORDERS", {"seq": seq}))["message"] for seq in (1, 2, 3)]
        assert [one["subject"] for one in stored] == ["orders.table", "orders.table", "orders.typed"]
        assert [base64.b64decode(one["data"]) for one in stored] == [INPUT.payload, INPUT.payload, b"from a table"]
        headers = [base64.b64decode(one["hdrs"]).decode() for one in stored]
        assert [("c: 3" in text, "d: 4" in text, "a: 1" in text) for text in headers] == [
            (True, False, False),
            (True, False, False),
            (False, True, False),
        ]


@pytest.mark.seed("S-32", "S-60")
async def test_a_config_that_holds_a_template_is_judged_when_the_step_runs() -> None:
    """The engine sends a step's config as it is written when it makes it, and with all templates resolved to run it."""
    async with plugin() as process:
        # The contract takes no such token, so that this is written by hand: field 1, a text.
        text = b"{{ .ack_token }}"
        config = message("google.protobuf.Any")(
            type_url=f"{TYPE_URL}workflow.plugin.eventbus.v1.AckRequest", value=b"\x0a" + bytes([len(text)]) + text
        )
        answer = await process.call("CreateStep", type=ACK, name="x", typed_config=config)
        said = await refused(process.call("ExecuteStep", handle_id=answer.handle_id, typed_config=config))
        assert said.startswith("step.eventbus.ack: AckRequest: ack_token: ")


@pytest.mark.seed("S-33", "S-60")
async def test_a_config_of_another_type_is_refused() -> None:
    async with plugin() as process:
        said = await refused(process.create_step(PUBLISH, "x", ConsumeRequest(consumer="billing")))
        assert said == (
            'step.eventbus.publish "x": typed_config: is of type "workflow.plugin.eventbus.v1.ConsumeRequest"; '
            "expected workflow.plugin.eventbus.v1.PublishRequest"
        )
        step = await process.create_step(PUBLISH, "x")
        token = AckRequest(ack_token="$JS.ACK.ORDERS.billing.1.1.1.1.0")
        said = await refused(process.call("ExecuteStep", handle_id=step, typed_config=packed(token)))
        assert said.startswith(
            'step.eventbus.publish: typed_config: is of type "workflow.plugin.eventbus.v1.AckRequest"'
        )
