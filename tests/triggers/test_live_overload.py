"""A server, a way to it, or a disk that takes nothing for a while: what is said piles up here, and stays right."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.message import Message
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import frozen, server_version
from tests.conftest import MakeServer
from tests.triggers.live import SOON, Gate, Live, Observer, running, sequence_of, until
from tests.triggers.proxy import Proxy

PATIENT = 'write_deadline: "20s"'
STALL = 3.0


class FailingGate(Gate):
    """What is to fail fails at the first try."""

    async def handler(self, message: Message) -> None:
        await super().handler(message)
        if message.payload.startswith(b"fail") and self.begun[message.payload] == 1:
            raise ValueError


async def fill(live: Live) -> None:
    """Publish until the socket takes no more."""
    while not live.bus.congested:
        live.bus.send([Frame("elsewhere", bytes(100_000))])
        await asyncio.sleep(0)


def waiting(live: Live) -> int:
    """Bytes that wait here for the socket, beside those that the event loop has taken."""
    return sum(len(command) for command, _ in live.bus._life.writer._queue)


async def test_slow_handlers_leave_the_servers_pending_where_it_is(server: NatsServer) -> None:
    gate = FailingGate()
    async with running(server, gate.handler, max_in_flight=10, consumer={"ack_wait": 0.5}) as live:
        await live.publish_stored(1000)
        await until(lambda: len(gate.begun) == 10)
        for _ in range(10):
            await asyncio.sleep(0.1)
            info = await live.info()
            assert (info.num_pending, info.num_ack_pending) == (990, 10)
        gate.opened.set()
        await until(live.drained)
        assert set(gate.begun.values()) == {1}


async def test_acks_that_pile_up_before_a_frozen_server_are_kept_once_and_lose_and_double_nothing(
    make_server: MakeServer,
) -> None:
    server = make_server(PATIENT)
    gate = FailingGate()
    async with (
        Observer(server.url) as observer,
        running(server, gate.handler, max_in_flight=2000, consumer={"max_ack_pending": -1}) as live,
    ):
        await live.publish_many(2000)
        await until(lambda: len(gate.begun) == 2000)
        with frozen(server):
            await fill(live)
            before = waiting(live)
            gate.opened.set()
            await until(lambda: live.trigger.counters.acked == 2000)
            at_once = waiting(live) - before
            await asyncio.sleep(STALL)
            assert waiting(live) - before < 1.5 * at_once, "what is not proven is not said again meanwhile"
        await until(live.drained)
        assert set(gate.begun.values()) == {1}
        assert (live.trigger.counters.acked, live.trigger.counters.redelivered) == (2000, 0)
        assert live.bus.counters.reconnects == 0
        await live.publish(b"after")
        await until(lambda: gate.begun[b"after"] == 1)
        await until(live.drained)
        await live.shown_to(observer)
        assert {sequence_of(token) for token in observer.settlements()} == set(range(1, 2002))


async def test_a_way_that_takes_nothing_for_longer_than_ack_wait_has_nothing_done_twice(
    make_server: MakeServer,
) -> None:
    """The server hears nothing and delivers all again, into the way that stalls. Acks and naks come late."""
    server = make_server(PATIENT)
    gate = FailingGate()
    async with (
        Proxy(server.port) as proxy,
        running(server, gate.handler, url=proxy.url, max_in_flight=200, consumer={"ack_wait": 1.5}, retry=SOON) as live,
    ):
        await live.publish(*(b"good %d" % number for number in range(100)))
        await live.publish(*(b"fail %d" % number for number in range(20)))
        await until(lambda: len(gate.begun) == 120)
        proxy.stall()
        await fill(live)
        gate.opened.set()
        await until(lambda: live.trigger.counters.acked == 100)
        await asyncio.sleep(STALL)
        proxy.mend()
        await until(live.drained)
        await asyncio.sleep(0.5)
        assert await live.drained()
        assert {payload for payload, times in gate.begun.items() if times > 1} == {b"fail %d" % n for n in range(20)}
        assert max(gate.begun.values()) == 2
        assert live.bus.counters.reconnects == 0


async def test_a_server_that_halts_again_and_again_as_on_a_slow_disk_has_nothing_lost_or_doubled(
    tmp_path: Path, make_server: MakeServer
) -> None:
    """Each write is synced where the server can be told so, and it stands still for most of the time: the nearest to a
    disk that hangs in fsync that needs no such disk."""
    always = ", sync_interval: always" if server_version() >= (2, 10) else ""
    server = make_server(f'jetstream {{ store_dir: "{tmp_path}"{always} }}\n{PATIENT}')
    starts: Counter[bytes] = Counter()

    async def handler(message: Message) -> None:
        starts[message.payload] += 1
        await asyncio.sleep(0.01)
        if message.payload.endswith(b"7") and starts[message.payload] == 1:
            raise ValueError

    async with running(server, handler, consumer={"ack_wait": 2.0}, retry=SOON, max_in_flight=64) as live:
        await live.publish_stored(3000)
        for _ in range(10):
            server.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.3)
            server.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.05)
        await until(live.drained, within=20)
        assert starts == {b"%d" % n: 2 if n % 10 == 7 else 1 for n in range(3000)}
        assert live.trigger.counters.acked == 3000
