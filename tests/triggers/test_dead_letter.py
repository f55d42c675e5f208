"""What a dead letter carries, and that it can always be sent."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventbus_runtime.headers import Headers, encode
from eventbus_runtime.message import Message
from eventbus_runtime.triggers.dead_letter import REPLAYED, DeadLetter, build, reference, without_error

TOKEN = b"$JS.ACK.ORDERS.billing.3.17.20.1700000000123456789.4"


def message(block: bytes | None = None, payload: bytes = b"body") -> Message:
    return Message((b"orders.created", TOKEN, payload, block))


def headers(letter: DeadLetter) -> Headers:
    return Headers(letter.headers)


def test_it_is_the_original_and_why_it_is_here() -> None:
    before = time.time()
    letter = build(message(b"NATS/1.0\r\nType: order\r\n\r\n"), "exhausted", "ValueError: no")
    assert letter.payload == b"body"
    told = headers(letter)
    failed_at = told["Eventbus-Failed-At"]
    assert dict(told) == {
        "Type": "order",
        "Eventbus-Reason": "exhausted",
        "Eventbus-Error": "ValueError: no",
        "Eventbus-Stream": "ORDERS",
        "Eventbus-Consumer": "billing",
        "Eventbus-Sequence": "17",
        "Eventbus-Subject": "orders.created",
        "Eventbus-Delivery-Count": "3",
        "Eventbus-Failed-At": failed_at,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", failed_at)
    assert failed_at[:4] >= time.strftime("%Y", time.gmtime(before))


def test_its_id_is_the_same_for_each_delivery_and_another_for_each_message_and_consumer() -> None:
    assert build(message(), "a", "b").id == "ORDERS.17.1700000000123456789.billing.dead"
    again = Message((b"s", TOKEN.replace(b"billing.3.17.20", b"billing.9.17.99"), b"", None))
    assert build(again, "a", "b").id == build(message(), "a", "b").id
    for other in (
        TOKEN.replace(b".17.", b".18."),
        TOKEN.replace(b"billing", b"audit"),
        TOKEN.replace(b"123456789", b"123456780"),
        TOKEN.replace(b"ORDERS", b"OTHER"),
    ):
        assert build(Message((b"s", other, b"", None)), "a", "b").id != build(message(), "a", "b").id


def test_the_servers_own_headers_do_not_act_again() -> None:
    """A copied `Nats-Rollup` emptied the dead-letter stream."""
    block = b"NATS/1.0\r\nNats-Rollup: all\r\nnats-ttl: 5s\r\nNats-Msg-Id: 7\r\nNATS-Expected-Stream: S\r\n\r\n"
    told = headers(build(message(block), "rejected", ""))
    assert not [name for name in told if name.casefold().startswith("nats-")]
    assert told["Eventbus-Original-Rollup"] == "all"
    assert told["Eventbus-Original-ttl"] == "5s"
    assert told["Eventbus-Original-Msg-Id"] == "7"
    assert told["Eventbus-Original-Expected-Stream"] == "S"


def test_repeated_headers_and_bytes_that_are_not_utf8_stay() -> None:
    block = b"NATS/1.0\r\nTag: one\r\nTag: two\r\nRaw: \xff\xfe\r\nN\xc3\xa4me: v\r\n\r\n"
    letter = build(message(block), "rejected", "")
    assert headers(letter).getall("Tag") == ["one", "two"]
    assert b"\r\nRaw: \xff\xfe\r\n" in encode(letter.headers)
    assert headers(letter)["Näme"] == "v"


def test_what_an_earlier_dead_letter_said_is_replaced() -> None:
    first = build(message(b"NATS/1.0\r\nType: order\r\nNats-Msg-Id: 7\r\n\r\n"), "undecodable", "first")
    second = build(message(encode([*first.headers, ("eventbus-REASON", "x")])), "exhausted", "second")
    told = headers(second)
    assert told.getall("Eventbus-Reason") == ["exhausted"]
    assert told.getall("Eventbus-Error") == ["second"]
    assert "eventbus-REASON" not in told
    assert told["Eventbus-Original-Msg-Id"] == "7"
    assert len(told) == len(headers(first))


def test_what_a_reference_said_is_replaced_too() -> None:
    first = reference(build(message(), "rejected", ""))
    assert "Eventbus-Payload-Left-Out" in headers(first)
    assert "Eventbus-Payload-Left-Out" not in headers(build(message(encode(first.headers)), "rejected", ""))


def test_a_message_that_was_replayed_says_so_and_keeps_its_first_id() -> None:
    block = encode(
        [("Eventbus-Original-Msg-Id", "7"), (REPLAYED, "2"), ("Nats-Msg-Id", "DEAD.9.1700000000000000000.replay")]
    )
    letter = build(message(block), "rejected", "again")
    assert headers(letter)[REPLAYED] == "2"
    assert headers(letter).getall("Eventbus-Original-Msg-Id") == ["7"]
    assert headers(reference(letter))[REPLAYED] == "2"
    without_id = build(message(encode([(REPLAYED, "1"), ("Nats-Msg-Id", "DEAD.9.1700000000000000000.replay")])), "", "")
    assert "Eventbus-Original-Msg-Id" not in headers(without_id)


def test_names_and_values_that_could_not_be_sent_are_made_to_fit() -> None:
    block = b"NATS/1.0\r\nOrder Id: 1\r\nTwo: a\nb\r\nTab\tName: 2\r\n: nameless\r\n\r\n"
    told = headers(build(message(block), "rejected", ""))
    assert (told["Order_Id"], told["Tab_Name"], told["Two"]) == ("1", "2", "a b")
    assert "" not in told


def test_a_long_error_is_cut_and_put_on_one_line() -> None:
    told = headers(build(message(), "exhausted", "x" * 5000))
    assert len(told["Eventbus-Error"]) == 1000
    assert headers(build(message(), "exhausted", "a\r\nb\nc"))["Eventbus-Error"] == "a b c"


@pytest.mark.parametrize("error", ["lone \ud800", "half of a pair \udfff", "escaped \udcff"])
def test_an_error_that_quotes_what_is_no_text_does_not_keep_the_dead_letter_back(error: str) -> None:
    r"""JSON may say `"\ud800"`, and an error's text may quote it; it can't be encoded."""
    letter = build(message(), "exhausted", error)
    assert b"Eventbus-Error: " in encode(letter.headers)


def test_without_the_error_it_is_smaller_and_else_the_same() -> None:
    letter = build(message(b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n"), "exhausted", "long")
    smaller = without_error(letter)
    assert "Eventbus-Error" not in headers(smaller)
    assert [*smaller.headers, ("Eventbus-Error", "long")] != letter.headers
    assert sorted([*smaller.headers, ("Eventbus-Error", "long")]) == sorted(letter.headers)
    assert (smaller.payload, smaller.id) == (letter.payload, letter.id)


def test_a_reference_tells_which_message_it_was_and_no_more() -> None:
    letter = build(message(b"NATS/1.0\r\nBig: 1\r\nNats-X: 2\r\n\r\n", b"x" * 999), "exhausted", "long")
    least = reference(letter)
    told: Mapping[str, str] = headers(least)
    assert least.payload == b""
    assert told["Eventbus-Payload-Left-Out"] == "999"
    assert (told["Eventbus-Stream"], told["Eventbus-Sequence"], told["Eventbus-Reason"]) == (
        "ORDERS",
        "17",
        "exhausted",
    )
    assert not {"Big", "Eventbus-Error", "Eventbus-Original-X"} & set(told)
    assert least.id != letter.id  # the original, once it fits, is no double of this


@given(
    st.binary() | st.lists(st.tuples(st.binary(), st.binary())).map(lambda ps: b"\r\n".join(map(b":".join, ps))),
    st.text(),
)
@example(b"Na\xc2\xa0me: 1\r\n\xe2\x80\xa8: 2\r\n\x0b\x0c: 3", "\ud800")
def test_whatever_the_original_says_its_dead_letter_can_be_sent(block: bytes, error: str) -> None:
    letter = build(message(b"NATS/1.0\r\n" + block), "exhausted", error)
    for each in (letter, without_error(letter), reference(letter)):
        sent = Headers.parse(encode(each.headers))
        assert sent["Eventbus-Sequence"] == "17"
        assert not [name for name in sent if name.casefold().startswith("nats-")]
