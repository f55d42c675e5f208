"""The contracts as JSON Schema (draft 2020-12), written from the models: what `json_mapping` writes, and reads."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, cast

from eventbus_runtime.contracts.duration import PATTERN
from eventbus_runtime.contracts.fields import Contract, Field, about, fields
from eventbus_runtime.contracts.model import PACKAGE
from eventbus_runtime.contracts.registry import CONTRACTS, Spec, enums, messages

_BASE64 = "^(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}(?:==)?|[A-Za-z0-9+/_-]{3}=?)?$"
_TEXT = {"type": "string"}


def json_schema() -> dict[str, Any]:
    """One document: a message is `#/$defs/NAME`, and `x-contracts` lists which of them the seven types take and give.

    Names are those of protobuf. That a reader also takes camel case and null for a field, it does not say.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": PACKAGE,
        "description": "Strict contracts, by protobuf's JSON mapping. Validate against #/$defs/NAME.",
        "x-contracts": [_contract(spec) for spec in CONTRACTS],
        "$defs": {
            **{each.__name__: _enum(each) for each in enums()},
            "Duration": {
                "type": "string",
                "description": 'Seconds, to the nanosecond, as "1.5s".',
                "pattern": PATTERN,
                "examples": ["1.5s", "30s"],
            },
            **{each.__name__: _message(each) for each in messages()},
        },
    }


def _contract(spec: Spec) -> dict[str, Any]:
    parts = {"config": spec.config, "input": spec.input, "output": spec.output}
    refs = {key: _reference(held) for key, held in parts.items() if held is not None}
    return {"type": spec.name, "kind": spec.kind, **refs}


def _message(contract: type[Contract]) -> dict[str, Any]:
    required = [name for name, info in contract.model_fields.items() if info.is_required()]
    return {
        "type": "object",
        "description": about(contract),
        "properties": {field.name: _field(contract, field) for field in fields(contract)},
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _field(contract: type[Contract], field: Field) -> dict[str, Any]:
    schema = _type(field)
    if field.repeated:
        schema = {"type": "array", "items": schema}
    more = contract.model_fields[field.name].json_schema_extra
    return {"description": field.text, **schema, **(more if isinstance(more, dict) else {})}


def _type(field: Field) -> dict[str, Any]:
    match field.kind:
        case "bool":
            return {"type": "boolean"}
        case "int32" | "int64":
            bits = int(field.kind.removeprefix("int")) - 1
            number = {"type": "integer", "minimum": -(2**bits), "maximum": 2**bits - 1}
            return {"anyOf": [number, {"type": "string", "pattern": "^-?(?:0|[1-9][0-9]{0,18})$"}]}
        case "bytes":
            return {**_TEXT, "contentEncoding": "base64", "pattern": _BASE64}
        case "map":
            return {"type": "object", "additionalProperties": _TEXT}
        case "enum" | "message":
            return _reference(cast(type, field.type))
        case _:
            return _TEXT


def _enum(held: type[IntEnum]) -> dict[str, Any]:
    return {"description": about(held), "enum": [*(each.name for each in held), *(each.value for each in held)]}


def _reference(held: type) -> dict[str, str]:
    return {"$ref": f"#/$defs/{held.__name__}"}
