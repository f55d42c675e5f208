"""Subjects that servers let anybody publish, and that must cost nobody the connection."""

from __future__ import annotations

import os
from typing import Any

import pytest

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.buses.nats.reader import VARIABLE
from eventbus_runtime.message import Message
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import Sink, bus_on

# nats-py's parser takes the first three for white space, and can't tell the last two from others.
ODD = (b"s.a\x0b7", b"s.a\x0c", b"s.\r", b"s.a\xff\xfe", b"s.\xc2\x85", b"s.a\0b")
HEADERS = b"NATS/1.0\r\nA: 1\r\n\r\n"


def published(subject: bytes, payload: bytes) -> bytes:
    """The command with an odd reply, past our own checks of subjects."""
    sizes = len(HEADERS), len(HEADERS) + len(payload)
    return b"HPUB %b r%b %d %d\r\n%b%b\r\n" % (subject, subject, *sizes, HEADERS, payload)


@pytest.fixture(autouse=True)
def _batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "batch")


async def test_they_come_to_an_inbox_as_they_are_with_payloads_of_any_size(server: NatsServer) -> None:
    bodies = [b"", os.urandom(100), os.urandom(70_000), os.urandom(1_000_000)]
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        link = bus._life.live()
        link._subscribe("s.>", sink)
        expected = [(subject, b"r" + subject, body, HEADERS) for subject in ODD for body in bodies]
        for subject, _, body, _ in expected:
            bus._life.writer.write(published(subject, body))
        assert await sink.until(len(expected)) == expected
        assert await bus.ping()
        assert bus.counters.reconnects == 0


async def test_a_consumer_delivers_them_to_a_bus_that_stays_connected(server: NatsServer) -> None:
    config: dict[str, Any] = {"durable_name": "c", "ack_policy": "explicit"}
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
        await bus.api("CONSUMER.DURABLE.CREATE.S.c", {"stream_name": "S", "config": config})
        for n, subject in enumerate(ODD):
            bus._life.writer.write(published(subject, b"%d" % n))
        assert await bus.ping()
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        bus.send([Frame(bus.api_subject("CONSUMER.MSG.NEXT.S.c"), b'{"batch":%d}' % len(ODD), inbox.subject)])
        raws = await sink.until(len(ODD))
        assert [raw[0] for raw in raws] == list(ODD)
        assert [raw[2] for raw in raws] == [b"%d" % n for n in range(len(ODD))]
        assert [Message(raw).sequence for raw in raws] == list(range(1, len(ODD) + 1))
        assert [Message(raw).subject.encode("utf-8", "surrogateescape") for raw in raws] == list(ODD)
        bus.answer_all([raw[1] for raw in raws], reply=inbox.subject)
        await sink.until(len(ODD) + 1)
        info = await bus.api("CONSUMER.INFO.S.c")
        assert info["num_ack_pending"] == 0
        assert bus.counters.reconnects == 0
