"""The table of what servers say, and that nothing that comes from outside can raise."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventbus_runtime.triggers.status import Answer, Status

COUNTS = "\r\nNats-Pending-Messages: 7\r\nNats-Pending-Bytes: 120"

SAID = [
    ("100 Idle Heartbeat\r\nNats-Last-Consumer: 3\r\nNats-Last-Stream: 9", Answer.HEARTBEAT),
    ("100 FlowControl Request", Answer.HEARTBEAT),
    ("400 Bad Request - heartbeat value too large", Answer.FATAL),
    ("400 Bad Request - Priority Group missing", Answer.FATAL),
    ("404 No Messages", Answer.CLOSED),
    ("408 Request Timeout" + COUNTS, Answer.CLOSED),
    ("408 Interest Expired" + COUNTS, Answer.CLOSED),
    ("408 Requests Pending", Answer.CLOSED),
    ("409 Exceeded MaxRequestBatch of 10", Answer.REFUSED),
    ("409 Exceeded MaxRequestExpires of 1s", Answer.REFUSED),
    ("409 Exceeded MaxRequestMaxBytes of 1024", Answer.REFUSED),
    ("409 Exceeded MaxWaiting", Answer.REFUSED),
    ("409 Message Size Exceeds MaxBytes" + COUNTS, Answer.TOO_BIG),
    ("409 Batch Completed" + COUNTS, Answer.CLOSED),
    ("409 Consumer Deleted", Answer.DELETED),
    ("409 Consumer is push based", Answer.FATAL),
    ("409 Leadership Change", Answer.INTERRUPTED),
    ("409 Server Shutdown" + COUNTS, Answer.INTERRUPTED),
    ("412 Required Api Level", Answer.FATAL),
    ("423 Nats-Pin-Id mismatch", Answer.CLOSED),
    ("423 Nats-Wrong-Pin-Id" + COUNTS, Answer.CLOSED),
    ("503", Answer.NOBODY),
    ("503\r\nNats-Subject: $JS.API.CONSUMER.MSG.NEXT.S.c", Answer.NOBODY),
]


@pytest.mark.parametrize(("said", "answer"), SAID, ids=[said.partition("\r")[0] for said, _ in SAID])
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper], ids=["as written", "lower case", "upper case"])
def test_what_servers_of_2_9_to_2_15_say(said: str, answer: Answer, spelling: type[str]) -> None:
    line, _, headers = said.partition("\r\n")
    status = Status.parse(f"NATS/1.0 {spelling(line)}\r\n{headers}\r\n\r\n".encode())
    code, _, text = spelling(line).partition(" ")
    assert (status.answer, status.code, status.text) == (answer, int(code), text)
    assert (status.pending, status.pending_bytes) == ((7, 120) if "Pending-Messages" in headers else (None, None))


@pytest.mark.parametrize("said", ["409 Something New", "418 Short And Stout", "599"])
def test_an_unknown_answer_closes_with_counts_and_refuses_without(said: str) -> None:
    assert Status.parse(f"NATS/1.0 {said}{COUNTS}\r\n\r\n".encode()).answer is Answer.CLOSED
    assert Status.parse(f"NATS/1.0 {said}\r\n\r\n".encode()).answer is Answer.REFUSED


@pytest.mark.parametrize(
    "block",
    [
        None,
        b"",
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0\r\nA: b\r\n\r\n",
        b"hello",
        b"NATS/1.0 4x8 y",
        "NATS/1.0 ²²² y".encode(),
    ],
)
def test_what_is_no_status_closes_at_most_its_request(block: bytes | None) -> None:
    assert Status.parse(block).answer is Answer.CLOSED
    assert Status.parse(block).code == 0


@pytest.mark.parametrize(
    ("count", "read"),
    [("0", 0), ("12", 12), (" 12 ", 12), ("-1", 0), ("", None), ("many", None), ("1.5", None), ("9" * 5000, None)],
)
def test_counts_are_never_negative_and_junk_is_no_count(count: str, read: int | None) -> None:
    """A request with a negative batch is answered with a negative count."""
    block = f"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: {count}\r\nNats-Pending-Bytes: {count}\r\n\r\n"
    status = Status.parse(block.encode())
    assert (status.pending, status.pending_bytes) == (read, read)


@given(st.binary())
@example(b"NATS/1.0 " + b"9" * 5000 + b"\r\n\r\n")
def test_no_bytes_make_it_raise(block: bytes) -> None:
    for written in (
        block,
        b"NATS/1.0 " + block,
        b"NATS/1.0 409 " + block,
        b"NATS/1.0 408\r\nNats-Pending-Bytes:" + block,
    ):
        status = Status.parse(written)
        assert isinstance(status.answer, Answer)
        assert (status.pending or 0) >= 0
        assert "\n" not in str(status)


def test_it_reads_like_the_servers_line() -> None:
    assert str(Status.parse(b"NATS/1.0 408 Request Timeout\r\n\r\n")) == "408 Request Timeout"
    assert str(Status.parse(b"NATS/1.0 503\r\n\r\n")) == "503"
