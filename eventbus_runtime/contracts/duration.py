"""`google.protobuf.Duration`, which the contracts' durations are."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from eventbus_runtime.config.units import nanoseconds
from eventbus_runtime.contracts.fields import Contract, Number
from eventbus_runtime.contracts.told import shown

_SECOND = 10**9
_MOST = 315_576_000_000
_TEXT = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s")

PATTERN = rf"^{_TEXT.pattern}$"
"""How protobuf's JSON mapping writes one, as a regular expression of JSON Schema."""


class Duration(Contract):
    """A span of time, signed, to the nanosecond. Where a contract wants one, a text ("250ms", "1h30m"), a number of
    seconds or a `timedelta` will do.

    Args:
        seconds: whole seconds; at most 10,000 years.
        nanos: the rest, in nanoseconds, of the same sign.
    """

    seconds: Annotated[int, Number(1, "int64")] = Field(0, description="Whole seconds; at most 10,000 years.")
    nanos: Annotated[int, Number(2, "int32")] = Field(0, description="The rest, in nanoseconds, of the same sign.")

    @classmethod
    def of(cls, nanoseconds: int) -> Self:
        """The duration of so many nanoseconds.

        Raises:
            ValueError: that is more than 10,000 years.
        """
        parts = _parts(nanoseconds)
        _check(parts["seconds"])
        return cls(**parts)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what protobuf's JSON mapping writes, as "1.5s" or "-3s".

        Raises:
            ValueError: it is not that, or more than 10,000 years.
        """
        found = _TEXT.fullmatch(text)
        if not found:
            raise ValueError(f'expected seconds as text, as "1.5s", not {shown(text)}')
        return cls.of(_exact(found))

    @property
    def nanoseconds(self) -> int:
        """All of it, in nanoseconds."""
        return self.seconds * _SECOND + self.nanos

    def __str__(self) -> str:
        """As protobuf's JSON mapping writes it: "5s", "1.500s", "-0.000000001s"."""
        total = self.nanoseconds
        seconds, nanos = divmod(abs(total), _SECOND)
        digits = next(count for count in (0, 3, 6, 9) if nanos % 10 ** (9 - count) == 0)
        part = f".{nanos // 10 ** (9 - digits):0{digits}d}" if digits else ""
        return f"{'-' if total < 0 else ''}{seconds}{part}s"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        match value:
            case timedelta():
                return _parts((value.days * 86400 + value.seconds) * _SECOND + value.microseconds * 1000)
            case bool():
                return value
            case str() if found := _TEXT.fullmatch(value):
                return _parts(_exact(found))
            case str():
                return _parts(-nanoseconds(value[1:]) if value.startswith("-") else nanoseconds(value))
            case int() | float():
                return _parts(-nanoseconds(-value) if value < 0 else nanoseconds(value))
        return value

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        _check(self.seconds)
        if abs(self.nanos) >= _SECOND:
            raise ValueError("nanos of a duration must be less than 1,000,000,000")
        if self.seconds * self.nanos < 0:
            raise ValueError("seconds and nanos of a duration must have the same sign")
        return self


def _parts(total: int) -> dict[str, int]:
    sign = -1 if total < 0 else 1
    seconds, nanos = divmod(abs(total), _SECOND)
    return {"seconds": sign * seconds, "nanos": sign * nanos}


def _check(seconds: int) -> None:
    if abs(seconds) > _MOST:
        raise ValueError("a duration has at most 10,000 years")


def _exact(found: re.Match[str]) -> int:
    sign, whole, part = found.groups("")
    total = int(whole) * _SECOND + int(part.ljust(9, "0"))
    return -total if sign else total
