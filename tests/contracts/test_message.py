"""A delivered message as the contract has it: consume and the trigger build it in one place (S-53)."""

from __future__ import annotations

import pytest

from eventbus_runtime import message
from eventbus_runtime.contracts import ConsumeResponse, Message
from eventbus_runtime.contracts.wire import from_bytes, to_bytes, to_json


@pytest.mark.seed("S-53")
def test_the_six_fields_of_a_delivered_message() -> None:
    """S-53: payload as bytes, the first value of each header, sequence as decimal text, time as RFC 3339 in UTC."""
    delivered = message.Message.build(
        "orders.created",
        b"\x00\xff",
        [("Kind", "a"), ("Kind", "b")],
        stream="ORDERS",
        consumer="billing",
        sequence=2**63,
        timestamp_ns=1700000000123456789,
    )
    made = Message.of(delivered)
    assert made == Message(
        subject="orders.created",
        payload=b"\x00\xff",
        headers={"Kind": "a"},
        sequence="9223372036854775808",
        published_at="2023-11-14T22:13:20.123456789Z",
        ack_token=delivered.ack_token,
    )
    assert from_bytes(Message, to_bytes(made)) == made


def test_one_that_is_no_utf8_goes_out_with_the_rest_of_its_batch() -> None:
    """An error would bring the whole batch again, for ever."""
    raw = (b"s.\xff", b"$JS.ACK.S.c.1.1.1.1.0", b"\xff", b"NATS/1.0\r\nA: \xfe\r\n\r\n")
    batch = ConsumeResponse(messages=(Message.of(message.Message(raw)), Message(subject="s.next")))
    first, second = from_bytes(ConsumeResponse, to_bytes(batch)).messages
    assert (first.subject, first.payload, first.headers) == ("s.\ufffd", b"\xff", {"A": "\ufffd"})
    assert first.ack_token == "$JS.ACK.S.c.1.1.1.1.0"
    assert second.subject == "s.next"
    assert to_json(batch)["messages"][0]["subject"] == "s.\ufffd"
