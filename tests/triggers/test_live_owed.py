"""A server keeps 64 MiB for a connection that reads slowly, and cuts it then: it is never asked for more at once."""

from __future__ import annotations

import os
from collections import Counter

from eventbus_runtime.message import Message
from tests.conftest import MakeServer
from tests.triggers.live import Observer, running, until

MIB = 1 << 20


async def test_large_messages_beyond_what_the_server_keeps_for_a_client_come_without_a_cut(
    make_server: MakeServer,
) -> None:
    """Here it keeps 20 MB. Small ones first, so that the window is wide when the first large one comes."""
    server = make_server("max_pending: 20MB\nwrite_deadline: 10s")
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        handled[len(message.payload)] += 1

    async with running(server, handler, max_in_flight=1000) as live:
        body = os.urandom(MIB - 1000)
        for _ in range(150):
            await live.publish(body)
        await until(live.drained, within=60)
        assert handled == {MIB - 1000: 150}
        assert live.bus.counters.reconnects == 0


async def test_the_server_owes_few_until_it_is_known_how_large_they_are(make_server: MakeServer) -> None:
    """By its `max_payload` at first, 1 MiB here; then by what came."""
    server = make_server()

    async def handler(message: Message) -> None:
        pass

    async with (
        Observer(server.url, "$JS.API.CONSUMER.MSG.NEXT.>") as observer,
        running(server, handler, max_in_flight=1000) as live,
    ):
        await until(lambda: live.trigger._window.credit > 0)
        assert live.trigger._window.credit == 16
        await live.publish(b"")
        await until(lambda: live.trigger._window.credit == 1000)
        await live.publish(bytes(MIB // 2))
        await until(live.drained)
        await live.publish_stored(1000)
        await until(live.drained)
        await until(lambda: live.trigger._window.credit == 32)
        await live.shown_to(observer)
        assert b'"batch": 16' in observer.seen[0].payload
