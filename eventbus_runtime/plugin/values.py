"""What a host sends as a value of a contract: an Any of its message, or a Struct that converts without loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from eventbus_runtime.contracts.fields import Contract
from eventbus_runtime.contracts.wire import from_json, from_message, full_name, message_class, to_bytes
from eventbus_runtime.errors import ContractError
from eventbus_runtime.plugin.messages import Proto, message

C = TypeVar("C", bound=Contract)

TYPE_URL = "type.googleapis.com/"
EMPTY = "/google.protobuf.Empty"
"""The end of the type of what holds nothing, in an Any."""

BUS_KEYS = ("bus", "broker_ref")
"""What a Struct may call the bus by; the contracts have no field for it."""


def plain(struct: Proto) -> dict[str, Any]:
    """A Struct's values. Keys that begin with "_" are the engine's own (as `_config_dir`), and left out.

    Raises:
        ContractError: it holds what JSON has no word for.
    """
    try:
        values: dict[str, Any] = json_format.MessageToDict(struct)
    except (json_format.SerializeToJsonError, ValueError) as error:
        raise ContractError(f"config can't be read: {error}") from None
    return {key: value for key, value in values.items() if not key.startswith("_")}


def typed(contract: type[C], payload: Proto) -> C:
    """The value in an Any.

    Raises:
        ContractError: it is of another type, or none of this contract.
    """
    return from_message(contract, opened(contract, payload))


def opened(contract: type[Contract], payload: Proto) -> Proto:
    """The message in an Any, whatever its fields hold.

    Raises:
        ContractError: it is of another type, or can't be read.
    """
    name, expected = payload.type_url.rpartition("/")[2], full_name(contract)
    if name != expected:
        raise ContractError(f'is of type "{name}"; expected {expected}')
    found = message_class(contract)()
    try:
        found.ParseFromString(payload.value)
    except DecodeError as error:
        raise ContractError(f"these bytes are no {expected}: {error}") from None
    return found


def overlaid(contract: type[C], found: Proto, *configs: Proto) -> C:
    """The value of a message, but for the fields that configs of the same type set: these are the last such config's.

    Raises:
        ContractError: names the field.
    """
    for config in configs:
        for field, _ in config.ListFields():
            found.ClearField(field.name)
        found.MergeFrom(config)
    return from_message(contract, found)


def read(contract: type[C], request: Proto, any_field: str, *values: Mapping[str, Any]) -> C:
    """The value of a request: from its Any where that is set, else from tables, the last of which wins.

    Raises:
        ContractError: names the field.
    """
    if request.HasField(any_field):
        try:
            return typed(contract, getattr(request, any_field))
        except ContractError as error:
            raise ContractError(f"{any_field}: {error}") from None
    merged: dict[str, Any] = {}
    for table in values:
        merged |= table
    return from_json(contract, merged)


def take_bus(values: dict[str, Any]) -> str:
    """Take the name of a bus out of a table; empty where it names none.

    Raises:
        ContractError: it is no text.
    """
    found = ""
    for key in BUS_KEYS:
        found = text(values, key) or found
        values.pop(key, None)
    return found


def text(values: Mapping[str, Any], key: str) -> str:
    """A text of a table; empty where it is absent.

    Raises:
        ContractError: it is something else: which key, what was expected, what came (S-50).
    """
    value = values.get(key, "")
    if not isinstance(value, str):
        raise ContractError(f"{key} must be a text, not {said(value)}")
    return value


def said(value: Any) -> str:
    """A value of a Struct, for an error: its kind and itself."""
    kinds = {bool: "a boolean", float: "a number", str: "a text", dict: "a table", list: "a list", type(None): "null"}
    shown = repr(int(value)) if isinstance(value, float) and value.is_integer() else repr(value)
    return f"{kinds.get(type(value), type(value).__name__)} ({shown[:80]})"


def packed(value: Contract) -> Proto:
    """A value as an Any."""
    return message("google.protobuf.Any")(type_url=TYPE_URL + full_name(type(value)), value=to_bytes(value))
