"""A trigger whose bus reaches the stream's server through a leaf node, by the domain of its JetStream."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Publish, Reject
from tests.conftest import MakeServer
from tests.leaf import HUB, hub_and_leaf
from tests.triggers.live import SOON, connected, make_stream, running, until


async def test_it_pulls_keeps_alive_settles_and_dead_letters_across_the_leaf_node(
    tmp_path: Path, make_server: MakeServer
) -> None:
    hub, leaf = await hub_and_leaf(tmp_path, make_server)
    async with connected(hub.url) as outside:
        await make_stream(outside, "DEAD", ("dead.>",))
        await make_stream(outside, "OUT", ("out.>",))
    starts: Counter[bytes] = Counter()

    async def handler(message: Message) -> Publish | None:
        starts[message.payload] += 1
        if message.payload == b"slow":
            await asyncio.sleep(2.5)
        elif message.payload == b"once more" and message.delivery_count == 1:
            raise ValueError
        elif message.payload == b"bad":
            raise Reject("bad")
        return Publish("out.x", message.payload)

    async def prepare(resume_at: int | None) -> str | None:
        return "DEAD"

    async with running(
        hub, handler, url=leaf.url, bus=HUB, consumer={"ack_wait": 1}, retry=SOON, prepare=prepare,
        dead_letter="dead.t", attempts=5, max_in_flight=50,
    ) as live:  # fmt: skip
        await live.publish(b"slow", b"once more", b"bad")
        await live.publish_many(500)
        await until(live.drained)
        assert starts == {b"slow": 1, b"once more": 2, b"bad": 1, **{b"%d" % n: 1 for n in range(500)}}
        counters = live.trigger.counters
        assert (counters.acked, counters.dead_lettered, counters.redelivered) == (502, 1, 1)
        assert live.trigger._fence.unproven == 0
        assert live.warnings() == []
        for stream, messages in (("DEAD", 1), ("OUT", 502)):
            assert (await live.outside.api(f"STREAM.INFO.{stream}"))["state"]["messages"] == messages


async def test_a_leaf_that_loses_its_hub_for_a_while_loses_nothing(tmp_path: Path, make_server: MakeServer) -> None:
    """The bus stays connected all the time: only what it asks for is not answered."""
    hub, leaf = await hub_and_leaf(tmp_path, make_server)
    handled: Counter[bytes] = Counter()

    async def handler(message: Message) -> None:
        handled[message.payload] += 1

    async with running(hub, handler, url=leaf.url, bus=HUB, consumer={"ack_wait": 2}) as live:
        await live.publish_stored(100)
        await until(lambda: len(handled) == 100)
        hub.stop()
        await until(lambda: not live.is_running())
        hub.start()
        await live.outside.wait_connected()
        await live.publish_stored(100)
        await live.publish(b"last")
        await until(live.drained, within=30)
        await until(live.is_running)
        assert handled == {b"last": 1, **{b"%d" % n: 2 for n in range(100)}}, "as often as published"
        assert live.bus.counters.reconnects == 0
