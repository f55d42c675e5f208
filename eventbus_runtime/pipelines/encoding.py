"""Values to payloads: what a `Publish` carries, as bytes. The other way round is `decoding`."""

from __future__ import annotations

import sys
from typing import Any

import pydantic_core
from pydantic import BaseModel


def encode(payload: Any) -> bytes:
    """The payload of a `Publish` as it goes on the wire.

    bytes (bytearray, memoryview) and str go as they are, str as UTF-8; None is empty; everything else is JSON: pydantic
    models by their aliases, so that the same model reads them again; dataclasses, TypedDicts, dicts, lists,
    `msgspec.Struct`s, and the dates, decimals, enums and so on within them.

    Raises:
        TypeError: it can't be written so.
    """
    if isinstance(payload, bytes):
        return payload
    if payload is None:
        return b""
    if isinstance(payload, bytearray | memoryview):
        return bytes(payload)
    try:
        if isinstance(payload, str):
            return payload.encode()
        if isinstance(payload, BaseModel):
            return payload.model_dump_json(by_alias=True).encode()
        if _is_struct(payload):
            return _encode_struct(payload)
        return pydantic_core.to_json(payload, inf_nan_mode="null", fallback=_foreign)
    except (pydantic_core.PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"a payload of type {type(payload).__qualname__} can't go on the wire: {error}") from None


def _is_struct(value: Any) -> bool:
    msgspec = sys.modules.get("msgspec")  # whoever has a Struct has imported it
    return msgspec is not None and isinstance(value, msgspec.Struct)


def _encode_struct(value: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(value)


def _foreign(value: Any) -> Any:
    """What pydantic does not know, inside of what it knows."""
    if _is_struct(value):
        import msgspec

        return msgspec.to_builtins(value)
    raise TypeError(f"{type(value).__qualname__} is not a JSON type")
