"""Fetching batches of a consumer, on a real server (S-31)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.errors import BusUnavailableError, NotFoundError, TriggerError
from eventbus_runtime.message import Message
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers.fetch import Fetcher
from tests.buses.helpers import frozen
from tests.triggers.live import Observer, connected, delete_consumer, make_consumer, make_stream, until

pytestmark = pytest.mark.seed("S-31")


@asynccontextmanager
async def fetching(server: NatsServer, **consumer: Any) -> AsyncIterator[tuple[NatsBus, Fetcher]]:
    """The stream S with its consumer c, and what fetches of that."""
    async with connected(server.url) as bus:
        await make_stream(bus)
        await make_consumer(bus, **consumer)
        fetcher = Fetcher(bus, "S", "c")
        try:
            yield bus, fetcher
        finally:
            await fetcher.close()


async def fill(bus: NatsBus, count: int, payload: bytes = b"") -> None:
    """Publish so many: the payload, or 0, 1, 2 …"""
    await asyncio.gather(*(bus.publish("s.a", payload or b"%d" % number) for number in range(count)))


async def waiting(bus: NatsBus) -> int:
    """How many pull requests are open at the server."""
    return int((await bus.api("CONSUMER.INFO.S.c"))["num_waiting"])


async def is_waiting(bus: NatsBus) -> bool:
    return await waiting(bus) > 0


async def test_what_is_there_comes_at_once_in_order_and_no_more_than_asked(server: NatsServer) -> None:
    async with fetching(server) as (bus, fetcher):
        for number in range(5):
            await bus.publish("s.a", b"%d" % number)
        first = await fetcher.fetch(3, 30.0)
        second = await fetcher.fetch(2, 30.0)
        assert [raw[2] for raw in first] == [b"0", b"1", b"2"]
        assert [raw[2] for raw in second] == [b"3", b"4"]


@pytest.mark.timed
async def test_an_empty_stream_answers_after_max_wait_and_soon(server: NatsServer) -> None:
    """The bound of the issue: 200 to 260 ms."""
    async with fetching(server) as (_, fetcher):
        took = []
        for _ in range(5):
            began = time.monotonic()
            assert await fetcher.fetch(10, 0.2) == []
            took.append(time.monotonic() - began)
        assert min(took) >= 0.2
        assert max(took) <= 0.26, took


async def test_what_came_by_then_is_a_partial_answer(server: NatsServer) -> None:
    async with fetching(server) as (bus, fetcher):
        await fill(bus, 2)
        raws = await fetcher.fetch(10, 0.3)
        assert sorted(raw[2] for raw in raws) == [b"0", b"1"]
        assert await waiting(bus) == 0


async def test_what_comes_later_ends_the_wait(server: NatsServer) -> None:
    async with fetching(server) as (bus, fetcher):
        fetched = asyncio.create_task(fetcher.fetch(1, 60.0))
        await until(lambda: is_waiting(bus))
        await bus.publish("s.a", b"late")
        assert [raw[2] for raw in await fetched] == [b"late"]


async def test_one_subscription_serves_all_calls_and_nothing_is_asked_between_them(server: NatsServer) -> None:
    async with Observer(server.url, "$JS.API.CONSUMER.>") as observer, fetching(server) as (bus, fetcher):
        await fill(bus, 20)
        for _ in range(10):
            assert len(await fetcher.fetch(1, 5.0)) == 1
        await bus.ping()
        await observer.flush()
        pulls = [seen for seen in observer.seen if ".MSG.NEXT." in seen.subject]
        infos = [seen for seen in observer.seen if ".INFO." in seen.subject]
        assert len(pulls) == 10
        assert len(infos) == 1
        assert len({seen.reply.rpartition(".")[0] for seen in pulls}) == 1
        assert await waiting(bus) == 0


async def test_calls_that_overlap_get_each_message_once_and_wait_no_longer_for_each_other(server: NatsServer) -> None:
    async with fetching(server) as (bus, fetcher):
        await fill(bus, 400)
        batches = await asyncio.gather(*(fetcher.fetch(100, 10.0) for _ in range(4)))
        assert [len(batch) for batch in batches] == [100] * 4
        assert {raw[2] for batch in batches for raw in batch} == {b"%d" % number for number in range(400)}


@pytest.mark.timed
async def test_two_that_find_nothing_wait_at_the_same_time(server: NatsServer) -> None:
    """The reason for an inbox each: behind one lock the second would wait twice as long as it may."""
    async with fetching(server) as (_, fetcher):
        began = time.monotonic()
        assert list(await asyncio.gather(fetcher.fetch(1, 0.4), fetcher.fetch(1, 0.4))) == [[], []]
        assert time.monotonic() - began < 0.7


async def test_a_thousand_in_one_batch(server: NatsServer) -> None:
    async with fetching(server, max_ack_pending=2000) as (bus, fetcher):
        await fill(bus, 1200)
        raws = await fetcher.fetch(1000, 10.0)
        assert len({raw[2] for raw in raws}) == len(raws) == 1000
        assert len(await fetcher.fetch(1000, 0.2)) == 200


async def test_the_limits_of_the_consumer_are_kept(server: NatsServer) -> None:
    """Its max_batch is below what is asked for, its max_expires below the wait: several requests make one answer."""
    async with fetching(server, max_batch=30, max_expires=200_000_000) as (bus, fetcher):
        await fill(bus, 100)
        assert len(await fetcher.fetch(90, 10.0)) == 90
        fetched = asyncio.create_task(fetcher.fetch(20, 60.0))
        await until(lambda: fetcher_has(bus, 10))
        await asyncio.sleep(0.5)  # beyond max_expires, so that its request is over
        await fill(bus, 10)
        assert len(await fetched) == 20


async def fetcher_has(bus: NatsBus, count: int) -> bool:
    info = await bus.api("CONSUMER.INFO.S.c")
    return bool(info["delivered"]["consumer_seq"] == 90 + count)


async def test_large_payloads_come_whole_and_the_connection_lasts(server: NatsServer) -> None:
    """More than the 64 MiB that a server keeps for a connection, in one batch; each as large as max_payload allows."""
    size = 1 << 20
    async with fetching(server) as (bus, fetcher):
        for number in range(100):
            await bus.publish("s.a", b"%03d" % number + b"x" * (size - 3))
        raws = await fetcher.fetch(100, 60.0)
        assert [raw[2][:3] for raw in raws] == [b"%03d" % number for number in range(100)]
        assert {len(raw[2]) for raw in raws} == {size}
        assert bus.counters.reconnects == 0


async def test_a_cancelled_caller_loses_nothing(server: NatsServer) -> None:
    """What had come to it comes again at once, not after ack_wait; and its request is gone from the server."""
    async with fetching(server) as (bus, fetcher):
        await fill(bus, 3)
        fetched = asyncio.create_task(fetcher.fetch(10, 60.0))
        await until(lambda: has_delivered(bus, 3))
        fetched.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetched
        again = await fetcher.fetch(3, 10.0)
        assert sorted(raw[2] for raw in again) == [b"0", b"1", b"2"]
        assert {Message(raw).delivery_count for raw in again} == {2}
        assert await waiting(bus) == 0


async def has_delivered(bus: NatsBus, count: int) -> bool:
    return bool((await bus.api("CONSUMER.INFO.S.c"))["num_ack_pending"] == count)


async def test_who_is_cancelled_while_it_asks_what_is_wrong_loses_nothing(server: NatsServer) -> None:
    """The server has not said that the time is over, and has the request before it all the same."""
    async with fetching(server) as (bus, fetcher):
        await fetcher.fetch(1, 0.05)
        await fill(bus, 1)
        before = sinks(bus)
        with frozen(server):
            fetched = asyncio.create_task(fetcher.fetch(1, 0.05))
            await asyncio.sleep(1.0)  # beyond max_wait and the half second for the server's last word
            fetched.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetched
        assert [raw[2] for raw in await fetcher.fetch(1, 10.0)] == [b"0"]
        await until(lambda: sinks(bus) == before)


def sinks(bus: NatsBus) -> int:
    """How many inboxes are open."""
    return len(bus._life.live()._reader._sids)


async def test_what_comes_after_a_cancellation_goes_to_the_next_call(server: NatsServer) -> None:
    async with fetching(server) as (bus, fetcher):
        fetched = asyncio.create_task(fetcher.fetch(10, 60.0))
        await until(lambda: is_waiting(bus))
        fetched.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetched
        await fill(bus, 2)
        assert len(await fetcher.fetch(2, 10.0)) == 2


async def test_a_consumer_that_is_not_there_is_told_by_name(server: NatsServer) -> None:
    async with fetching(server) as (bus, _):
        with pytest.raises(NotFoundError, match="there is no consumer gone of the stream S"):
            await Fetcher(bus, "S", "gone").fetch(1, 60.0)
        with pytest.raises(NotFoundError, match="there is no consumer c of the stream NONE"):
            await Fetcher(bus, "NONE", "c").fetch(1, 60.0)


async def test_one_that_is_deleted_between_two_calls_is_told_by_name(server: NatsServer) -> None:
    async with fetching(server) as (bus, fetcher):
        assert await fetcher.fetch(1, 0.05) == []
        await delete_consumer(bus)
        with pytest.raises(NotFoundError, match="there is no consumer c of the stream S"):
            await fetcher.fetch(1, 60.0)
        await make_consumer(bus)
        await fill(bus, 1)
        assert len(await fetcher.fetch(1, 10.0)) == 1


async def test_one_that_is_deleted_while_it_waits_is_told_by_name(server: NatsServer) -> None:
    async with fetching(server) as (bus, fetcher):
        fetched = asyncio.create_task(fetcher.fetch(1, 60.0))
        await until(lambda: is_waiting(bus))
        await delete_consumer(bus)
        with pytest.raises(NotFoundError, match="there is no consumer c of the stream S"):
            await fetched


async def test_a_push_consumer_is_refused(server: NatsServer) -> None:
    async with fetching(server, deliver_subject="push.here") as (_, fetcher):
        with pytest.raises(TriggerError, match="consumer c of S is push based"):
            await fetcher.fetch(1, 1.0)


async def test_its_filter_holds(server: NatsServer) -> None:
    async with fetching(server, filter_subject="s.b") as (bus, fetcher):
        await fill(bus, 3)
        await bus.publish("s.b", b"mine")
        assert [raw[2] for raw in await fetcher.fetch(4, 0.2)] == [b"mine"]


async def test_a_server_that_dies_while_it_waits_is_told_soon(server: NatsServer) -> None:
    async with fetching(server) as (bus, fetcher):
        fetched = asyncio.create_task(fetcher.fetch(5, 600.0))
        await until(lambda: is_waiting(bus))
        server.kill()
        async with asyncio.timeout(10):
            with pytest.raises(BusUnavailableError, match="the connection was lost while it waited"):
                await fetched


async def test_what_had_come_before_a_break_is_the_answer_and_can_be_acknowledged(server: NatsServer) -> None:
    async with fetching(server) as (bus, fetcher):
        await fill(bus, 2)
        fetched = asyncio.create_task(fetcher.fetch(5, 600.0))
        await until(lambda: has_delivered(bus, 2))
        server.kill()
        raws = await fetched
        assert sorted(raw[2] for raw in raws) == [b"0", b"1"]
        server.start()
        await bus.wait_connected()
        for raw in raws:
            await bus.request(raw[1].decode())
        assert await fetcher.fetch(5, 0.2) == []


async def test_it_fetches_again_when_the_server_is_back(server: NatsServer) -> None:
    async with fetching(server) as (bus, fetcher):
        assert await fetcher.fetch(1, 0.05) == []
        server.kill()
        await until(lambda: not bus.is_connected)
        with pytest.raises(BusUnavailableError):
            await fetcher.fetch(1, 60.0)
        server.start()
        await bus.wait_connected()
        await fill(bus, 1)
        assert len(await fetcher.fetch(1, 10.0)) == 1


async def test_without_acks_what_is_fetched_is_done(server: NatsServer) -> None:
    async with fetching(server, ack_policy="none") as (bus, fetcher):
        await fill(bus, 2)
        assert len(await fetcher.fetch(2, 5.0)) == 2
        assert (await bus.api("CONSUMER.INFO.S.c"))["num_ack_pending"] == 0


async def test_closed_it_leaves_nothing_behind(server: NatsServer) -> None:
    before = asyncio.all_tasks()
    async with connected(server.url) as bus:
        await make_stream(bus)
        await make_consumer(bus)
        fetcher = Fetcher(bus, "S", "c")
        fetched = asyncio.create_task(fetcher.fetch(1, 600.0))
        await until(lambda: is_waiting(bus))
        await fetcher.close()
        with pytest.raises(BusUnavailableError, match="the consumer c is not fetched from any more"):
            await fetched
        await fetcher.close()
        await until(lambda: _has_none_waiting(bus))
    assert asyncio.all_tasks() == before


async def _has_none_waiting(bus: NatsBus) -> bool:
    return await waiting(bus) == 0
