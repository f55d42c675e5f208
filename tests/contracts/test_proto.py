"""Our messages and those of protobuf's own compiler are the same on the wire, both ways (S-41)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.contracts import ConsumeRequest, Contract, Duration, Message, PublishRequest, StreamConfig
from eventbus_runtime.contracts.proto import proto_text
from eventbus_runtime.contracts.registry import messages
from eventbus_runtime.contracts.wire import from_bytes, to_bytes
from tests.contracts.values import values

EVERY = pytest.mark.parametrize("contract", messages(), ids=lambda contract: contract.__name__)


def theirs(generated: ModuleType, value: Contract) -> Any:
    """The generated class's message with the content of a value of ours."""
    return getattr(generated, type(value).__name__)(**value.model_dump())


@pytest.mark.seed("S-41", "S-42")
@EVERY
@settings(deadline=None)
@given(data=st.data())
def test_the_bytes_are_the_same_both_ways(generated: ModuleType, contract: type[Contract], data: st.DataObject) -> None:
    """S-41, S-42."""
    ours = data.draw(values(contract))
    other = theirs(generated, ours)
    assert to_bytes(ours) == other.SerializeToString(deterministic=True)
    assert from_bytes(contract, other.SerializeToString()) == ours
    assert type(other).FromString(to_bytes(ours)) == other


@pytest.mark.parametrize(
    "value",
    [
        StreamConfig(num_replicas=2**31 - 1, max_bytes=2**63 - 1),
        StreamConfig(num_replicas=-(2**31), max_bytes=-(2**63)),
        StreamConfig(subjects=("", "ä", "\x00", "🎈")),
        StreamConfig(max_age=Duration(nanos=999_999_999), ack_wait=Duration(seconds=-1, nanos=-1)),
        ConsumeRequest(max_wait=Duration()),
        PublishRequest(headers={"": "", "a": "", "ü": "🎈"}, payload=bytes(range(256))),
        Message(),
    ],
    ids=repr,
)
def test_the_extremes_are_the_same_both_ways(generated: ModuleType, value: Contract) -> None:
    other = theirs(generated, value)
    assert to_bytes(value) == other.SerializeToString(deterministic=True)
    assert from_bytes(type(value), other.SerializeToString()) == value


def test_a_duration_of_nothing_is_there_and_an_absent_one_is_not() -> None:
    there, absent = ConsumeRequest(max_wait=Duration()), ConsumeRequest()
    assert (to_bytes(there), to_bytes(absent)) == (b"\x1a\x00", b"")
    assert from_bytes(ConsumeRequest, b"\x1a\x00").max_wait == Duration()
    assert from_bytes(ConsumeRequest, b"").max_wait is None


@EVERY
def test_each_message_and_field_is_explained_in_the_file(generated: ModuleType, contract: type[Contract]) -> None:
    text = proto_text()
    assert f"message {contract.__name__} {{" in text
    assert all(f"// {info.description}" in text for info in contract.model_fields.values())
    assert [field.name for field in getattr(generated, contract.__name__).DESCRIPTOR.fields] == list(
        contract.model_fields
    )
