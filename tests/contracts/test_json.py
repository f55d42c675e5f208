"""Contracts as JSON: what protobuf's mapping writes we write, and read without loss or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.contracts import (
    AckRequest,
    ClusterConfig,
    ConsumeRequest,
    ConsumeResponse,
    Contract,
    Duration,
    PublishRequest,
    RetentionPolicy,
    StreamConfig,
)
from eventbus_runtime.contracts.registry import messages
from eventbus_runtime.contracts.wire import from_json, message_class, to_bytes, to_json, to_message
from eventbus_runtime.errors import ContractError
from tests.contracts.values import values

EVERY = pytest.mark.parametrize("contract", messages(), ids=lambda contract: contract.__name__)


def refused(contract: type[Contract], table: Any) -> str:
    """What is wrong with a table."""
    with pytest.raises(ContractError) as raised:
        from_json(contract, table)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def attempt(contract: type[Contract], table: Any) -> tuple[Contract | None, str]:
    """The value of a table, or what is wrong with it."""
    try:
        return from_json(contract, table), ""
    except ContractError as error:
        return None, str(error)


@EVERY
@settings(deadline=None)
@given(data=st.data())
def test_we_write_what_protobuf_writes_and_read_it_back(contract: type[Contract], data: st.DataObject) -> None:
    value = data.draw(values(contract))
    written = to_json(value)
    assert written == json_format.MessageToDict(to_message(value), preserving_proto_field_name=True)
    assert from_json(contract, json.loads(json.dumps(written))) == value
    assert from_json(contract, json_format.MessageToDict(to_message(value))) == value  # names in camel case


ANY_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1s", "-0.5s", "YQ=="]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["enabled", "maxAge", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)
ANY_TABLE = st.dictionaries(
    st.sampled_from(["name", "subjects", "retentionPolicy", "num_replicas", "max_bytes"]), ANY_VALUE
)


@settings(deadline=None, max_examples=300)
@given(table=ANY_TABLE | st.dictionaries(st.sampled_from(["jetstream", "limits", "x"]), ANY_VALUE, max_size=2))
def test_whatever_comes_is_read_as_protobuf_reads_it_or_is_one_line(table: dict[str, Any]) -> None:
    for contract in (StreamConfig, ClusterConfig):
        value, text = attempt(contract, table)
        assert text.isprintable()
        if value is not None:
            message = json_format.ParseDict(table, message_class(contract)())
            assert message.SerializeToString(deterministic=True) == to_bytes(value)


@settings(deadline=None, max_examples=300)
@given(text=st.text("YQ=-_+/ !\n", max_size=9))
def test_base64_is_read_as_protobuf_reads_it_or_refused(text: str) -> None:
    value, _ = attempt(PublishRequest, {"payload": text})
    if value is not None:
        message = json_format.ParseDict({"payload": text}, message_class(PublishRequest)())
        assert message.SerializeToString() == to_bytes(value)


@pytest.mark.seed("S-40")
@pytest.mark.parametrize(
    ("contract", "table", "text"),
    [
        (StreamConfig, {"nmae": 1}, "StreamConfig: nmae: unknown field, did you mean name? (known: name, subjects, "),
        (
            ClusterConfig,
            {"jetstream": {"on": True}},
            "ClusterConfig: jetstream.on: unknown field (known: enabled, max_st",
        ),
        (
            ConsumeResponse,
            {"messages": [{}, {"x": 1}]},
            "ConsumeResponse: messages[1].x: unknown field (known: subject, ",
        ),
        (StreamConfig, {"a\nb": 1}, 'StreamConfig: ["a\\nb"]: unknown field (known: '),
        (StreamConfig, {7: 1}, "StreamConfig: [7]: unknown field (known: "),
    ],
)
def test_an_unknown_key_is_refused_wherever_it_stands(contract: type[Contract], table: Any, text: str) -> None:
    """S-40."""
    assert refused(contract, table).startswith(text)


@pytest.mark.parametrize(
    ("contract", "table", "text"),
    [
        (StreamConfig, {"num_replicas": 1.5}, "num_replicas: expected a whole number of at most 32 bits, not 1.5"),
        (StreamConfig, {"num_replicas": True}, "num_replicas: expected a whole number of at most 32 bits, not true"),
        (
            StreamConfig,
            {"num_replicas": 2**31},
            "num_replicas: expected a whole number of at most 32 bits, not 2147483648",
        ),
        (StreamConfig, {"num_replicas": "1,5"}, 'num_replicas: expected a whole number of at most 32 bits, not "1,5"'),
        (StreamConfig, {"max_bytes": float("nan")}, "max_bytes: expected a whole number of at most 64 bits, not nan"),
        (
            StreamConfig,
            {"max_bytes": 1e300},
            "max_bytes: expected a whole number of at most 64 bits, not 1e+300: too large to be exact as a number; "
            "write it as text",
        ),
        (
            StreamConfig,
            {"max_bytes": float(2**53 + 1)},
            "max_bytes: expected a whole number of at most 64 bits, not 9007199254740992.0: too large to be exact as a "
            "number; write it as text",
        ),
        (
            StreamConfig,
            {"max_bytes": 10**30},
            "max_bytes: expected a whole number of at most 64 bits, not a number of 100 bits",
        ),
        (StreamConfig, {"name": 1}, "name: expected text, not 1"),
        (StreamConfig, {"name": "\ud800"}, 'name: expected text, not "\\ud800"'),
        (StreamConfig, {"subjects": "orders.>"}, 'subjects: expected a list, not "orders.>"'),
        (StreamConfig, {"subjects": ["a", None]}, "subjects[1]: expected text, not null"),
        (
            StreamConfig,
            {"retention_policy": "limits"},
            "retention_policy: expected one of RETENTION_POLICY_UNSPECIFIED, RETENTION_POLICY_LIMITS, "
            'RETENTION_POLICY_INTEREST, RETENTION_POLICY_WORKQUEUE, not "limits"',
        ),
        (StreamConfig, {"max_age": "72h"}, 'max_age: expected seconds as text, as "1.5s", not "72h"'),
        (StreamConfig, {"max_age": 5}, 'max_age: expected seconds as text, as "1.5s", not 5'),
        (StreamConfig, {"max_age": "999999999999s"}, "max_age: a duration has at most 10,000 years"),
        (
            StreamConfig,
            {"name": "a", "num_replicas": 1, "numReplicas": 1},
            "num_replicas: is there twice, as num_replicas and",
        ),
        (PublishRequest, {"payload": "t!es?t"}, 'payload: expected base64 text, not "t!es?t"'),
        (PublishRequest, {"payload": [1]}, "payload: expected base64 text, not a list"),
        (PublishRequest, {"headers": {"a": 1}}, "headers.a: expected text, not 1"),
        (PublishRequest, {"headers": ["a"]}, "headers: expected a table of texts, not a list"),
        (ClusterConfig, {"jetstream": {"enabled": "yes"}}, 'jetstream.enabled: expected true or false, not "yes"'),
        (ClusterConfig, {"jetstream": 5}, "jetstream: expected a table, not 5"),
        (ConsumeResponse, {"messages": [{}, 5]}, "messages[1]: expected a table, not 5"),
        (AckRequest, {}, "ack_token: is required"),
        (AckRequest, {"ack_token": "orders.created"}, "ack_token: 'orders.created' is not a JetStream acknowledgement"),
        (AckRequest, [], "the whole: expected a table, not a list"),
    ],
)
def test_what_would_lose_something_is_refused_by_field(contract: type[Contract], table: Any, text: str) -> None:
    assert refused(contract, table).startswith(f"{contract.__name__}: {text}")


def test_all_mistakes_are_told_at_once() -> None:
    assert refused(StreamConfig, {"name": 1, "subjects": [2, 3]}) == (
        "StreamConfig: name: expected text, not 1; subjects[0]: expected text, not 2; subjects[1]: expected text, not 3"
    )


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ({"maxBytes": "9223372036854775807"}, StreamConfig(max_bytes=2**63 - 1)),
        ({"max_bytes": 9223372036854775807}, StreamConfig(max_bytes=2**63 - 1)),
        ({"max_bytes": 9007199254740991.0}, StreamConfig(max_bytes=2**53 - 1)),
        ({"num_replicas": 3.0, "name": None}, StreamConfig(num_replicas=3)),
        ({"retentionPolicy": 3.0}, StreamConfig(retention_policy=RetentionPolicy.RETENTION_POLICY_WORKQUEUE)),
        ({"maxAge": "-0.000000001s"}, StreamConfig(max_age=Duration(nanos=-1))),
        ({"max_age": "123456789.123456789s"}, StreamConfig(max_age=Duration(seconds=123456789, nanos=123456789))),
    ],
)
def test_what_the_mapping_allows_is_taken(table: dict[str, Any], value: StreamConfig) -> None:
    assert from_json(StreamConfig, table) == value
    assert json_format.ParseDict(table, message_class(StreamConfig)()) == to_message(value)


def test_a_number_as_text_may_have_an_exponent() -> None:
    """So the mapping says; protobuf for Python takes it since 5 only."""
    assert from_json(StreamConfig, {"num_replicas": "3e0", "max_bytes": "1.5E3"}) == StreamConfig(
        num_replicas=3, max_bytes=1500
    )


@pytest.mark.parametrize("text", ["_-8=", "_-8", "/+8=", "/+8"])
def test_base64_of_either_alphabet_and_without_padding_is_taken(text: str) -> None:
    assert from_json(PublishRequest, {"payload": text}).payload == b"\xff\xef"


@settings(deadline=None)
@given(value=values(ClusterConfig) | values(ConsumeResponse) | values(PublishRequest))
def test_a_struct_holds_a_value_without_loss(value: Contract) -> None:
    struct = struct_pb2.Struct()
    struct.update(to_json(value))
    came = struct_pb2.Struct.FromString(struct.SerializeToString())
    assert from_json(type(value), json_format.MessageToDict(came)) == value


def test_a_number_of_a_struct_is_a_double_and_taken_where_it_is_exact() -> None:
    struct = struct_pb2.Struct()
    struct.update({"max_bytes": 2**53 - 1, "num_replicas": 3, "ack_wait": None, "subjects": ["a"]})
    taken = StreamConfig(max_bytes=2**53 - 1, num_replicas=3, subjects=("a",))
    assert from_json(StreamConfig, json_format.MessageToDict(struct)) == taken
    struct.update({"max_bytes": 2**53 + 1})
    assert "too large to be exact as a number; write it as text" in refused(
        StreamConfig, json_format.MessageToDict(struct)
    )


def test_what_is_no_utf8_goes_out_as_a_replacement_and_not_as_an_error() -> None:
    """One such header must not hold up the messages behind it: the batch that it is in would come again for ever."""
    value = PublishRequest.model_construct(subject="a\udcff", headers={"n\udcfe": "ä\udcff"}, payload=b"\xff")
    assert to_json(value) == {"subject": "a\ufffd", "headers": {"n\ufffd": "ä\ufffd"}, "payload": "/w=="}
    assert to_message(value) == to_message(from_json(PublishRequest, to_json(value)))


@pytest.mark.parametrize("wait", ["1.5s", 1.5, "1500ms"])
def test_what_python_code_gives_may_be_said_as_in_a_configuration(wait: Any) -> None:
    assert to_json(ConsumeRequest(max_wait=wait)) == {"max_wait": "1.500s"}
