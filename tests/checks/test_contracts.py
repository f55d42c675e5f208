"""The JSON Schema of the contracts before a validator of another project: is it one, and does it take what we write?"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from eventbus_runtime.contracts import Contract
from eventbus_runtime.contracts.json_mapping import from_json, to_json
from eventbus_runtime.contracts.json_schema import json_schema
from eventbus_runtime.contracts.registry import messages
from eventbus_runtime.errors import ContractError
from tests.contracts.values import values

pytestmark = pytest.mark.checks


@cache
def validator(name: str) -> Any:
    """A validator of one message."""
    return Draft202012Validator({**json_schema(), "$ref": f"#/$defs/{name}"})


def test_it_is_a_json_schema_of_its_draft() -> None:
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("contract", messages(), ids=lambda contract: contract.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_what_we_write_is_valid_and_what_has_another_key_is_not(contract: type[Contract], data: st.DataObject) -> None:
    written = json.loads(json.dumps(to_json(data.draw(values(contract)))))
    validator(contract.__name__).validate(written)
    assert not validator(contract.__name__).is_valid({**written, "unknown": 1})


@pytest.mark.parametrize(
    ("name", "table", "is_valid"),
    [
        ("StreamConfig", {"max_bytes": 5, "num_replicas": "3", "retention_policy": 1, "max_age": "-0.5s"}, True),
        ("StreamConfig", {"retention_policy": "RETENTION_POLICY_LIMITS", "max_bytes": 5.0}, True),
        ("StreamConfig", {"num_replicas": 2**31}, False),
        ("StreamConfig", {"num_replicas": True}, False),
        ("StreamConfig", {"retention_policy": "limits"}, False),
        ("StreamConfig", {"max_age": "72h"}, False),
        ("StreamConfig", {"max_age": 5}, False),
        ("StreamConfig", {"subjects": "a"}, False),
        ("ClusterConfig", {"jetstream": {"on": True}}, False),
        ("PublishRequest", {"payload": "t!es?t"}, False),
        ("PublishRequest", {"headers": {"a": 1}}, False),
        ("AckRequest", {}, False),
        ("AckRequest", {"ack_token": "orders.created"}, False),
    ],
)
def test_schema_and_reader_agree(name: str, table: dict[str, Any], is_valid: bool) -> None:
    contract = next(each for each in messages() if each.__name__ == name)
    assert validator(name).is_valid(table) is is_valid
    assert (not reason(contract, table)) is is_valid


def reason(contract: type[Contract], table: dict[str, Any]) -> str:
    """Why the reader refuses a table; nothing where it does not."""
    try:
        from_json(contract, table)
    except ContractError as error:
        return str(error)
    return ""
