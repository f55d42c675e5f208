"""`google.protobuf.Duration`, which the contracts' durations are."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from eventbus_runtime.config.units import nanoseconds
from eventbus_runtime.contracts.fields import Contract, Number

_SECOND = 10**9
_MOST = 315_576_000_000


class Duration(Contract):
    """A span of time, signed, to the nanosecond. Where a contract wants one, a text ("250ms", "1h30m"), a number of
    seconds or a `timedelta` will do.

    Args:
        seconds: whole seconds; at most 10,000 years.
        nanos: the rest, in nanoseconds, of the same sign.
    """

    seconds: Annotated[int, Number(1, "int64")] = Field(0, ge=-_MOST, le=_MOST)
    nanos: Annotated[int, Number(2, "int32")] = Field(0, gt=-_SECOND, lt=_SECOND)

    @classmethod
    def of(cls, nanoseconds: int) -> Self:
        """The duration of so many nanoseconds."""
        sign = -1 if nanoseconds < 0 else 1
        seconds, nanos = divmod(abs(nanoseconds), _SECOND)
        return cls(seconds=sign * seconds, nanos=sign * nanos)

    @property
    def nanoseconds(self) -> int:
        """All of it, in nanoseconds."""
        return self.seconds * _SECOND + self.nanos

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, timedelta):
            total = (value.days * 86400 + value.seconds) * _SECOND + value.microseconds * 1000
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            sign, amount = (-1, value[1:]) if isinstance(value, str) and value.startswith("-") else (1, value)
            negative = not isinstance(amount, str) and amount < 0
            total = sign * (-nanoseconds(-amount) if negative else nanoseconds(amount))  # type: ignore[operator]  # no text here
        else:
            return value
        return {"seconds": abs(total) // _SECOND * _sign(total), "nanos": abs(total) % _SECOND * _sign(total)}

    @model_validator(mode="after")
    def _of_one_sign(self) -> Self:
        if self.seconds * self.nanos < 0:
            raise ValueError("seconds and nanos of a duration must have the same sign")
        return self


def _sign(value: int) -> int:
    return -1 if value < 0 else 1
