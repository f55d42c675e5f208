"""What a dead letter says of itself, and which ones a filter means: without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus_runtime.buses.stored import StoredMessage
from eventbus_runtime.dead_letters.letter import Letter, Place
from eventbus_runtime.dead_letters.selection import Picked, Span, Wanted
from eventbus_runtime.dead_letters.streams import Stream
from eventbus_runtime.dead_letters.unfinished import Attempt, Unfinished
from eventbus_runtime.headers import Headers

STREAM = Stream("DEAD", "2026-01-31T10:00:00Z", ("dead.>",), False, False, 120.0, 5, 90)


def letter(time: str = "2026-01-31T10:00:00.5Z", payload: bytes = b"", **headers: str) -> Letter:
    named = [(f"Eventbus-{name.replace('_', '-')}", value) for name, value in headers.items()]
    return Letter(StoredMessage("DEAD", 17, time, "dead.orders", Headers(named), payload), ("billing",))


@pytest.mark.parametrize(
    ("time", "stamp"),
    [
        ("2026-01-31T10:00:00Z", 1769853600_000000000),
        ("2026-01-31T10:00:00.5Z", 1769853600_500000000),
        ("2026-01-31T10:00:00.123456789Z", 1769853600_123456789),
        ("2026-01-31T10:00:00.000000001Z", 1769853600_000000001),
    ],
)
def test_its_time_keeps_every_nanosecond(time: str, stamp: int) -> None:
    assert letter(time).message.timestamp_ns == stamp
    assert letter(time).replay_id == f"DEAD.17.{stamp}.replay"


def test_since_is_included_and_until_is_not() -> None:
    stamp = letter().message.timestamp_ns
    assert Wanted(since=stamp, until=stamp + 1).matches(letter())
    assert not Wanted(until=stamp).matches(letter())
    assert not Wanted(since=stamp + 1).matches(letter())


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ((), (5, 90)),
        ((Span(17, 17),), (17, 17)),
        ((Span(30, 40), Span(10, 20)), (10, 40)),
        ((Span(30, 40), Span(10, None)), (10, 90)),
        ((Span(1, 99),), (5, 90)),
    ],
)
def test_sequences_bound_what_is_read(spans: tuple[Span, ...], expected: tuple[int, int]) -> None:
    assert Wanted(sequences=spans).within(STREAM) == expected


@pytest.mark.parametrize("said", ["", "x", "-1", "1.5", "²", "9" * 400])
def test_what_should_be_a_number_and_is_none_is_not_known(said: str) -> None:
    strange = letter(Sequence=said, Delivery_Count=said, Replayed=said, Payload_Left_Out=said)
    assert (strange.origin.sequence, strange.delivery_count, strange.replays, strange.left_out) == (None, None, 0, None)


def test_they_are_taken_in_chunks_by_number_and_by_size() -> None:
    picked = Picked(Place("main", "dead.orders", ()), STREAM)
    for payload in (b"", b"x" * (5 << 20), b"x" * (5 << 20), b"", b"", b""):
        picked.add(letter(payload=payload))
    assert [len(chunk) for chunk in picked.chunks()] == [2, 4]
    assert [len(chunk) for chunk in picked.chunks(3)] == [2, 3, 1]
    assert len(picked) == 6


def test_a_note_outlives_a_kill_and_its_first_words_stay(tmp_path: Path) -> None:
    first, later = Attempt("a", "ORDERS", "then", 7, 1.0), Attempt("a", "ORDERS", "then", 9, 2.0)
    other = Attempt("b", "ORDERS", "then", 9, 2.0)
    with Unfinished(tmp_path, STREAM) as noted:
        noted.begin({1: first})
        noted.begin({1: later, 2: other})
        killed = noted.path.read_bytes()
    noted.path.write_bytes(killed + b'{"3": ["c", "OR')  # cut short: its publishes never were
    with Unfinished(tmp_path, STREAM) as noted:
        assert noted.attempts == {1: first, 2: other}
        noted.end([1])
    with Unfinished(tmp_path, STREAM) as noted:
        assert noted.attempts == {2: other}
        noted.end([2])
        assert noted.path.read_bytes() == b""
    assert not noted.path.parent.exists()


def test_a_stream_made_anew_has_notes_of_its_own(tmp_path: Path) -> None:
    another = Unfinished(tmp_path, STREAM._replace(created="2026-02-01T10:00:00Z"))
    assert another.path != Unfinished(tmp_path, STREAM).path
