"""The contracts as JSON Schema. A validator of another project looks at it in `tests/checks`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from eventbus_runtime.contracts import CONTRACTS
from eventbus_runtime.contracts.fields import fields
from eventbus_runtime.contracts.json_schema import json_schema
from eventbus_runtime.contracts.registry import enums, messages


def references(schema: Any) -> set[str]:
    """Every `$ref` of it."""
    if isinstance(schema, list):
        return {found for one in schema for found in references(one)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["$ref"]} if "$ref" in schema else set()
    return own | {found for one in schema.values() for found in references(one)}


def test_it_holds_every_message_and_every_reference_leads_somewhere() -> None:
    schema = json_schema()
    names = {each.__name__ for each in (*messages(), *enums())} | {"Duration"}
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["$defs"]) == names
    assert references(schema) <= {f"#/$defs/{name}" for name in names}


@pytest.mark.seed("S-40")
def test_every_message_is_strict_and_every_field_is_explained() -> None:
    """S-40."""
    for contract in messages():
        described = json_schema()["$defs"][contract.__name__]
        assert described["additionalProperties"] is False
        assert list(described["properties"]) == [field.name for field in fields(contract)]
        assert all(one["description"] for one in described["properties"].values())


@pytest.mark.seed("S-40")
def test_the_seven_are_listed_with_what_they_take_and_give() -> None:
    """S-40."""
    listed = json_schema()["x-contracts"]
    assert [one["type"] for one in listed] == [spec.name for spec in CONTRACTS]
    assert listed[3] == {
        "type": "step.eventbus.publish",
        "kind": "step",
        "input": {"$ref": "#/$defs/PublishRequest"},
        "output": {"$ref": "#/$defs/PublishResponse"},
    }


def test_types_follow_the_json_mapping() -> None:
    known = json_schema()["$defs"]
    stream = known["StreamConfig"]["properties"]
    assert stream["max_bytes"]["anyOf"][0] == {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    assert stream["num_replicas"]["anyOf"][0] == {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
    assert stream["subjects"]["items"] == {"type": "string"}
    assert stream["max_age"]["$ref"] == "#/$defs/Duration"
    assert known["AckPolicy"]["enum"] == [
        *(f"ACK_POLICY_{name}" for name in ("UNSPECIFIED", "EXPLICIT", "NONE", "ALL")),
        0,
        1,
        2,
        3,
    ]
    assert known["PublishRequest"]["properties"]["headers"]["additionalProperties"] == {"type": "string"}
    assert known["AckRequest"]["required"] == ["ack_token"]


@pytest.mark.parametrize(
    ("text", "is_base64"), [("", 1), ("YQ==", 1), ("YQ", 1), ("_-8", 1), ("Y", 0), ("YQ=", 0), ("a b=", 0)]
)
def test_the_pattern_of_bytes_takes_what_is_base64(text: str, is_base64: int) -> None:
    pattern = json_schema()["$defs"]["PublishRequest"]["properties"]["payload"]["pattern"]
    assert bool(re.search(pattern, text)) is bool(is_base64)
