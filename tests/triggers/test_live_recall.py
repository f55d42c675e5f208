"""What runs here, or is done, is not done twice, whatever a server has forgotten; what only looks the same is done."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.testing.server import NatsServer
from tests.triggers.live import Gate, Observer, connected, delete_consumer, make_consumer, make_stream, running, until
from tests.triggers.proxy import Proxy
from tests.triggers.test_live_breaks import Declared


async def test_a_killed_server_that_forgets_what_it_was_told_has_nothing_done_twice(server: NatsServer) -> None:
    """The consumer is on that server alone (R1). Without a memory, what was done in its last moments came again."""
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        handled[message.sequence] += 1
        if message.sequence % 50 == 0:
            await asyncio.sleep(0.02)

    # What was on its way to us at the kill comes after ack_wait.
    async with running(server, handler, max_in_flight=1000, consumer={"ack_wait": 5.0}) as live:
        await live.publish_stored(30_000)
        for wanted in (5_000, 15_000, 25_000):
            await until(lambda wanted=wanted: len(handled) > wanted, within=30)  # type: ignore[misc]
            server.kill()
            server.start()
        await until(live.drained, within=60)
        assert len(handled) == 30_000
        assert [sequence for sequence, times in handled.items() if times > 1] == []


async def test_what_runs_goes_on_by_the_new_token_when_it_is_delivered_again(server: NatsServer) -> None:
    """The connection is away for longer than ack_wait."""
    gate = Gate()
    async with (
        Observer(server.url) as observer,
        Proxy(server.port) as proxy,
        running(server, gate.handler, url=proxy.url, consumer={"ack_wait": 1.0}) as live,
    ):
        await live.publish(*(b"%d" % number for number in range(20)))
        await until(lambda: len(gate.begun) == 20)
        proxy.cut()
        await until(lambda: not live.bus.is_connected)
        await asyncio.sleep(1.2)
        proxy.mend()
        await until(lambda: live.trigger.counters.recalled == 20)
        gate.opened.set()
        await until(live.drained)
        assert set(gate.begun.values()) == {1}
        await live.shown_to(observer)
        settled = {token.split(".")[4] for token, words in observer.settlements().items() if words[-1] == b""}
        assert settled == {"2"}, "the second deliveries"


async def test_what_is_delivered_again_before_its_ack_is_proven_is_not_handled_twice(server: NatsServer) -> None:
    """The ack is on its way for longer than ack_wait, over a connection that stands."""
    gate = Gate()
    gate.opened.set()
    async with (
        Proxy(server.port) as proxy,
        running(server, gate.handler, url=proxy.url, consumer={"ack_wait": 1.0}) as live,
    ):
        await live.publish(*(b"%d" % number for number in range(10)))
        await until(live.drained)
        proxy.loses = b"PUB $JS.ACK."
        await live.publish(*(b"%d" % number for number in range(10, 30)))
        await until(lambda: live.trigger.counters.redelivered >= 20)
        proxy.loses = b""
        await until(live.drained)
        assert set(gate.begun.values()) == {1}
        assert live.trigger.counters.recalled >= 20


async def test_a_blocked_event_loop_has_nothing_run_twice(server: NatsServer) -> None:
    gate = Gate()

    async def handler(message: Message) -> None:
        if message.payload == b"block":
            time.sleep(1.5)
        else:
            await gate.handler(message)

    async with running(server, handler, consumer={"ack_wait": 1.0}) as live:
        await live.publish(*(b"%d" % number for number in range(10)))
        await until(lambda: len(gate.begun) == 10)
        await live.publish(b"block")
        await until(lambda: live.trigger.counters.redelivered >= 10)
        gate.opened.set()
        await until(live.drained)
        assert set(gate.begun.values()) == {1}


@pytest.mark.parametrize("ack_confirm", [False, True])
async def test_of_a_consumer_that_is_made_anew_only_what_is_not_done_comes(
    server: NatsServer, ack_confirm: bool
) -> None:
    """Issue 5, *Must show*: 95 of 100 are acked, the first is not, so that the ack floor is 0."""
    gate, declared = Gate(), Declared()
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        handled[message.sequence] += 1
        if message.sequence % 20 == 1:
            await gate.handler(message)

    async with running(server, handler, prepare=declared, ack_confirm=ack_confirm) as live:
        declared.bus = live.outside
        await live.publish_stored(100)
        await until(lambda: live.trigger.counters.acked == 95)
        await delete_consumer(live.outside)
        await until(lambda: live.trigger.counters.recalled == 100)
        gate.opened.set()
        await until(live.drained)
        assert handled == dict.fromkeys(range(1, 101), 1)


async def test_who_makes_a_consumer_anew_by_hand_gets_all_again(server: NatsServer) -> None:
    """Without `opt_start_seq`, as for a replay: what was done counts no more. What runs still goes on."""
    gate = Gate()
    handled: Counter[int] = Counter()

    async def handler(message: Message) -> None:
        handled[message.sequence] += 1
        if message.sequence == 1:
            await gate.handler(message)

    async with running(server, handler) as live:
        await live.publish_stored(10)
        await until(lambda: live.trigger.counters.acked == 9)
        await delete_consumer(live.outside)
        await make_consumer(live.outside)
        await until(lambda: sum(handled.values()) == 19)
        gate.opened.set()
        await until(live.drained)
        assert handled == {1: 1} | dict.fromkeys(range(2, 11), 2)


@pytest.mark.parametrize("verb", ["ack", "nak", "term"])
async def test_a_message_of_a_stream_that_is_made_anew_is_not_settled_by_an_old_token(
    server: NatsServer, verb: str
) -> None:
    """Issue 5, *Must show*: within the duplicate window, while handlers run; their outputs are not suppressed."""
    gate, declared = Gate(), Declared(ack_wait=6.0)

    async def handler(message: Message) -> Publish:
        await gate.handler(message)
        if message.payload.startswith(b"old") and verb != "ack":
            raise ValueError
        return Publish("out.a", message.payload)

    async with connected(server.url) as bus:
        await make_stream(bus, "OUT", ("out.>",), duplicate_window=10**11)
    more: dict[str, Any] = {"attempts": 1, "on_exhausted": "terminate"} if verb == "term" else {}
    async with running(server, handler, prepare=declared, consumer={"ack_wait": 6.0}, **more) as live:
        declared.bus = live.outside
        await live.publish(*(b"old %d" % number for number in range(10)))
        await until(lambda: len(gate.begun) == 10)
        await live.outside.api("STREAM.DELETE.S")
        await make_stream(live.outside)
        await live.publish(*(b"new %d" % number for number in range(10)))
        await until(lambda: len(gate.begun) == 20, within=20)
        async with Observer(server.url) as observer:
            await until(lambda: len(observer.progress()) >= 20)
            assert len({seen.subject for seen in observer.seen}) == 10, "the old ones are not kept alive"
            gate.opened.set()
            await until(lambda: live.trigger.counters.in_flight == 0, within=20)
            await live.shown_to(observer)
            said = observer.settlements()
        await until(live.drained)
        assert set(gate.begun.values()) == {1}
        assert len(said) == 10, "of the new ones"
        outputs = (await live.outside.api("STREAM.INFO.OUT"))["state"]["messages"]
        assert outputs == (20 if verb == "ack" else 10)
