"""Durations of the contracts: exact to the nanosecond, of both signs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration as ProtoDuration
from hypothesis import given
from pydantic import ValidationError

from eventbus_runtime.contracts import Duration
from tests.contracts.values import LONGEST, durations


@given(durations())
def test_text_and_nanoseconds_give_it_back_and_protobuf_writes_the_same(value: Duration) -> None:
    assert Duration.parse(str(value)) == value == Duration.of(value.nanoseconds)
    assert str(value) == ProtoDuration(seconds=value.seconds, nanos=value.nanos).ToJsonString()


@pytest.mark.parametrize(
    ("given", "nanoseconds"),
    [
        ("250ms", 250 * 10**6),
        ("1h30m", 5400 * 10**9),
        ("-2s", -2 * 10**9),
        ("-250ms", -250 * 10**6),
        ("123456789.123456789s", 123456789123456789),
        (2, 2 * 10**9),
        (-0.5, -(10**9) // 2),
        (timedelta(days=-1, microseconds=1), -86400 * 10**9 + 1000),
        ({"seconds": -1, "nanos": -5}, -(10**9) - 5),
    ],
)
def test_what_stands_for_one_in_python(given: Any, nanoseconds: int) -> None:
    assert Duration.model_validate(given).nanoseconds == nanoseconds


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        "1.0000000001x",
        True,
        float("nan"),
        float("inf"),
        {"seconds": 1, "nanos": -1},
        {"nanos": 10**9},
        None,
        b"1s",
    ],
)
def test_what_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        Duration.model_validate(given)


def test_more_than_ten_thousand_years_is_refused() -> None:
    assert str(Duration.of(-LONGEST)) == "-315576000000s"
    with pytest.raises(ValueError, match="at most 10,000 years"):
        Duration.of(LONGEST + 10**9)


@pytest.mark.parametrize("text", ["1", "s", ".5s", "1.s", "1.0000000001s", "+1s", "1 s", "1m", "\u0661s", "1s\n"])
def test_the_mapping_has_one_form(text: str) -> None:
    with pytest.raises(ValueError, match=r'expected seconds as text, as "1.5s"'):
        Duration.parse(text)
