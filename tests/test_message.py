"""`Message`: the origin's six fields and the rest, read from the wire only when asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.message import AckToken, Message, rfc3339

NINE = "$JS.ACK.ORDERS.billing.3.17.20.1700000000123456789.4"
ELEVEN = "$JS.ACK.hub.ACC0UNT.ORDERS.billing.3.17.20.1700000000123456789.4"
READ = AckToken("", "ORDERS", "billing", 3, 17, 20, 1700000000123456789, 4)


@pytest.mark.parametrize(
    ("token", "read"),
    [
        (NINE, READ),
        (ELEVEN, READ._replace(domain="hub")),
        (ELEVEN.replace("hub", "_"), READ),
        (f"{ELEVEN}.rnd0m", READ._replace(domain="hub")),
        (f"{ELEVEN}.more.still", READ._replace(domain="hub")),
    ],
    ids=["9", "11", "11 without domain", "12", "13"],
)
def test_tokens_of_9_and_of_11_and_more_parts(token: str, read: AckToken) -> None:
    """NATS ADR-15."""
    assert AckToken.parse(token) == read


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "$JS.ACK",
        f"{NINE}.x",
        f"{NINE}.5",
        NINE.rpartition(".")[0],
        NINE.replace("$JS", "$KV"),
        NINE.replace("ACK", "API"),
        NINE.replace(".17.", ".x."),
        NINE.replace(".3.", ".."),
        "_INBOX.a.b",
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="is not a JetStream acknowledgement subject"):
        AckToken.parse(token)


@given(st.text())
def test_no_text_makes_a_token_raise_anything_else(token: str) -> None:
    for text in (token, f"$JS.ACK.{token}", f"$JS.ACK.S.c.1.1.1.1.{token}"):
        try:
            AckToken.parse(text)
        except ValueError as error:
            assert "is not a JetStream acknowledgement subject" in str(error)  # noqa: PT017


def message(block: bytes | None = None) -> Message:
    return Message((b"orders.created", NINE.encode(), b'{"id": 1}', block))


@pytest.mark.seed("S-53")
def test_the_six_fields_and_what_the_token_says() -> None:
    """S-53."""
    one = message(b"NATS/1.0\r\nA: 1\r\n\r\n")
    assert (one.subject, one.payload, dict(one.headers)) == ("orders.created", b'{"id": 1}', {"A": "1"})
    assert (one.sequence, one.ack_token) == (17, NINE)
    assert one.published_at == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    assert (one.timestamp_ns, one.stream, one.consumer) == (1700000000123456789, "ORDERS", "billing")
    assert (one.delivery_count, one.pending, one.json()) == (3, 4, {"id": 1})


@pytest.mark.seed("S-53")
def test_the_origins_six_keys() -> None:
    """S-53: the sequence is a decimal string, the time is RFC 3339 with all its nanoseconds."""
    assert message(b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n").as_dict() == {
        "subject": "orders.created",
        "payload": b'{"id": 1}',
        "headers": {"A": "1"},
        "sequence": "17",
        "published_at": "2023-11-14T22:13:20.123456789Z",
        "ack_token": NINE,
    }


def test_headers_are_parsed_once() -> None:
    one = message(b"NATS/1.0\r\nA: 1\r\n\r\n")
    assert one.headers is one.headers
    assert one.token is one.token


def test_a_message_can_not_be_changed() -> None:
    one = message()
    for field in ("subject", "payload", "headers", "sequence", "published_at", "ack_token"):
        with pytest.raises(AttributeError):
            setattr(one, field, None)
    with pytest.raises(AttributeError):
        one.extra = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_500_000_000, "1970-01-01T00:00:01.5Z"),
        (10_000_000_000, "1970-01-01T00:00:10Z"),
        (999_999_999, "1970-01-01T00:00:00.999999999Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (1_700_000_000_123_000_000, "2023-11-14T22:13:20.123Z"),
        (-62_135_596_800_000_000_000, "0001-01-01T00:00:00Z"),
    ],
)
def test_nanoseconds_are_kept_and_trailing_zeros_left_out(nanoseconds: int, text: str) -> None:
    assert rfc3339(nanoseconds) == text


@given(st.integers(0, 250_000_000_000_000_000_000))
def test_a_time_reads_back_to_the_nanosecond(nanoseconds: int) -> None:
    whole, _, fraction = rfc3339(nanoseconds).removesuffix("Z").partition(".")
    seconds = (datetime.fromisoformat(whole) - datetime(1970, 1, 1)) // timedelta(seconds=1)
    assert seconds * 10**9 + int(fraction.ljust(9, "0") or 0) == nanoseconds


def test_a_message_for_a_test_is_as_the_server_would_deliver_it() -> None:
    one = Message.build(
        "orders.created",
        "größer",
        [("A", "1"), ("A", "2")],
        stream="S",
        consumer="c",
        sequence=5,
        delivery_count=2,
        timestamp_ns=7,
        pending=3,
    )
    assert (one.subject, one.payload, one.headers.getall("A")) == ("orders.created", "größer".encode(), ["1", "2"])
    assert (one.stream, one.consumer, one.sequence, one.delivery_count) == ("S", "c", 5, 2)
    assert (one.timestamp_ns, one.pending) == (7, 3)
    assert dict(Message.build("a", headers={"B": "1"}).headers) == {"B": "1"}
    assert len(Message.build("a").headers) == 0


def test_a_subject_that_is_not_utf8_can_be_read() -> None:
    assert Message((b"a.\xff", NINE.encode(), b"", None)).subject.encode("utf-8", "surrogateescape") == b"a.\xff"


def test_a_payload_that_is_not_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        Message.build("a", b"no").json()


def test_it_shows_where_it_came_from_and_not_its_payload() -> None:
    assert repr(message()) == f"<Message orders.created 9 B, {NINE}>"
