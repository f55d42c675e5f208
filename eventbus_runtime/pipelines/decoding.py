"""Payloads to values: one decoder per annotated type, made when a handler is bound."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Any, NotRequired, Required, TypeAlias, Union, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation

from eventbus_runtime.errors import BindingError, DecodeError
from eventbus_runtime.pipelines.signature import type_name

Decoder: TypeAlias = Callable[[bytes], Any]

_MOST_TEXT = 300
"""Characters of a decode error: it goes into logs and a dead letter's header."""


def decoder(wanted: Any) -> Decoder:
    """What turns a payload into `wanted`.

    bytes is the payload as it is, str its UTF-8 text; types that hold a `msgspec.Struct` are read by msgspec, and
    everything else by a pydantic `TypeAdapter`, both from JSON. The decoder raises `DecodeError`, whose text says where
    and what, never the payload.

    Raises:
        BindingError: no payload can be read as that type.
    """
    if wanted is bytes:
        return bytes
    if wanted is str:
        return _decode_text
    if _holds_struct(wanted):
        return _msgspec_decoder(wanted)
    return _pydantic_decoder(wanted)


def _decode_text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"the payload is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _pydantic_decoder(wanted: Any) -> Decoder:
    name = type_name(wanted)
    try:
        adapter = TypeAdapter(_for_pydantic(wanted))
        # A model whose fields can't be resolved tells so only when it is used; no payload at all is never valid.
        adapter.validate_json(b"")
    except ValidationError:
        pass
    except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
        raise BindingError(f"pydantic can't read {name}: {str(error).splitlines()[0]}") from None
    validate = adapter.validator.validate_json

    def decode(payload: bytes) -> Any:
        try:
            return validate(payload)
        except ValidationError as error:
            raise DecodeError(_first_error(name, error)) from None

    return decode


def _first_error(name: str, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    text = f"{place}: {first['msg']}" if place else first["msg"]
    return f"the payload is no {name}: {text[:_MOST_TEXT]}{more}"


def _holds_struct(wanted: Any) -> bool:
    msgspec = sys.modules.get("msgspec")  # a type that is a Struct has imported it
    return msgspec is not None and any(inspect.isclass(t) and issubclass(t, msgspec.Struct) for t in _leaves(wanted))


def _leaves(wanted: Any) -> Iterator[Any]:
    arguments = get_args(wanted)
    if not arguments:
        yield wanted
    for argument in arguments:
        yield from _leaves(argument)


def _msgspec_decoder(wanted: Any) -> Decoder:
    import msgspec

    name = type_name(wanted)
    try:
        read = msgspec.json.Decoder(wanted).decode
    except (TypeError, NameError) as error:
        raise BindingError(f"msgspec can't read {name}: {error}") from None

    def decode(payload: bytes) -> Any:
        try:
            return read(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"the payload is no {name}: {str(error)[:_MOST_TEXT]}") from None

    return decode


def _for_pydantic(wanted: Any, outer: tuple[Any, ...] = ()) -> Any:
    """Before Python 3.12 pydantic refuses `typing.TypedDict`, which everyone writes. This says the same type in the
    words of `typing_extensions`; what is decoded is a dict either way."""
    if sys.version_info >= (3, 12):
        return wanted
    if is_typeddict(wanted) and type(wanted).__module__ == "typing":
        from typing_extensions import TypedDict  # pydantic brings it along

        if wanted in outer:
            raise BindingError(f"{type_name(wanted)} holds itself; take TypedDict from typing_extensions for it")
        fields = {}
        for name, hint in get_type_hints(wanted, include_extras=True).items():
            known = _for_pydantic(hint, (*outer, wanted))
            if get_origin(known) not in (Required, NotRequired):
                known = Required[known] if name in wanted.__required_keys__ else NotRequired[known]
            fields[name] = known
        return TypedDict(wanted.__name__, fields)  # type: ignore[operator]
    arguments = get_args(wanted)
    replaced = tuple(_for_pydantic(argument, outer) for argument in arguments)
    if all(new is old for new, old in zip(replaced, arguments, strict=True)):
        return wanted
    origin = get_origin(wanted)
    subscript = replaced[0] if len(replaced) == 1 else replaced
    return (Union if origin is UnionType else origin)[subscript]
