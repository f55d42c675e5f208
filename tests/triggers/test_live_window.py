"""Invariant 1: never more than `max_in_flight` deliveries, here or at the server, and never fewer without need."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from eventbus_runtime.message import Message
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers.pull import Limits
from eventbus_runtime.triggers.pull_bytes import ByteWindow
from tests.triggers.live import (
    PULLS_AND_ACKS,
    Observer,
    connected,
    make_consumer,
    make_stream,
    make_trigger,
    running,
    until,
)
from tests.triggers.proxy import Proxy


class Crowd:
    """Counts who is in a handler."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.handled: Counter[int] = Counter()

    async def stay(self, message: Message, seconds: float) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(seconds)
        self.inside -= 1
        self.handled[message.sequence] += 1


async def test_the_server_never_counts_more_than_max_in_flight_even_when_handlers_outlive_ack_wait(
    server: NatsServer,
) -> None:
    """Invariants 1 and 4: window 2, ack_wait 2 s, handlers of 1.5 s and one of 5 s."""
    crowd = Crowd()

    async def handler(message: Message) -> None:
        await crowd.stay(message, 5.0 if message.sequence == 2 else 1.5)

    async with running(server, handler, consumer={"ack_wait": 2.0}, max_in_flight=2) as live:
        await live.publish_stored(5)
        most = before = 0

        async def done() -> bool:
            nonlocal most, before
            info = await live.info()
            # The server works off acks and requests in two queues: for an instant it may see ours in the wrong order.
            most, before = max(most, min(before, info.num_ack_pending)), info.num_ack_pending
            return len(crowd.handled) == 5 and info.num_pending == 0 and info.num_ack_pending == 0

        await until(done, within=20)
        assert most == 2
        assert crowd.most == 2
        assert crowd.handled == dict.fromkeys(range(1, 6), 1)
        assert live.trigger.counters.redelivered == 0


@pytest.mark.timed
async def test_quick_messages_pass_by_slow_ones_through_the_slots_that_are_free(server: NatsServer) -> None:
    """256 slots, 130 of them in handlers of 5 s: to ask again only at half of the window would starve the rest."""
    crowd = Crowd()
    quick = 0

    async def handler(message: Message) -> None:
        nonlocal quick
        if message.subject == "s.slow":
            await crowd.stay(message, 5.0)
        else:
            quick += 1

    async with running(server, handler, max_in_flight=256) as live:
        await live.publish_many(130, subject="s.slow")
        await until(lambda: crowd.inside == 130)
        started = time.monotonic()
        await live.publish_many(1000, subject="s.quick")
        await until(lambda: quick == 1000, within=2)
        assert time.monotonic() - started < 2
        assert crowd.inside == 130
        live.trigger.stop(0.0)


async def test_a_blocked_event_loop_looks_like_silence_and_changes_nothing(server: NatsServer) -> None:
    """Before silence is believed the server is asked, and what came meanwhile is handled: no second set of requests."""
    crowd = Crowd()

    async def handler(message: Message) -> None:
        await crowd.stay(message, 0.02)

    limits = Limits(expires=30.0, heartbeat=0.3)
    async with (
        Observer(server.url, *PULLS_AND_ACKS) as observer,
        running(server, handler, max_in_flight=10, limits=limits) as live,
    ):
        await live.publish_many(100)
        await until(lambda: len(crowd.handled) >= 20)
        time.sleep(2.0)
        await live.publish_many(100)
        await until(lambda: len(crowd.handled) == 200)
        await live.shown_to(observer)
        assert crowd.most == 10
        assert observer.most_owed() == 10
        assert live.trigger.counters.pull_restarts == 0
        assert set(crowd.handled.values()) == {1}


async def test_a_connection_cut_for_a_moment_never_makes_it_hold_more_than_its_window(server: NatsServer) -> None:
    """A request that outlived its connection would bring a second window's worth."""
    crowd = Crowd()

    async def handler(message: Message) -> None:
        await crowd.stay(message, 0.05)

    async with (
        Proxy(server.port) as proxy,
        running(server, handler, url=proxy.url, max_in_flight=10, consumer={"ack_wait": 1.0}) as live,
    ):
        await live.publish_many(400)
        for wanted in (30, 150):
            await until(lambda wanted=wanted: len(crowd.handled) >= wanted)  # type: ignore[misc]
            proxy.cut()
            await asyncio.sleep(0.05)
            proxy.mend()
        await until(lambda: len(crowd.handled) == 400, within=20)
        await until(live.drained)
        assert crowd.most == 10


async def test_what_is_asked_for_never_exceeds_the_window_as_counted_from_outside(server: NatsServer) -> None:
    """Credit: the sum of all batches asked for is at most what was settled plus one window."""
    crowd = Crowd()

    async def handler(message: Message) -> None:
        await crowd.stay(message, 0.001)

    async with Observer(server.url, *PULLS_AND_ACKS) as observer, running(server, handler, max_in_flight=16) as live:
        await live.publish_many(500)
        await until(lambda: len(crowd.handled) == 500)
        await until(live.drained)
        await live.shown_to(observer)
        assert observer.most_owed() == 16
        assert list(observer.settlements().values()) == [[b""]] * 500


@pytest.mark.seed("S-51")
async def test_it_refuses_a_second_run_and_goes_on_with_the_first(server: NatsServer) -> None:
    """S-51: a second start without stop is an error and leaves the first loop running."""
    handled: list[int] = []

    async def handler(message: Message) -> None:
        handled.append(message.sequence)

    async with running(server, handler) as live:
        with pytest.raises(Exception, match="running already"):
            await live.trigger.run()
        await live.publish(b"one")
        await until(lambda: handled == [1])


@pytest.mark.seed("S-51")
async def test_a_stop_before_the_start_makes_the_start_a_stopped_one(server: NatsServer) -> None:
    """S-51: stop is safe before start."""

    async def handler(message: Message) -> None:
        pass

    async with connected(server.url) as bus:
        trigger = make_trigger(bus, handler, [])
        trigger.stop(1.0)
        trigger.stop(1.0)
        async with asyncio.timeout(2):
            await trigger.run()
        assert str(trigger.state) == "stopped"


async def test_of_a_trigger_that_crashed_nothing_is_in_flight(server: NatsServer) -> None:
    """By hand: what the crash itself must settle."""

    async def handler(message: Message) -> None:
        pass

    async with connected(server.url) as bus:
        await make_stream(bus)
        await make_consumer(bus)
        trigger = make_trigger(bus, handler, [], ack="manual")
        running_it = asyncio.create_task(trigger.run())
        await bus.publish("s.a")
        await until(lambda: trigger.counters.handled == 1)
        running_it.cancel()
        await asyncio.wait([running_it])
        await asyncio.sleep(0)
        assert trigger.counters.in_flight == 0


async def test_what_a_crash_has_settled_frees_no_bytes_of_the_next_run(server: NatsServer) -> None:
    async def handler(message: Message) -> None:
        pass

    async with connected(server.url) as bus:
        await make_stream(bus)
        await make_consumer(bus)
        trigger = make_trigger(bus, handler, [], ack="manual", max_bytes=1 << 20)
        await bus.publish("s.a", bytes(1000))
        for handled in (1, 2):
            running_it = asyncio.create_task(trigger.run())
            await until(lambda handled=handled: trigger.counters.handled == handled)  # type: ignore[misc]
            window = trigger._window
            assert isinstance(window, ByteWindow)
            assert window.running_bytes > 1000
            running_it.cancel()
            await asyncio.wait([running_it])
