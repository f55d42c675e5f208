"""What is wrong with a value of a contract, in one line that names each field, what was expected and what came."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import IntEnum
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from eventbus_runtime.contracts.fields import Contract, Field, fields
from eventbus_runtime.errors import ContractError

C = TypeVar("C", bound=Contract)

_WORDS = {
    "string": "text",
    "bytes": "bytes",
    "bool": "true or false",
    "int32": "a whole number of at most 32 bits",
    "int64": "a whole number of at most 64 bits",
    "message": "a table",
    "map": "a table of texts",
}
_MOST, _LONGEST = 10, 300
# Of these pydantic's own text says no more than what a field's type says better.
_OF_THE_TYPE = ("_type", "is_instance_of", "int_from_float", "greater_than_equal", "less_than")


def validated(contract: type[C], values: object) -> C:
    """A contract's value, checked.

    Raises:
        ContractError: it is none.
    """
    try:
        return contract.model_validate(values)
    except ValidationError as error:
        raise ContractError(told(error, contract)) from None


def told(error: ValidationError, contract: type[Contract]) -> str:
    """What pydantic found wrong with the values of a contract."""
    parts = []
    for one in error.errors(include_url=False):
        names = [name for name in one["loc"] if name != "[key]"]
        field, at = _walk(contract, names)
        parts.append(f"{at}: {_text(one, field, contract)}" if at else _text(one, field, contract))
    return joined(contract, parts)


def joined(contract: type[Contract], parts: list[str]) -> str:
    """One line of what is wrong in several places; of very many the first."""
    more = [f"and {len(parts) - _MOST} more"] if len(parts) > _MOST else []
    return f"{contract.__name__}: {'; '.join([*parts[:_MOST], *more])}"


def expected(field: Field, *, one: bool = False) -> str:
    """What a field takes, in words.

    Args:
        field: which.
        one: of a list, one of its items.
    """
    if field.repeated and not one:
        return "a list"
    if field.kind == "enum":
        return f"one of {', '.join(each.name for each in cast(type[IntEnum], field.type))}"
    return _WORDS[field.kind]


def shown(value: object) -> str:
    """A value for an error's text: short, and one line whatever it is."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            text = value if len(value) <= 60 else f"{value[:60]}…"
            return json.dumps(text, ensure_ascii=not text.isprintable())
        case int():
            return str(int(value)) if abs(value) < 2**64 else f"a number of {value.bit_length()} bits"
        case float():
            return repr(value)
        case bytes():
            return f"{len(value)} bytes"
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
    return f"a value of type {type(value).__name__}"


def unknown(name: object, known: Iterable[str]) -> str:
    """That a field is unknown: which one may be meant, and which there are."""
    names = list(known)
    near = get_close_matches(str(name), names, n=1, cutoff=0.6)
    meant = f", did you mean {near[0]}?" if near else ""
    return f"unknown field{meant} (known: {', '.join(names) or 'none'})"


def below(at: str, name: object) -> str:
    """The place of a field, an item of a list (a number) or a key of a table, below another place."""
    if isinstance(name, int):
        return f"{at}[{name}]"
    text = str(name) if isinstance(name, str) and name.isidentifier() else f"[{shown(name)}]"
    return f"{at}.{text}" if at and not text.startswith("[") else f"{at}{text}"


def _walk(contract: type[Contract], names: Iterable[Any]) -> tuple[Field | None, str]:
    """The field at a place, None for what none has; and the place as text."""
    held: type[Contract] | None = contract
    field: Field | None = None
    at = ""
    for name in names:
        at = below(at, name)
        if isinstance(name, int):
            continue  # an item of the field before
        if held is not None:
            field = next((each for each in fields(held) if each.name == name), None)
        held = field.type if field and field.type and issubclass(field.type, Contract) else None
    return field, at


def _text(one: Any, field: Field | None, contract: type[Contract]) -> str:
    kind, names = one["type"], one["loc"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        parent, _ = _walk(contract, names[:-1])
        holder = parent.type if parent and parent.type and issubclass(parent.type, Contract) else contract
        return unknown(names[-1], [each.name for each in fields(holder)])
    if kind.endswith(_OF_THE_TYPE) and field is not None:
        is_item = isinstance(names[-1], int)
        words = "text" if field.kind == "map" and names[-1] != field.name else expected(field, one=is_item)
        return f"expected {words}, not {shown(one['input'])}"
    text = " ".join(str(one["msg"]).removeprefix("Value error, ").split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
