"""Invariant 5: the stop order, and what is left after it: nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress

import anyio
import pytest

from eventbus_runtime.errors import BusUnavailableError
from eventbus_runtime.events import State
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.testing.server import NatsServer, free_port
from tests.conftest import MakeServer
from tests.triggers.live import (
    PULLS_AND_ACKS,
    Observer,
    connected,
    delete_consumer,
    make_consumer,
    make_trigger,
    running,
    sequence_of,
    until,
)


async def test_in_the_middle_of_64_handlers_all_finish_and_the_rest_comes_at_once_to_the_next(
    server: NatsServer,
) -> None:
    """Issue 3, *Must show*. With an ack_wait of 30 s, what is not handed back would be missing for that long."""
    handled: Counter[int] = Counter()
    inside = 0

    async def slow(message: Message) -> None:
        nonlocal inside
        inside += 1
        await asyncio.sleep(0.5)
        inside -= 1
        handled[message.sequence] += 1

    async def quick(message: Message) -> None:
        handled[message.sequence] += 1

    async with Observer(server.url) as observer, running(server, slow, max_in_flight=64) as live:
        await live.publish_many(300)
        await until(lambda: inside == 64)
        begun = time.monotonic()
        async with running(server, quick, make=False) as successor:
            await live.stop(5.0)
            assert inside == 0
            assert live.trigger.cancelled == 0
            await until(successor.drained)
            assert time.monotonic() - begun < 5
        assert handled == dict.fromkeys(range(1, 301), 1)
        await live.shown_to(observer)
        assert {len(words) for words in observer.settlements().values()} == {1}


async def test_handlers_that_outlive_the_timeout_are_cancelled_and_handed_back(server: NatsServer) -> None:
    ended: list[int] = []

    async def handler(message: Message) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(message.sequence)

    async with Observer(server.url) as observer, running(server, handler) as live:
        await live.publish_many(5)
        await until(lambda: live.trigger.counters.in_flight == 5)
        await live.stop(0.2, within=2)
        assert sorted(ended) == [1, 2, 3, 4, 5]
        assert live.trigger.cancelled == 5
        await live.shown_to(observer)
        assert {sequence_of(token): words for token, words in observer.settlements().items()} == {
            sequence: [b"-NAK"] for sequence in range(1, 6)
        }
        assert live.states()[-2:] == [State.DRAINING, State.STOPPED]


async def test_one_that_waits_for_its_publishes_at_the_end_is_handed_back(server: NatsServer) -> None:
    """Not confirmed is not done: no ack. (The observer listens where no stream does, so that nothing answers.)"""

    async def handler(message: Message) -> Publish:
        return Publish("out.a")

    async with Observer(server.url, "out.>", "$JS.ACK.>") as observer, running(server, handler) as live:
        await live.publish(b"")
        await until(lambda: live.trigger.counters.handled == 1)
        await live.stop(0.1, within=2)
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[b"-NAK"]]
        assert live.trigger.counters.in_flight == 0


async def test_a_server_that_does_not_answer_holds_up_the_stop_for_seconds_only(server: NatsServer) -> None:
    async def handler(message: Message) -> None:
        pass

    async with running(server, handler) as live:
        await live.publish(b"")
        await until(live.drained)
        server.send_signal(signal.SIGSTOP)
        try:
            await live.stop(0.1, within=5)
        finally:
            server.send_signal(signal.SIGCONT)
        assert live.trigger.state is State.STOPPED
        assert live.error is None


async def test_a_handler_that_ignores_its_cancellation_is_left_and_cancelled_until_it_gives_in(
    server: NatsServer,
) -> None:
    """No nak while it may still be at work: the message comes again when its lease is over."""
    ignored = 0

    async def handler(message: Message) -> None:
        nonlocal ignored
        while ignored < 5:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            ignored += 1

    async with Observer(server.url) as observer, running(server, handler) as live:
        await live.publish(b"")
        await until(lambda: live.trigger.counters.in_flight == 1)
        await live.stop(0.0, within=5)
        await live.shown_to(observer)
        assert ignored == 5
        assert observer.settlements() == {}
        assert (live.trigger.cancelled, live.trigger.counters.left) == (1, 1)


async def test_whatever_fails_while_it_drains_it_is_draining(server: NatsServer) -> None:
    entered = asyncio.Event()

    async def prepare(resume_at: int | None) -> str | None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise BusUnavailableError("no answer")

    async def handler(message: Message) -> None:
        pass

    async with running(server, handler, prepare=prepare, wait=False) as live:
        await entered.wait()
        await live.stop(1.0)
        assert live.states() == [State.DRAINING, State.STOPPED]


async def test_a_second_stop_shortens_the_time_and_never_lengthens_it(server: NatsServer) -> None:
    async def handler(message: Message) -> None:
        await asyncio.Event().wait()

    async with running(server, handler) as live:
        await live.publish(b"")
        await until(lambda: live.trigger.counters.in_flight == 1)
        live.trigger.stop(60.0)
        await asyncio.sleep(0.3)
        assert not live.ended.is_set()
        live.trigger.stop(0.0)
        live.trigger.stop(60.0)
        async with asyncio.timeout(2):
            await live.ended.wait()


async def test_our_old_requests_eat_none_of_a_successors_deliveries(server: NatsServer) -> None:
    """What is published after the stop must come at once, not after the ack_wait of a delivery to nobody."""
    handled: list[int] = []

    async def handler(message: Message) -> None:
        handled.append(message.sequence)

    async with running(server, handler, max_in_flight=100) as live:
        await live.publish(b"one")
        await until(lambda: handled == [1])
        await live.stop()
        await live.publish_many(50)
        async with running(server, handler, make=False):
            await until(lambda: len(handled) == 51, within=5)
        assert handled == list(range(1, 52))


async def test_a_stop_while_messages_pour_in_loses_and_doubles_none(server: NatsServer) -> None:
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        handled[message.sequence] += 1
        await asyncio.sleep(0)

    async with connected(server.url) as bus:
        first = True
        for _ in range(5):
            async with running(server, handler, make=first) as live:
                first = False
                await live.publish_many(2000)
                wanted = len(handled) + 200
                await until(lambda wanted=wanted: len(handled) >= wanted)  # type: ignore[misc]
        async with running(server, handler, make=False) as live:
            await until(live.drained)
        assert len(handled) == 10_000
        assert set(handled.values()) == {1}
        assert (await bus.api("CONSUMER.INFO.S.c"))["num_ack_pending"] == 0


@pytest.mark.seed("S-51")
async def test_nothing_is_left_after_the_stop(make_server: MakeServer) -> None:
    """S-51: no task, no timer, no thread here; no subscription and no pull request at the server."""
    port = free_port()
    server = make_server(f'http: "127.0.0.1:{port}"')

    async def handler(message: Message) -> None:
        await asyncio.sleep(0.01)

    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    async with connected(server.url) as bus:
        alone = asyncio.all_tasks()
        async with running(server, handler, timeout=5.0) as live:
            await live.publish_many(100)
            await until(live.drained)
            await live.stop()
            assert (await live.outside.api("CONSUMER.INFO.S.c"))["num_waiting"] == 0
            url = f"http://127.0.0.1:{port}/connz?subs=1"
            with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
                connections = json.load(answer)["connections"]
            assert sorted(each["subscriptions"] for each in connections) == [1, 1, 1]  # each bus's own inbox
        assert asyncio.all_tasks() == alone
        timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert [timer for timer in timers if "eventbus_runtime/triggers" in repr(timer)] == []
        await bus.ping()
    assert asyncio.all_tasks() == tasks
    assert {thread for thread in threading.enumerate() if not thread.daemon} <= threads | _pool_threads()


def _pool_threads() -> set[threading.Thread]:
    """Those of `asyncio.to_thread` above."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("asyncio_")}


