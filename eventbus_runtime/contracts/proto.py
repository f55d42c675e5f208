"""The contracts as the text of a `.proto` file, written from the models."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from enum import IntEnum

from eventbus_runtime.contracts.duration import Duration
from eventbus_runtime.contracts.fields import Contract, Field, about, fields
from eventbus_runtime.contracts.model import PACKAGE
from eventbus_runtime.contracts.registry import enums, messages


def proto_text() -> str:
    """The whole file; a protobuf compiler takes it as it is."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "// Written by `eventbus contracts --format proto`; do not edit."
    yield ""
    yield 'syntax = "proto3";'
    yield ""
    yield f"package {PACKAGE};"
    yield ""
    yield 'import "google/protobuf/duration.proto";'
    for each in enums():
        yield from _enum(each)
    for contract in messages():
        yield from _message(contract)


def _enum(held: type[IntEnum]) -> Iterator[str]:
    yield ""
    yield from _comment(about(held))
    yield f"enum {held.__name__} {{"
    for value in held:
        yield f"  {value.name} = {value.value};"
    yield "}"


def _message(contract: type[Contract]) -> Iterator[str]:
    yield ""
    yield from _comment(about(contract))
    yield f"message {contract.__name__} {{"
    for field in fields(contract):
        yield from _comment(field.text, "  ")
        yield f"  {_type(field)} {field.name} = {field.number};"
    yield "}"


def _type(field: Field) -> str:
    if field.kind == "map":
        return "map<string, string>"
    name = field.kind if field.type is None else field.type.__name__
    name = "google.protobuf.Duration" if field.type is Duration else name
    return f"repeated {name}" if field.repeated else name


def _comment(text: str, indent: str = "") -> Iterator[str]:
    for line in textwrap.wrap(text, 100):
        yield f"{indent}// {line}"
