"""What a handler does to itself stays with its own message: time-outs, cancellations, context, threads."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from contextvars import ContextVar

import anyio
import pytest

from eventbus_runtime.message import Message
from eventbus_runtime.testing.server import NatsServer
from tests.triggers.live import SOON, STUBBORN, Observer, running, sequence_of, until

LATER = b'-NAK {"delay": 3600000000000}'


async def test_a_handler_over_its_timeout_is_cancelled_and_its_message_retried(server: NatsServer) -> None:
    ended: list[str] = []

    async def handler(message: Message) -> None:
        if message.delivery_count == 1:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

    async with running(server, handler, timeout=0.1, retry=SOON) as live:
        await live.publish(b"")
        await until(live.drained)
        assert ended == ["cancelled"]
        (failure,) = live.failures()
        assert (failure.reason, failure.settlement, failure.attempt) == ("timeout", "nak", 1)


async def test_a_timeout_leaves_the_next_message_on_that_worker_unharmed(server: NatsServer) -> None:
    """A cancellation that is not taken back would fire again in the next handler's own time-outs."""
    seen: list[object] = []

    async def handler(message: Message) -> None:
        if message.payload == b"slow":
            await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        seen.append(task.cancelling())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        seen.append(scope.cancelled_caught)
        seen.append(task.get_name())

    async with running(server, handler, timeout=0.1, retry=STUBBORN, max_in_flight=1) as live:
        await live.publish(b"slow", b"next", b"slow", b"next")
        await until(lambda: live.trigger.counters.acked == 2)
        assert seen[:2] == seen[3:5] == [0, True]
        assert live.trigger.counters.retried == 2
        assert live.trigger._pool.workers == 1


async def test_each_is_timed_by_its_own_start(server: NatsServer) -> None:
    async def handler(message: Message) -> None:
        await asyncio.sleep(60 if message.payload == b"slow" else 0.6)

    async with running(server, handler, timeout=1.0, retry=STUBBORN) as live:
        for payload in (b"slow", b"quick", b"slow", b"quick"):
            await live.publish(payload)
            await asyncio.sleep(0.4)
        await until(lambda: live.trigger.counters.in_flight == 0)
        assert sorted(failure.message.sequence for failure in live.failures()) == [1, 3]


async def test_a_handler_that_swallows_its_cancellation_is_no_success(server: NatsServer) -> None:
    """Where it was interrupted nobody knows: it is retried, never acked."""

    async def handler(message: Message) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with Observer(server.url) as observer, running(server, handler, timeout=0.1, retry=STUBBORN) as live:
        await live.publish(b"")
        await until(lambda: live.trigger.counters.nakked == 1)
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[LATER]]
        assert live.failures()[0].reason == "timeout"


async def test_a_cancellation_of_the_handlers_own_making_is_an_ordinary_error(server: NatsServer) -> None:
    """It awaited what somebody cancelled, raised it, or cancelled itself: retried by the schedule, not at once for
    ever, and the trigger goes on."""

    async def handler(message: Message) -> None:
        task = asyncio.current_task()
        assert task is not None
        match message.payload:
            case b"raised":
                raise asyncio.CancelledError
            case b"awaited":
                waiting = asyncio.get_running_loop().create_future()
                waiting.cancel()
                await waiting
            case b"itself":
                task.cancel()
                await asyncio.sleep(0)
            case b"too late":
                task.cancel()
            case b"good":
                assert task.cancelling() == 0

    async with Observer(server.url) as observer, running(server, handler, retry=STUBBORN, max_in_flight=1) as live:
        await live.publish(b"raised", b"good", b"awaited", b"good", b"itself", b"good", b"too late", b"good")
        await until(lambda: live.trigger.counters.acked == 5 and live.trigger.counters.nakked == 3)
        await live.shown_to(observer)
        assert [words for _, words in sorted((sequence_of(t), w) for t, w in observer.settlements().items())] == [
            [LATER],
            [b""],
            [LATER],
            [b""],
            [LATER],
            [b""],
            [b""],
            [b""],
        ]
        assert [failure.reason for failure in live.failures()] == ["error"] * 3


async def test_a_context_variable_does_not_leak_into_the_next_message(server: NatsServer) -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    seen: list[int] = []

    async def handler(message: Message) -> None:
        seen.append(variable.get())
        if message.sequence % 2:
            variable.set(message.sequence)

    async with running(server, handler, max_in_flight=1) as live:
        await live.publish_many(10)
        await until(live.drained)
        assert seen == [0] * 10
        await until(lambda: live.trigger._pool.workers <= 1)


async def test_def_handlers_run_in_threads_as_many_as_fit_the_window(server: NatsServer) -> None:
    inside = most = 0
    lock = threading.Lock()

    def handler(message: Message) -> None:
        nonlocal inside, most
        assert threading.current_thread() is not threading.main_thread()
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.01)
        with lock:
            inside -= 1

    async with running(server, handler, max_in_flight=4) as live:
        await live.publish_many(40)
        await until(live.drained)
        assert most == 4
        assert live.trigger.counters.acked == 40


async def test_a_def_handler_over_its_timeout_is_kept_alive_and_counted_when_it_returns(server: NatsServer) -> None:
    """A thread can't be cancelled: a nak while it runs would start a second copy beside it."""
    release = threading.Event()
    calls: list[int] = []

    def handler(message: Message) -> None:
        calls.append(message.delivery_count)
        if message.delivery_count == 1:
            release.wait(10)

    async with running(server, handler, timeout=0.2, retry=SOON, consumer={"ack_wait": 0.6}) as live:
        await live.publish(b"")
        await until(lambda: any("thread" in text for text in live.warnings()))
        await asyncio.sleep(1.0)
        assert calls == [1]
        assert live.trigger.counters.in_flight == 1
        release.set()
        await until(live.drained)
        assert calls == [1, 2]
        (failure,) = live.failures()
        assert failure.reason == "timeout"
        assert len([text for text in live.warnings() if "thread" in text]) == 1


async def test_a_def_handler_still_in_its_thread_at_the_stop_is_left_without_a_nak(server: NatsServer) -> None:
    release = threading.Event()
    inside = threading.Event()

    def handler(message: Message) -> None:
        inside.set()
        release.wait(10)

    try:
        async with Observer(server.url) as observer, running(server, handler) as live:
            await live.publish(b"")
            await until(inside.is_set)
            await live.stop(0.1, within=3)
            await live.shown_to(observer)
            assert observer.settlements() == {}
            assert (live.trigger.cancelled, live.trigger.counters.left) == (1, 1)
    finally:
        release.set()


async def test_handlers_that_wait_for_nothing_let_the_event_loop_turn_between_them(server: NatsServer) -> None:
    """Else all of a read would run in one turn, and acks, progress and other triggers would wait for the last."""
    turns = 0
    seen: list[int] = []
    acked: list[int] = []

    def turn() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(turn)

    async def busy(message: Message) -> None:
        until_then = time.perf_counter() + 0.003
        while time.perf_counter() < until_then:
            pass
        seen.append(turns)
        acked.append(live.trigger.counters.in_flight)

    loop = asyncio.get_running_loop()
    async with running(server, busy, wait=False) as live:
        loop.call_soon(turn)
        await live.publish_stored(40)
        await until(live.drained)
    assert len(set(seen)) > 10
    assert acked[-1] < 10, "what was settled in earlier turns has been written"
