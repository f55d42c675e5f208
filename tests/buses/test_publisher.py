"""The window of unconfirmed publishes, the line before it, and what ends the wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from eventbus_runtime.buses.base import PubAck
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.errors import BusUnavailableError, NoStreamError, PublishError
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import Sink, bus_on, frozen, poll
from tests.conftest import MakeServer

WINDOW, WINDOW_BYTES = 4096, 32 << 20


class Timers:
    """An event loop, as far as `Requests` uses one, that keeps the timers that are armed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handles: list[asyncio.TimerHandle] = []
        self.create_future = loop.create_future

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        def due() -> None:
            self._handles.remove(handle)
            callback()

        handle = self._loop.call_later(delay, due)
        self._handles.append(handle)
        return handle

    @property
    def armed(self) -> int:
        """How many will still go off."""
        return sum(not handle.cancelled() for handle in self._handles)


async def with_stream(bus: NatsBus) -> None:
    """Connect, and have a stream for `p.>`."""
    await bus.wait_connected()
    await bus.api("STREAM.CREATE.P", {"name": "P", "subjects": ["p.>"]})


async def stored(bus: NatsBus) -> int:
    """How many messages the stream has."""
    return int((await bus.api("STREAM.INFO.P"))["state"]["messages"])


def state(bus: NatsBus) -> tuple[int, int, int]:
    """How many publishes are with the server, with how many bytes, and how many stand in line."""
    publisher = bus._publisher
    return len(publisher._open), publisher._open_bytes, len(publisher._line)


def waiting(bus: NatsBus) -> int:
    """How many answers are awaited."""
    return len(bus._life.live().requests._waiting)


