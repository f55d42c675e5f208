"""Messages as a stream stores them."""

from __future__ import annotations

import base64

from eventbus_runtime.buses.stored import StoredMessage
from eventbus_runtime.message import Message

BLOCK = b"NATS/1.0\r\nTag: one\r\nTag: two\r\nRaw: \xff\xfe\r\na b: odd\r\n\r\n"


def test_a_stored_message_is_what_its_consumer_delivered() -> None:
    told = {"subject": "orders.a", "seq": 17, "time": "2023-11-14T22:13:20.12345678Z", "data": "Ym9keQ=="}
    stored = StoredMessage.parse("ORDERS", {**told, "hdrs": base64.b64encode(BLOCK).decode()})
    token = b"$JS.ACK.ORDERS.billing.3.17.20.1700000000123456780.4"
    delivered = Message((b"orders.a", token, b"body", BLOCK))
    again = stored.delivered("billing", 3)
    assert (again.subject, again.payload, again.headers) == ("orders.a", b"body", delivered.headers)
    assert again.raw[3] == BLOCK
    assert (again.origin, again.consumer, again.delivery_count) == (delivered.origin, "billing", 3)