async def test_cancelled_from_outside_it_hands_back_and_leaves_nothing(server: NatsServer) -> None:
    """The whole run cancelled, while deliveries pour in: no second copy is missing for the 30 s of ack_wait here."""
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        await asyncio.sleep(0.01)
        handled[message.sequence] += 1

    async with running(server, handler, max_in_flight=32) as live:
        await live.stop()
        tasks = asyncio.all_tasks()
        for _ in range(5):
            await live.publish_many(500)
            wanted = len(handled) + 100
            trigger = make_trigger(live.bus, handler, live.facts, max_in_flight=32)
            async with asyncio.timeout(5):
                async with anyio.create_task_group() as group:
                    group.start_soon(trigger.run)
                    await until(lambda wanted=wanted: len(handled) >= wanted)  # type: ignore[misc]
                    group.cancel_scope.cancel()
            assert asyncio.all_tasks() == tasks
        async with running(server, handler, make=False) as successor:
            await until(successor.drained, within=10)
        assert len(handled) == 2500


async def test_cancelled_from_outside_it_hands_back_once_the_server_has_dropped_its_requests(
    server: NatsServer,
) -> None:
    """On 2.9 a nak that meets only requests of closed inboxes is forgotten until ack_wait, and another message doubled
    in its place. What runs, and what comes meanwhile, is handed back in sequence order behind the last, tiny pull."""

    async def handler(message: Message) -> None:
        await asyncio.Event().wait()

    async with running(server, handler) as live:
        await live.stop()
        await live.publish_stored(50)
        trigger = make_trigger(live.bus, handler, live.facts, max_in_flight=32)
        async with Observer(server.url, *PULLS_AND_ACKS) as observer:
            async with anyio.create_task_group() as group:
                group.start_soon(trigger.run)
                await until(lambda: trigger.counters.in_flight == 32)
                group.cancel_scope.cancel()
            await live.shown_to(observer)
        said = [each.payload for each in observer.seen]
        assert b'"expires":1000000}' in said[said.index(b"-NAK") - 1]
        settled = [sequence_of(each.subject) for each in observer.seen if each.payload == b"-NAK"]
        assert settled == list(range(1, 34))  # the last is what that pull brought


