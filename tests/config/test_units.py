"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.config.units import duration_text, nanoseconds, seconds, size, size_text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("7d", 604800),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        (2, 2),
        (0.5, 0.5),
        ("3", 3),
    ],
)
def test_a_duration_is_a_number_with_units_or_of_seconds(value: object, expected: float) -> None:
    assert seconds(value) == expected
    assert nanoseconds(value) == expected * 10**9


@pytest.mark.parametrize("value", ["", "s", "5 dayz", "-5s", "5s!", "ms5", True, None, [], "5KiB", "1e3s"])
def test_anything_else_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        nanoseconds(value)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "300000d"])
def test_a_duration_is_bounded(value: object) -> None:
    with pytest.raises(ValueError, match="out of range"):
        nanoseconds(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("512MiB", 2**29), ("10GiB", 10 * 2**30), ("1MB", 10**6), ("1 KiB", 1024), (5, 5), (-1, -1), ("7", 7)],
)
def test_a_size_is_a_number_with_a_unit_or_of_bytes(value: object, expected: int) -> None:
    assert size(value) == expected


@pytest.mark.parametrize("value", ["", "MiB", "5Mb", "-5B", -2, True, None, 1.5, 2**63, "9000000TiB"])
def test_anything_else_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size(value)


@given(st.integers(0, 10**18))
def test_a_duration_is_written_as_it_is_read(value: int) -> None:
    assert abs(nanoseconds(duration_text(value)) - value) <= value * 2**-52


@given(st.integers(-1, 2**50))
def test_a_size_is_written_as_it_is_read(value: int) -> None:
    assert size(size_text(value)) == value


def test_texts_are_short() -> None:
    assert [duration_text(value) for value in (0, 30 * 10**9, 90 * 10**9, 86400 * 10**9, 1)] == [
        "0s",
        "30s",
        "90s",
        "1d",
        "1ns",
    ]
    assert [size_text(value) for value in (2**29, 10 * 2**30, 1000, -1, 0)] == ["512MiB", "10GiB", 1000, -1, 0]
