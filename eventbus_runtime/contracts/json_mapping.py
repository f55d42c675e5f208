"""The contracts as JSON, by protobuf's JSON mapping; without protobuf, whose own reader loses what it should refuse:
characters of a base64 text that are none, a field under both of its names."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import IntEnum
from typing import Any, TypeVar, cast

from eventbus_runtime.contracts.duration import Duration
from eventbus_runtime.contracts.fields import Contract, Field, fields
from eventbus_runtime.contracts.told import below, expected, joined, shown, unknown, validated
from eventbus_runtime.errors import ContractError

C = TypeVar("C", bound=Contract)

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,39})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
# Beyond it a double no longer tells every whole number from its neighbours (`Number.MAX_SAFE_INTEGER`).
_EXACT = 2**53 - 1
_BITS = {"int32": 31, "int64": 63}


def from_json(contract: type[C], values: Mapping[str, Any]) -> C:
    """The value that a table holds: names as in protobuf or in camel case, bytes in base64, durations as "1.5s", enums
    by name or number, numbers as numbers or text; null is absent. A Struct's numbers are doubles: one above 2**53 - 1
    may have lost its last digits on the way, so that only text will do for it.

    Raises:
        ContractError: a key is unknown or there twice, or a value does not convert without loss. Names every field of
            which that is true, what was expected and what came.
    """
    problems: list[str] = []
    read = _table(contract, values, "", problems)
    if problems:
        raise ContractError(joined(contract, problems))
    return validated(contract, read)


def to_json(value: Contract) -> dict[str, Any]:
    """The other way round, by the protobuf names, numbers of 64 bits as text; what has its default is left out."""
    found = {}
    for field in fields(type(value)):
        held = getattr(value, field.name)
        if held is None or (field.kind != "message" and not held) or held == ():
            continue
        found[field.name] = [_written(field, one) for one in held] if field.repeated else _written(field, held)
    return found


def well_formed(text: str) -> str:
    """A text as UTF-8 can hold it. What is no character, as a byte of a header that nobody can decode, is U+FFFD then:
    an error instead would hold up all messages behind it for ever."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _written(field: Field, held: Any) -> Any:
    match field.kind:
        case "bytes":
            return base64.b64encode(held).decode()
        case "int64":
            return str(held)
        case "enum":
            return held.name
        case "string":
            return well_formed(held)
        case "map":
            return {well_formed(key): well_formed(value) for key, value in held.items()}
        case "message":
            return str(held) if field.type is Duration else to_json(held)
    return held


def _table(contract: type[Contract], values: object, at: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        problems.append(f"{at or 'the whole'}: expected a table, not {shown(values)}")
        return {}
    known = {name: field for field in fields(contract) for name in (field.name, _camel(field.name))}
    given: dict[str, Any] = {}
    read: dict[str, Any] = {}
    for name, value in values.items():
        field = known.get(name)
        if field is None:
            problems.append(f"{below(at, name)}: {unknown(name, [each.name for each in fields(contract)])}")
        elif field.name in given:
            problems.append(f"{below(at, field.name)}: is there twice, as {given[field.name]} and as {name}")
        else:
            given[field.name] = name
            if value is not None:
                read[field.name] = _field(field, value, below(at, field.name), problems)
    return read


def _field(field: Field, value: object, at: str, problems: list[str]) -> Any:
    if not field.repeated:
        return _item(field, value, at, problems)
    if not isinstance(value, list | tuple):
        problems.append(f"{at}: expected {expected(field)}, not {shown(value)}")
        return ()
    return tuple(_item(field, one, below(at, index), problems) for index, one in enumerate(value))


def _item(field: Field, value: object, at: str, problems: list[str]) -> Any:
    if field.kind == "message" and field.type is not Duration:
        return _table(cast(type[Contract], field.type), value, at, problems)
    if field.kind == "map" and isinstance(value, Mapping):
        wrong = {below(at, key): one for key, one in value.items() if not (_is_text(key) and _is_text(one))}
        problems += [f"{place}: expected text, not {shown(one)}" for place, one in wrong.items()]
        return dict(value)
    try:
        return _scalar(field, value)
    except ValueError as error:
        problems.append(f"{at}: {error}")
        return None


def _scalar(field: Field, value: object) -> Any:
    words = expected(field, one=True)
    match field.kind, value:
        case "string", str() if _is_text(value):
            return value
        case "bool", bool():
            return value
        case (("int32" | "int64"), int() | float() | str()) if not isinstance(value, bool):
            return _whole(value, _BITS[field.kind], words)
        case "bytes", str():
            return _bytes(value)
        case "enum", str() | int() | float() if not isinstance(value, bool):
            for each in cast(type[IntEnum], field.type):
                if value in (each.name, each.value):
                    return each
        case "message", str():
            return Duration.parse(value)
        case "message", _:
            words = 'seconds as text, as "1.5s"'
        case "bytes", _:
            words = "base64 text"
    raise ValueError(f"expected {words}, not {shown(value)}")


def _whole(value: float | str, bits: int, words: str) -> int:
    if isinstance(value, float) and abs(value) > _EXACT:
        raise ValueError(f"expected {words}, not {value!r}: too large to be exact as a number; write it as text")
    is_number = _NUMBER.fullmatch(value) if isinstance(value, str) else True
    exact = Decimal(value) if is_number else Decimal("NaN")
    if not exact.is_finite() or not -(2**bits) <= exact < 2**bits or exact != exact.to_integral_value():
        raise ValueError(f"expected {words}, not {shown(value)}")
    return int(exact)


def _bytes(value: str) -> bytes:
    text = value.rstrip("=")
    padding = len(value) - len(text)
    if _BASE64.fullmatch(value) and padding in (0, -len(text) % 4):
        try:
            return base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4))
        except binascii.Error:
            pass
    raise ValueError(f"expected base64 text, not {shown(value)}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and well_formed(value) == value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
