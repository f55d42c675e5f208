"""Durations and sizes as people write them."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DURATION_UNITS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_SIZE_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)([a-zA-Z]+)")
_MAX_NS = 2**63 - 1


def nanoseconds(value: object) -> int:
    """Read "250ms", "30s", "1h30m" or a number of seconds.

    Raises:
        ValueError: it is none of these, negative, or longer than the server can hold (292 years).
    """
    total = (
        value * 10**9
        if isinstance(value, int | float) and not isinstance(value, bool)
        else _parts(value, _DURATION_UNITS)
    )
    if total is None:
        raise ValueError(f'{value!r} is not a duration; write "250ms", "30s", "5m", "7d" or a number of seconds')
    if not 0 <= total <= _MAX_NS:
        raise ValueError(f"{value!r} is out of range; a duration is 0 or more, and at most 292 years")
    return round(total)


def seconds(value: object) -> float:
    """Like `nanoseconds`, as seconds."""
    return nanoseconds(value) / 10**9


def size(value: object) -> int:
    """Read "512MiB", "10GiB", "1MB" or a number of bytes; -1 is the server's word for unlimited.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= _MAX_NS:
        return value
    total = _parts(value, _SIZE_UNITS)
    if total is None or total > _MAX_NS:
        raise ValueError(f'{value!r} is not a size; write "512MiB", "10GiB" or a number of bytes')
    return round(total)


def duration_text(value: int) -> str:
    """Nanoseconds as a file would say it: "30s", "7d", "1500ms"."""
    return _text(value, _DURATION_UNITS, "s")


def size_text(value: int) -> str | int:
    """Bytes as a file would say it: "512MiB"; -1 and odd numbers stay as they are."""
    return _text(value, _SIZE_UNITS, "B") if value > 0 and value % 1024 == 0 else value


def _text(value: int, units: dict[str, int], zero: str) -> str:
    fitting = [(length, unit) for unit, length in units.items() if value % length == 0]
    length, unit = max(fitting)
    return f"{value // length}{unit}" if value else f"0{zero}"


def _seconds_text(value: float) -> str:
    return duration_text(round(value * 10**9))


def _parts(value: object, units: dict[str, int]) -> float | None:
    if not isinstance(value, str):
        return None
    text = value.replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text) * units.get("s", 1)
    found = _PART.findall(text)
    is_whole = bool(found) and "".join(number + unit for number, unit in found) == text
    if not is_whole or any(unit not in units for _, unit in found):
        return None
    # Whole numbers stay whole: a float holds no more than 104 days of nanoseconds, or 8 PiB.
    return sum((int(number) if number.isdigit() else float(number)) * units[unit] for number, unit in found)


_DURATION_SCHEMA = WithJsonSchema(
    {
        "anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}],
        "examples": ["250ms", "30s", "5m", "7d"],
    },
    mode="validation",
)

Seconds: TypeAlias = Annotated[
    float, BeforeValidator(seconds), PlainSerializer(_seconds_text, return_type=str, when_used="json"), _DURATION_SCHEMA
]
"""A duration that our own code waits for."""

Nanoseconds: TypeAlias = Annotated[
    int,
    BeforeValidator(nanoseconds),
    PlainSerializer(duration_text, return_type=str, when_used="json"),
    _DURATION_SCHEMA,
]
"""A duration of a server object, in the server's unit."""

Bytes: TypeAlias = Annotated[
    int,
    BeforeValidator(size),
    PlainSerializer(size_text, return_type=str | int, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": -1}], "examples": ["512MiB", "10GiB"]},
        mode="validation",
    ),
]
"""A size in bytes."""