async def test_one_that_failed_may_run_again(server: NatsServer) -> None:
    """`Trigger.run`: once it has raised it may be called again; nobody has stopped it."""

    async def handler(message: Message) -> None:
        pass

    async with running(server, handler, consumer={"ack_policy": "none"}, wait=False) as live:
        await until(live.ended.is_set)
        assert "ack_policy none" in str(live.error)
        await delete_consumer(live.outside)
        await make_consumer(live.outside)
        async with anyio.create_task_group() as group:
            group.start_soon(live.trigger.run)
            await until(live.is_running)
            live.trigger.stop(1.0)


async def test_cancelled_in_the_middle_of_its_stop_it_still_hands_back_and_leaves_nothing(server: NatsServer) -> None:
    """No request of ours goes on at the server, and no delivery waits for the 30 s of ack_wait here."""
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        await asyncio.sleep(0.01)
        handled[message.sequence] += 1

    async with running(server, handler, max_in_flight=32) as live:
        await live.stop()
        for turns in range(12):
            await live.publish_many(100)
            wanted = len(handled) + 40
            trigger = make_trigger(live.bus, handler, live.facts, max_in_flight=32)
            async with asyncio.timeout(5), anyio.create_task_group() as group:
                group.start_soon(trigger.run)
                await until(lambda wanted=wanted: len(handled) >= wanted)  # type: ignore[misc]
                trigger.stop(5.0)
                for _ in range(turns):
                    await asyncio.sleep(0)
                group.cancel_scope.cancel()
            assert (await live.outside.api("CONSUMER.INFO.S.c"))["num_waiting"] == 0
        async with running(server, handler, make=False) as successor:
            await until(successor.drained, within=10)
        assert len(handled) == 1200
