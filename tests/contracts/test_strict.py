"""Contracts are strict and frozen: an unknown field is an error wherever it stands (S-40)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from eventbus_runtime.contracts import (
    AckPolicy,
    AckRequest,
    ClusterConfig,
    ConsumerConfig,
    ConsumeResponse,
    Contract,
    Message,
    PublishRequest,
    RetentionPolicy,
    StreamConfig,
)
from eventbus_runtime.contracts.told import told
from eventbus_runtime.contracts.wire import from_bytes, from_message, message_class
from eventbus_runtime.errors import ContractError

TOKEN = "$JS.ACK.ORDERS.billing.1.42.7.1700000000123456789.3"
# Field 15, a number: no message has one. Below it stands in a jetstream (5), a max_age (6) and a message (1).
UNKNOWN = b"\x78\x01"


def refused(contract: type[Contract], **values: Any) -> str:
    """What is wrong with these values."""
    with pytest.raises(ValidationError) as raised:
        contract(**values)
    text = told(raised.value, contract)
    assert "\n" not in text
    return text


@pytest.mark.seed("S-40")
@pytest.mark.parametrize(
    ("contract", "data", "where"),
    [
        (StreamConfig, UNKNOWN, "StreamConfig: unknown field 15 (known: 1 name,"),
        (ClusterConfig, b"\x2a\x02" + UNKNOWN, "ClusterConfig.jetstream: unknown field 15 (known: 1 enabled,"),
        (StreamConfig, b"\x32\x02" + UNKNOWN, "StreamConfig.max_age: unknown field 15 (known: 1 seconds, 2 nanos)"),
        (
            ConsumeResponse,
            b"\x0a\x00\x0a\x02" + UNKNOWN,
            "ConsumeResponse.messages[1]: unknown field 15 (known: 1 subject,",
        ),
        (StreamConfig, b"\x08\x01", "StreamConfig.name: field 1 came as another type"),
    ],
    ids=["top", "nested", "duration", "repeated", "of another type"],
)
def test_an_unknown_field_of_bytes_is_refused(contract: type[Contract], data: bytes, where: str) -> None:
    """S-40."""
    with pytest.raises(ContractError) as raised:
        from_bytes(contract, data)
    assert str(raised.value).startswith(where)


@pytest.mark.seed("S-40")
def test_an_unknown_field_of_a_constructor_is_refused_and_what_was_meant_is_said() -> None:
    """S-40."""
    assert refused(StreamConfig, nmae="ORDERS") == (
        "StreamConfig: nmae: unknown field, did you mean name? "
        "(known: name, subjects, retention_policy, num_replicas, max_bytes, max_age, ack_wait)"
    )
    assert refused(ClusterConfig, jetstream={"enabld": True}).startswith(
        "ClusterConfig: jetstream.enabld: unknown field, did you mean enabled?"
    )
    assert refused(ConsumeResponse, messages=[{}, {"x": 1}]).startswith("ConsumeResponse: messages[1].x: unknown field")


WHOLE = "expected a whole number of at most"
POLICIES = "ACK_POLICY_UNSPECIFIED, ACK_POLICY_EXPLICIT, ACK_POLICY_NONE, ACK_POLICY_ALL"


@pytest.mark.parametrize(
    ("contract", "values", "text"),
    [
        (StreamConfig, {"name": b"x"}, "StreamConfig: name: expected text, not 1 bytes"),
        (
            StreamConfig,
            {"max_bytes": True},
            f"StreamConfig: max_bytes: {WHOLE} 64 bits, not true",
        ),
        (
            StreamConfig,
            {"max_bytes": "1"},
            f'StreamConfig: max_bytes: {WHOLE} 64 bits, not "1"',
        ),
        (
            StreamConfig,
            {"num_replicas": 1.0},
            f"StreamConfig: num_replicas: {WHOLE} 32 bits, not 1.0",
        ),
        (
            StreamConfig,
            {"num_replicas": 2**31},
            f"StreamConfig: num_replicas: {WHOLE} 32 bits, not 2147483648",
        ),
        (StreamConfig, {"subjects": "x"}, 'StreamConfig: subjects: expected a list, not "x"'),
        (StreamConfig, {"subjects": [1]}, "StreamConfig: subjects[0]: expected text, not 1"),
        (PublishRequest, {"payload": "x"}, 'PublishRequest: payload: expected bytes, not "x"'),
        (PublishRequest, {"headers": {"n": 1}}, "PublishRequest: headers.n: expected text, not 1"),
        (PublishRequest, {"headers": {1: "n"}}, "PublishRequest: headers[1]: expected text, not 1"),
        (ClusterConfig, {"jetstream": 5}, "ClusterConfig: jetstream: expected a table, not 5"),
        (
            ClusterConfig,
            {"jetstream": {"enabled": 1}},
            "ClusterConfig: jetstream.enabled: expected true or false, not 1",
        ),
        (
            ConsumerConfig,
            {"ack_policy": 1},
            f"ConsumerConfig: ack_policy: expected one of {POLICIES}, not 1",
        ),
        (
            ConsumerConfig,
            {"ack_policy": RetentionPolicy.RETENTION_POLICY_LIMITS, "name": None},
            f"ConsumerConfig: name: expected text, not null; ack_policy: expected one of {POLICIES}, not 1",
        ),
        (ClusterConfig, {"kafka": object()}, "ClusterConfig: kafka: expected a table, not a value of type object"),
        (AckRequest, {}, "AckRequest: ack_token: is required"),
    ],
)
def test_nothing_is_converted_and_the_error_is_one_line(contract: type[Contract], values: Any, text: str) -> None:
    assert refused(contract, **values) == text


def test_very_many_mistakes_make_a_short_text() -> None:
    text = refused(StreamConfig, subjects=list(range(100_000)))
    assert text.endswith("subjects[9]: expected text, not 9; and 99990 more")


def test_values_never_change() -> None:
    stream = StreamConfig(name="ORDERS")
    with pytest.raises(ValidationError, match="frozen"):
        stream.name = "OTHER"  # type: ignore[misc]  # what is tested
    assert stream.name == "ORDERS"


def test_instances_share_no_table_with_each_other_nor_with_who_made_them() -> None:
    given = {"a": "1"}
    first, second = PublishRequest(headers=given), PublishRequest()
    given["b"] = "2"
    second.headers["c"] = "3"
    Message.model_construct().headers["d"] = "4"
    assert (first.headers, PublishRequest().headers, Message().headers) == ({"a": "1"}, {}, {})


def test_those_without_a_table_have_a_hash_and_those_with_one_have_none() -> None:
    assert len({ConsumerConfig(name="a"), ConsumerConfig(name="a"), ConsumerConfig(name="b")}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(PublishRequest())


def test_an_enum_number_that_no_name_has_is_refused() -> None:
    """Protobuf keeps it, as its enums are open."""
    message: Any = message_class(ConsumerConfig)(ack_policy=9)
    with pytest.raises(ContractError) as raised:
        from_message(ConsumerConfig, message)
    assert str(raised.value) == f"ConsumerConfig: ack_policy: expected one of {POLICIES}, not 9"
    message.ack_policy = AckPolicy.ACK_POLICY_ALL
    assert from_message(ConsumerConfig, message).ack_policy is AckPolicy.ACK_POLICY_ALL


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"], ids=["noise", "cut", "no UTF-8"]
)
def test_bytes_that_are_no_message_are_an_error_of_one_line(data: bytes) -> None:
    with pytest.raises(ContractError, match=r"^StreamConfig: these bytes are no such message: ") as raised:
        from_bytes(StreamConfig, data)
    assert "\n" not in str(raised.value)


@pytest.mark.seed("S-32")
@pytest.mark.parametrize(
    "token",
    [
        "orders.created",
        "$JS.ACK.ACC.ORDERS.billing.1.42.7.1700000000123456789.3",
        "$JS.API.STREAM.DELETE.ORDERS",
        "$JS.ACK",
        "$JS.ACK.ORDERS.billing.1.42.7.1700000000123456789",
        "$JS.ACK.ORDERS.billing.1.42.7.now.3",
        f"{TOKEN} ",
        f" {TOKEN}",
        "$JS.ACK.ORD ERS.billing.1.42.7.1700000000123456789.3",
        f"{TOKEN}\r\nPUB orders.created 0\r\n",
        f"{TOKEN}\n",
        f"{TOKEN}\0",
        "$JS.ACK.*.billing.1.42.7.1700000000123456789.3",
        "$JS.ACK.>.billing.1.42.7.1700000000123456789.3",
        "$JS.ACK..billing.1.42.7.1700000000123456789.3",
        f"x.{TOKEN}",
        TOKEN.lower(),
        f"$JS.ACK.{'x' * 10_240}.billing.1.42.7.1700000000123456789.3",
    ],
)
def test_an_ack_token_that_is_no_acknowledgement_subject_is_refused_in_every_form(token: str) -> None:
    """S-32."""
    text = refused(AckRequest, ack_token=token)
    assert text.startswith("AckRequest: ack_token: '")
    assert text.endswith("is not a JetStream acknowledgement subject ($JS.ACK.…)") or len(text) < 400
    with pytest.raises(ContractError, match="is not a JetStream acknowledgement subject"):
        from_bytes(AckRequest, message_class(AckRequest)(ack_token=token).SerializeToString())


@pytest.mark.seed("S-32")
@pytest.mark.parametrize("token", [TOKEN, "$JS.ACK.hub.ACC.ORDERS.billing.1.42.7.1700000000123456789.3.x1y2"])
def test_a_token_of_the_server_is_taken(token: str) -> None:
    """S-32: of 9 and of 12 parts."""
    assert AckRequest(ack_token=token).ack_token == token


@pytest.mark.seed("S-32")
def test_an_empty_ack_token_is_required() -> None:
    """S-32."""
    assert refused(AckRequest, ack_token="") == "AckRequest: ack_token: ack_token is required"
    with pytest.raises(ContractError, match="ack_token is required"):
        from_bytes(AckRequest, b"")
