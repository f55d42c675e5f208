"""What a contract's model says of its protobuf message: read from the model, used by all that is written from it."""

from __future__ import annotations

import re
import types
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict

Kind: TypeAlias = Literal["string", "bytes", "bool", "int32", "int64", "enum", "message", "map"]

_SCALARS: dict[type, Kind] = {str: "string", bytes: "bytes", bool: "bool"}

_new, _put = object.__new__, object.__setattr__


class Contract(BaseModel):
    """A protobuf message: unknown fields are errors, nothing is converted in silence, values never change.

    Equal by content; those with a table (`headers`) have no hash, since a table has none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    _names: ClassVar[set[str]]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        cls._names = set(cls.model_fields)

    @classmethod
    def trusted(cls, values: dict[str, Any]) -> Self:
        """One of these values, all of them, which need no validation; as `model_construct`, and cheaper."""
        made = _new(cls)
        _put(made, "__dict__", values)
        _put(made, "__pydantic_fields_set__", cls._names)
        _put(made, "__pydantic_extra__", None)
        _put(made, "__pydantic_private__", None)
        return made


@dataclass(frozen=True, slots=True)
class Number:
    """A field's number in its protobuf message; for an `int` its width too, which Python does not tell."""

    number: int
    kind: Literal["", "int32", "int64"] = ""


class Field(NamedTuple):
    """A field of a protobuf message.

    Args:
        name: as in the model and in protobuf.
        number: its protobuf number.
        kind: the protobuf type; `map` is always of text to text.
        repeated: whether it holds any number of these.
        type: of an enum or a message the Python class, else None.
        text: its description.
    """

    name: str
    number: int
    kind: Kind
    repeated: bool
    type: type[IntEnum] | type[Contract] | None
    text: str


@cache
def fields(model: type[Contract]) -> tuple[Field, ...]:
    """The fields of a contract, in the order of their numbers.

    Raises:
        TypeError: one has no number, or a type that has no place in protobuf.
    """
    found = []
    for name, info in model.model_fields.items():
        number = next((each for each in info.metadata if isinstance(each, Number)), None)
        if number is None:
            raise TypeError(f"{model.__name__}.{name} has no protobuf number")
        inner, repeated = _item(info.annotation)
        kind, held = _kind(inner, number, f"{model.__name__}.{name}")
        found.append(Field(name, number.number, kind, repeated, held, info.description or ""))
    return tuple(sorted(found, key=lambda each: each.number))


def about(held: type) -> str:
    """What a message or an enum is, for who knows nothing of this package: its docstring, without rule numbers."""
    return re.sub(r" \(S-\d+\)", "", " ".join((held.__doc__ or "").split()))


def _item(annotation: Any) -> tuple[Any, bool]:
    """The type of one value, and whether there may be many; `X | None` is an X that may be absent."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0], True
    return annotation, False


def _kind(held: Any, number: Number, where: str) -> tuple[Kind, type[IntEnum] | type[Contract] | None]:
    if get_origin(held) is dict:
        return "map", None
    if isinstance(held, type) and issubclass(held, IntEnum):
        return "enum", held
    if isinstance(held, type) and issubclass(held, Contract):
        return "message", held
    if held is int and number.kind:
        return number.kind, None
    if held in _SCALARS:
        return _SCALARS[held], None
    raise TypeError(f"{where}: {held} has no place in a protobuf message")