def start(bus: NatsBus, count: int, **options: Any) -> list[asyncio.Task[PubAck]]:
    """Publish `count` messages of one byte, each in a task of its own."""
    return [asyncio.ensure_future(bus.publish("p.a", b"x", **options)) for _ in range(count)]


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_beyond_the_window_publishes_wait_in_the_order_of_their_calls(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await with_stream(bus)
        with frozen(server):
            tasks = start(bus, WINDOW + 900, timeout=60)
            await turns()
            assert state(bus) == (WINDOW, WINDOW, 900)
        assert [ack.sequence for ack in await asyncio.gather(*tasks)] == list(range(1, WINDOW + 901))
        assert state(bus) == (0, 0, 0)
        assert waiting(bus) == 0


async def test_ten_thousand_publishes_of_one_task_are_stored_in_the_order_of_their_calls(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await with_stream(bus)
        kinds: list[dict[str, Any]] = [{}, {"id": "a"}, {"headers": {"type": "order"}}]
        acks = await asyncio.gather(
            *(
                bus.publish("p.a", b"x", **(kinds[n % 3] | ({"id": str(n)} if n % 3 == 1 else {})), timeout=30)
                for n in range(10_000)
            )
        )
        assert acks == [("P", n, False) for n in range(1, 10_001)]
        assert bus.counters.published == 10_000


async def test_the_window_is_bounded_in_bytes_too(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await with_stream(bus)
        with frozen(server):
            large = [bus.publish("p.a", bytes(1 << 20), timeout=60) for _ in range(40)]
            tasks = [asyncio.ensure_future(each) for each in (*large, bus.publish("p.a", b"small", timeout=60))]
            await turns()
            assert state(bus) == (32, WINDOW_BYTES, 9)
        assert [ack.sequence for ack in await asyncio.gather(*tasks)] == list(range(1, 42))
        assert state(bus) == (0, 0, 0)


async def test_a_message_larger_than_the_window_goes_alone_in_its_turn(make_server: MakeServer) -> None:
    server = make_server("max_payload: 60MB")
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        # In memory: a file store takes no message of this size.
        await bus.api("STREAM.CREATE.P", {"name": "P", "subjects": ["p.>"], "storage": "memory"})
        with frozen(server):
            bodies = [b"x", bytes(WINDOW_BYTES + 1), b"x"]
            tasks = [asyncio.ensure_future(bus.publish("p.a", body, timeout=60)) for body in bodies]
            await turns()
            assert state(bus) == (1, 1, 2)
        assert [ack.sequence for ack in await asyncio.gather(*tasks)] == [1, 2, 3]


async def test_a_cancelled_publish_leaves_nothing_behind_and_lets_the_next_in(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await with_stream(bus)
        with frozen(server):
            tasks = start(bus, WINDOW + 10, timeout=60)
            await turns()
            for n in (0, 7, WINDOW, WINDOW + 5):  # two that were sent, and two in line, one of them the next
                tasks[n].cancel()
            await turns()
            assert state(bus) == (WINDOW, WINDOW, 6)
            assert waiting(bus) == WINDOW + 6
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [n for n, result in enumerate(results) if not isinstance(result, PubAck)] == [0, 7, WINDOW, WINDOW + 5]
        assert state(bus) == (0, 0, 0)
        assert waiting(bus) == 0
        assert await stored(bus) == WINDOW + 8  # what was sent before it was cancelled is stored


async def test_the_time_in_line_counts_and_nothing_is_sent_afterwards(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await with_stream(bus)
        with frozen(server):
            tasks = start(bus, WINDOW, timeout=60)
            await turns()
            with pytest.raises(PublishError, match=rf"within 0\.1 s; nothing was sent to 'p\.a': {WINDOW} publishes"):
                await bus.publish("p.a", b"x", timeout=0.1)
            assert state(bus) == (WINDOW, WINDOW, 0)
        await asyncio.gather(*tasks)
        assert await stored(bus) == WINDOW


async def test_room_that_time_outs_give_back_is_used_and_late_confirmations_are_ignored(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await with_stream(bus)
        with frozen(server):
            given_up, kept = start(bus, WINDOW, timeout=0.1), start(bus, 2, timeout=60)
            results = await asyncio.gather(*given_up, return_exceptions=True)
            assert {type(result) for result in results} == {PublishError}
            assert "may have been stored: publish it again with the same id" in str(results[0])
            assert state(bus) == (2, 2, 0)
        assert [ack.sequence for ack in await asyncio.gather(*kept)] == [WINDOW + 1, WINDOW + 2]
        assert waiting(bus) == 0


async def test_one_timer_serves_all_time_outs_and_none_is_left(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await with_stream(bus)
        requests = bus._life.live().requests
        timers = Timers(asyncio.get_running_loop())
        requests._arm(0.0)
        assert requests._timer is not None
        requests._timer.cancel()
        requests._timer, requests._served_from, requests._loop = None, float("inf"), timers  # type: ignore[assignment]
        with frozen(server):
            tasks = []
            for n in range(200):
                tasks += start(bus, 1, timeout=(60 - n / 10, 0.2, 0.1)[n % 3])
                await asyncio.sleep(0)
                assert timers.armed == 1
            ended = [task for n, task in enumerate(tasks) if n % 3]
            await asyncio.gather(*ended, return_exceptions=True)
            assert timers.armed == 1
        await asyncio.gather(*tasks, return_exceptions=True)
        tasks = start(bus, 3, timeout=0.1)
        await asyncio.gather(*tasks)
        await bus.close()
        assert timers.armed == 0


async def test_the_timer_is_not_armed_again_when_nothing_waits(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await with_stream(bus)
        requests = bus._life.live().requests
        await bus.publish("p.a", b"x")
        assert waiting(bus) == 0
        requests._tick()
        assert requests._timer is None


async def test_a_short_time_out_is_kept_behind_long_ones_and_never_early(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        silent = (await bus.open_inbox(Sink())).subject
        took: dict[float, float] = {}

        async def give_up(timeout: float) -> None:
            begun = time.monotonic()
            with contextlib.suppress(PublishError):
                await bus.publish(silent, b"", timeout=timeout)
            took[timeout] = time.monotonic() - begun

        long = asyncio.ensure_future(give_up(60))
        await asyncio.gather(*map(give_up, (0.3, 0.01, 0.15, 0.16, 0.0)))
        assert not long.done()
        assert list(took)[-1] == 0.3
        assert all(seconds >= timeout for timeout, seconds in took.items())
        long.cancel()


async def test_a_lost_connection_fails_all_at_once_and_says_what_was_sent(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await with_stream(bus)
        with frozen(server):
            tasks = start(bus, WINDOW + 1000, timeout=60)
            await turns()
            server.kill()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {BusUnavailableError}
        assert all("lost its connection" in str(result) for result in results)
        assert all("may have been stored" in str(result) for result in results[:WINDOW])
        assert all("nothing was sent to 'p.a'" in str(result) for result in results[WINDOW:])
        assert state(bus) == (0, 0, 0)
        server.start()
        await bus.wait_connected()
        assert (await bus.publish("p.a", b"x")).stream == "P"
        assert waiting(bus) == 0


def recorded(bus: NatsBus) -> list[bytes]:
    """What the publisher sends from now on."""
    commands: list[bytes] = []
    write = bus._publisher._write

    def record(command: bytes) -> None:
        commands.append(command)
        write(command)

    bus._publisher._write = record
    return commands


async def test_no_responders_are_tried_again_since_a_stream_may_come(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        commands = recorded(bus)
        publishing = asyncio.ensure_future(bus.publish("p.a", b"x", id="a"))
        await poll(lambda: len(commands) == 1 and state(bus) == (0, 0, 0))  # answered, so it pauses
        await bus.api("STREAM.CREATE.P", {"name": "P", "subjects": ["p.>"]})
        assert await publishing == ("P", 1, False)
        assert len(commands) == 2


@pytest.mark.parametrize(("timeout", "tries"), [(60.0, 3), (0.4, 2), (0.2, 1)])
async def test_no_responders_are_tried_twice_again_but_never_beyond_the_time(
    server: NatsServer, timeout: float, tries: int
) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        commands = recorded(bus)
        begun = time.monotonic()
        with pytest.raises(NoStreamError, match="no stream stores 'nowhere'"):
            await bus.publish("nowhere", b"", timeout=timeout)
        assert len(commands) == tries
        assert time.monotonic() - begun >= 0.25 * (tries - 1)
        assert waiting(bus) == 0


@pytest.mark.parametrize("end", ["cancelled", "connection lost"])
async def test_the_pause_before_a_retry_ends_cleanly(server: NatsServer, end: str) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        commands = recorded(bus)
        publishing = asyncio.ensure_future(bus.publish("nowhere", b"", timeout=60))
        await poll(lambda: len(commands) == 1 and state(bus) == (0, 0, 0))
        if end == "cancelled":
            publishing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await publishing
            assert waiting(bus) == 0
        else:
            server.kill()
            with pytest.raises(BusUnavailableError, match="lost its connection"):
                await publishing
        assert len(commands) == 1
