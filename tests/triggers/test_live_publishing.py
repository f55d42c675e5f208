"""What a handler returned is on its way: nothing waits for it but the delivery.

The observer listens where no stream does, so that a publish is neither confirmed nor refused.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import anyio
import pytest

from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.testing.server import NatsServer
from tests.triggers.live import SOON, STUBBORN, Observer, connected, make_stream, make_trigger, running, until


async def onward(message: Message) -> Publish:
    """Passes it on."""
    return Publish("out.a", message.payload)


async def out(server: NatsServer, **config: object) -> None:
    """A stream that stores what `onward` publishes."""
    async with connected(server.url) as bus:
        await make_stream(bus, "OUT", ("out.>",), **config)


async def test_it_takes_no_task_but_its_place_in_flight(server: NatsServer) -> None:
    async with Observer(server.url, "out.>"), running(server, onward, max_in_flight=50) as live:
        await live.publish(b"")
        await until(lambda: live.trigger.counters.handled == 1)
        tasks = len(asyncio.all_tasks())
        await live.publish_many(100)
        await until(lambda: live.trigger.counters.handled == 50)
        assert len(asyncio.all_tasks()) == tasks
        assert live.trigger.counters.in_flight == 50
        await live.stop(0.0)
        assert (live.trigger.cancelled, live.trigger.counters.handled) == (50, 50)


async def test_a_handlers_time_out_does_not_count_it(server: NatsServer) -> None:
    """Nor does it hit the next handler of the same worker, here one that takes longer than the first one's time."""
    begun = 0

    async def handler(message: Message) -> Publish:
        nonlocal begun
        begun += 1
        if message.payload == b"long":
            await asyncio.sleep(0.3)
        return Publish("out.a")

    async with Observer(server.url, "out.>"), running(server, handler, timeout=0.4) as live:
        await live.publish(b"short")
        await until(lambda: live.trigger.counters.handled == 1)
        await asyncio.sleep(0.2)
        await live.publish(b"long")
        await until(lambda: live.trigger.counters.handled == 2)
        assert (begun, live.failures()) == (2, [])


async def test_its_delivery_is_kept_alive(server: NatsServer) -> None:
    """Beyond ack_wait, which would give it to somebody else."""
    async with (
        Observer(server.url, "out.>", "$JS.ACK.>") as observer,
        running(server, onward, consumer={"ack_wait": 1.0}) as live,
    ):
        await live.publish(b"")
        await until(lambda: len(observer.progress()) >= 4)
        assert live.trigger.counters.handled == 1


async def test_a_break_amid_many_loses_and_doubles_none(server: NatsServer) -> None:
    """Those that were not confirmed run again, and what they publish has the same ids."""
    await out(server)
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> list[Publish]:
        handled[message.sequence] += 1
        return [Publish("out.a", message.payload), Publish("out.b", message.payload)]

    async with running(server, handler, retry=SOON, max_in_flight=256, consumer={"ack_wait": 2.0}) as live:
        await live.publish_stored(5000)
        await until(lambda: len(handled) > 1000)
        server.stop()
        server.start()
        await until(live.drained, within=30)
        assert len(handled) == 5000
        stored = (await live.outside.api("STREAM.INFO.OUT", {"subjects_filter": ">"}))["state"]["subjects"]
        assert stored == {"out.a": 5000, "out.b": 5000}


async def test_the_first_failure_of_several_is_told_when_all_have_ended(server: NatsServer) -> None:
    await out(server)

    async def handler(message: Message) -> list[Publish]:
        return [Publish("out.a", b"x" * 2_000_000), Publish("out.b", object()), Publish("out.c")]

    async with Observer(server.url, "$JS.ACK.>") as observer, running(server, handler, retry=STUBBORN) as live:
        await live.publish(b"")
        await until(lambda: live.trigger.counters.nakked == 1)
        (failure,) = live.failures()
        assert "its publish failed: the message to 'out.a' has 2000" in failure.text
        assert (await live.outside.api("STREAM.INFO.OUT"))["state"]["messages"] == 1
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[b'-NAK {"delay": 3600000000000}']]


@pytest.mark.parametrize("ack_confirm", [False, True])
async def test_it_is_confirmed_before_the_user_may_settle_is_over_too(server: NatsServer, ack_confirm: bool) -> None:
    """`ack = "manual"`: what is returned is published all the same, and the delivery waits for the user."""
    await out(server)
    kept: list[Delivery] = []

    async def handler(message: Message, delivery: Delivery) -> Publish:
        kept.append(delivery)
        return Publish("out.a")

    async with running(server, handler, ack="manual", ack_confirm=ack_confirm) as live:
        await live.publish(b"")
        await until(lambda: live.bus.counters.published == 1)
        assert live.trigger.counters.in_flight == 1
        assert await kept[0].ack()
        await until(live.drained)
        assert live.failures() == []


async def test_one_that_the_user_has_settled_before_is_told_of_and_no_more(server: NatsServer) -> None:
    async def handler(message: Message, delivery: Delivery) -> Publish:
        await delivery.ack()
        return Publish("a b")

    async with Observer(server.url) as observer, running(server, handler) as live:
        await live.publish(b"")
        await until(lambda: len(live.failures()) == 1)
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[b""]]
        assert live.failures()[0].settlement == "settled"


async def test_the_ack_is_confirmed_behind_it_where_that_is_asked_for(server: NatsServer) -> None:
    await out(server)
    async with running(server, onward, ack_confirm=True) as live:
        await live.publish_stored(50)
        await until(lambda: live.trigger.counters.acked == 50)
        assert await live.drained()
        assert (await live.outside.api("STREAM.INFO.OUT"))["state"]["messages"] == 50


async def test_cancelled_from_outside_it_is_handed_back(server: NatsServer) -> None:
    """Those too whose handlers have not begun: nothing is missing for the 30 s of ack_wait here."""
    async with running(server, onward) as live:
        await live.stop()
        async with Observer(server.url, "out.>", "$JS.ACK.>") as observer:
            trigger = make_trigger(live.bus, onward, live.facts, max_in_flight=20)
            await live.publish_stored(20)
            async with anyio.create_task_group() as group:
                group.start_soon(trigger.run)
                await until(lambda: trigger.counters.handled == 20)
                group.cancel_scope.cancel()
            await live.shown_to(observer)
            assert list(observer.settlements().values()) == [[b"-NAK"]] * 20
        assert (await live.info()).num_ack_pending in (0, 20)  # a nak is worked off when the message goes out anew


async def test_confirmations_that_come_after_the_end_change_nothing(server: NatsServer) -> None:
    async with Observer(server.url, "out.>") as observer, running(server, onward) as live:
        await live.publish(b"")
        await until(lambda: any(seen.reply for seen in observer.seen))
        await live.stop(0.0)
        counters = live.trigger.status()["counters"]
        reply = next(seen.reply for seen in observer.seen)
        observer.write(b'PUB %b 26\r\n{"stream":"OUT","seq":1  }\r\n' % reply.encode())
        await observer.flush()
        await live.bus.ping()
        assert live.trigger.status()["counters"] == counters
        assert (live.trigger.cancelled, live.trigger.counters.acked) == (1, 0)
