"""What the server gives up after `max_deliver` deliveries: ended once, whatever happens beside."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from eventbus_runtime import Runtime
from eventbus_runtime.events import DeliveryFailed, Fact, State, StateChanged
from eventbus_runtime.message import nanoseconds, rfc3339
from eventbus_runtime.testing.server import NatsServer
from tests.triggers.live import until

SUBJECT = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.ORDERS.work"
CONFIG = """
    [buses.main]
    url = "{url}"
    [streams.ORDERS]
    declare = false
    [streams.ADVISORIES]
    declare = false
    [consumers.work]
    stream = "ORDERS"
    declare = false
    [triggers.work]
    {end}
"""
HANDLERS = """
    import asyncio, time
    from eventbus_runtime import Message, pipeline

    @pipeline
    async def work(message: Message) -> None:
        what = message.payload.decode()
        if what == "bad":
            raise ValueError("the handler's own words")
        if "block" in what:
            time.sleep(1.5)
        if "wait" in what:
            await asyncio.sleep(1)
        if "fail" in what:
            raise ValueError("after all that time")
"""


class World(list[Fact]):
    """A listener that remembers, and the server's side of it."""

    def __init__(self, folder: Path, url: str, client: Client) -> None:
        self.url, self.client, self.js = url, client, client.jetstream()
        self._path = folder / "app.toml"
        (folder / "handlers.py").write_text(dedent(HANDLERS))

    def on_fact(self, fact: Fact) -> None:
        self.append(fact)

    async def make(
        self, *payloads: bytes, retention: str = "limits", max_deliver: int = 1, ack_wait: float = 0.3
    ) -> None:
        """Streams and a consumer with a limit, and messages."""
        await self.js.add_stream(name="ORDERS", subjects=["orders.>"], retention=RetentionPolicy(retention))
        await self.js.add_stream(name="ADVISORIES", subjects=["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>"])
        await self.js.add_consumer("ORDERS", policy(ack_wait=ack_wait, max_deliver=max_deliver))
        for payload in payloads:
            await self.js.publish("orders.created", payload)

    async def lose(self, count: int) -> None:
        """Have so many messages delivered to a worker that dies."""
        subscription = await self.js.pull_subscribe_bind("work", "ORDERS")
        for _ in range(count):
            await subscription.fetch(1, timeout=5)
        await subscription.unsubscribe()

    @asynccontextmanager
    async def running(self, end: str = 'dead_letter = "dead.work"') -> AsyncIterator[Runtime]:
        self._path.write_text(dedent(CONFIG.format(url=self.url, end=end)))
        async with Runtime.from_file(self._path, listeners=[self]) as runtime:
            yield runtime

    async def messages(self, stream: str = "ORDERS") -> int:
        return int((await self.js.stream_info(stream)).state.messages)

    async def dead_letters(self) -> list[tuple[bytes, str, str]]:
        """Payload, reason and error of each."""
        found = []
        for sequence in range(1, await self.messages("DEAD_WORK") + 1):
            message = await self.js.get_msg("DEAD_WORK", sequence)
            headers = message.headers or {}
            found.append((message.data or b"", headers["Eventbus-Reason"], headers["Eventbus-Error"]))
        return found

    async def advisories_are_read(self) -> bool:
        """Whether there was one, and none waits."""
        try:
            info = await self.js.consumer_info("ADVISORIES", "exhausted--ORDERS--work")
        except NotFoundError:
            return False
        delivered = info.delivered.stream_seq if info.delivered else 0
        return delivered > 0 and info.num_pending == info.num_ack_pending == 0

    async def tell(self, **changed: Any) -> None:
        """Publish what the server would say of a message that it gave up."""
        told = {"stream": "ORDERS", "consumer": "work", "stream_seq": 1, "deliveries": 1, **changed}
        told.setdefault("timestamp", rfc3339(time.time_ns()))
        await self.js.publish(SUBJECT, json.dumps(told).encode())

    def ends(self) -> list[tuple[str, str, str]]:
        """Trigger, reason and settlement of what did not end well, but for what comes again."""
        failed = [fact for fact in self if isinstance(fact, DeliveryFailed)]
        return [(one.trigger, one.reason, one.settlement) for one in failed if one.settlement != "nak"]

    def failed(self, trigger: str) -> str:
        """Why a trigger has failed; empty while it has not."""
        states = [fact for fact in self if isinstance(fact, StateChanged) and fact.name == trigger]
        return states[-1].reason if states and states[-1].new is State.FAILED else ""


def policy(**fields: Any) -> ConsumerConfig:
    return ConsumerConfig(durable_name="work", ack_policy=AckPolicy.EXPLICIT, **fields)


@pytest_asyncio.fixture
async def world(tmp_path: Path, server: NatsServer) -> AsyncIterator[World]:
    client = await nats.connect(server.url)
    yield World(tmp_path, server.url, client)
    await client.close()


GIVEN_UP = (b"lost", "exhausted", "delivery 1, the last that max_deliver allows, was not acknowledged")


@pytest.mark.parametrize("retention", ["limits", "workqueue", "interest"])
async def test_a_message_whose_worker_died_is_dead_lettered_and_told_as_any_other(world: World, retention: str) -> None:
    await world.make(b"lost", retention=retention)
    await world.lose(1)
    async with world.running() as runtime:
        await until(lambda: runtime.trigger_counters()["work"][1].dead_lettered == 1)
        await runtime.wait_idle(0.3)
        assert world.ends() == [("work", "exhausted", "dead_letter")]
    assert runtime.exit_code == 0
    assert await world.dead_letters() == [GIVEN_UP]
    assert await world.messages() == (retention == "limits")
    assert list(runtime.status()["triggers"]) == ["work"]


async def test_an_advisory_that_is_repeated_is_not_doubled(world: World) -> None:
    await world.make(b"lost")
    await world.lose(1)
    async with world.running() as runtime:
        await until(lambda: len(world.ends()) == 1)
        for _ in range(3):
            await world.tell()
        await runtime.wait_idle(0.3)
        assert runtime.trigger_counters()["work"][1].dead_lettered == 1
    assert await world.dead_letters() == [GIVEN_UP]


async def test_what_the_worker_had_dead_lettered_before_it_died_is_not_doubled(world: World) -> None:
    await world.make(b"lost", retention="workqueue")
    await world.lose(1)
    raw = await world.client.request("$JS.API.STREAM.MSG.GET.ORDERS", b'{"seq": 1}')
    at = nanoseconds(json.loads(raw.data)["message"]["time"])
    await world.js.add_stream(name="DEAD_WORK", subjects=["dead.work"], duplicate_window=120)
    headers = {"Nats-Msg-Id": f"ORDERS.1.{at}.work.dead", "Eventbus-Reason": "rejected", "Eventbus-Error": "no"}
    await world.js.publish("dead.work", b"lost", headers=headers)
    async with world.running() as runtime:
        await runtime.wait_idle(0.5)
    assert await world.dead_letters() == [(b"lost", "rejected", "no")]
    assert await world.messages() == 0
    assert world.ends() == []


async def test_a_message_that_is_gone_is_no_matter(world: World) -> None:
    await world.make(b"lost")
    await world.lose(1)
    await world.js.delete_msg("ORDERS", 1)
    async with world.running() as runtime:
        await world.tell()
        await runtime.wait_idle(0.3)
    assert await world.dead_letters() == []
    assert world.ends() == []


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b'{"stream_seq": 1}', b'{"stream_seq":1,"deliveries":1,"timestamp":3}']
)
async def test_what_is_no_advisory_is_dropped_and_told(world: World, payload: bytes) -> None:
    await world.make(b"fine")
    async with world.running() as runtime:
        await world.js.publish(SUBJECT, payload)
        await runtime.wait_idle(0.3)
        assert world.ends() == [("work.exhausted", "rejected", "term")]
        assert runtime.trigger_counters()["work"][1].acked == 1


@pytest.mark.parametrize("payload", [b"block", b"block, wait"])
async def test_a_handler_that_ends_well_though_its_time_was_over_is_not_dead_lettered(
    world: World, payload: bytes
) -> None:
    """The event loop stood still on the last delivery, the server gave it up, and then it was done."""
    await world.make(payload)
    async with world.running() as runtime:
        await until(lambda: runtime.trigger_counters()["work"][1].acked == 1)
        await until(world.advisories_are_read)
        await runtime.wait_idle(0.3)
    assert await world.dead_letters() == []


async def test_a_handler_that_fails_after_its_time_was_over_is_dead_lettered_once_with_its_own_error(
    world: World,
) -> None:
    await world.make(b"block, wait, fail")
    async with world.running() as runtime:
        await until(world.advisories_are_read)
        await until(lambda: len(world.ends()) == 1)
        await runtime.wait_idle(0.3)
    ((payload, reason, error),) = await world.dead_letters()
    assert (payload, reason) == (b"block, wait, fail", "exhausted")
    assert error.startswith("ValueError: after all that time")
    assert len(world.ends()) == 1


async def test_the_same_sequence_of_a_stream_made_anew_is_another_message(world: World) -> None:
    await world.make(b"new", retention="workqueue", max_deliver=2, ack_wait=30)
    await world.lose(1)
    await world.tell(timestamp="2026-01-01T00:00:00Z")
    async with world.running():
        await until(world.advisories_are_read)
    assert await world.messages() == 1
    assert await world.dead_letters() == []


@pytest.mark.parametrize("attempts", [2, 5])
async def test_a_handler_that_fails_on_the_last_delivery_is_dead_lettered_at_once_with_its_own_error(
    world: World, attempts: int
) -> None:
    """Also where the server allows fewer than `attempts`: behind its last delivery there is no other."""
    await world.make(b"bad", max_deliver=2, ack_wait=30)
    async with world.running(
        f'dead_letter = "dead.work"\n    attempts = {attempts}\n    retry.delays = [0.1]'
    ) as runtime:
        await until(lambda: len(world.ends()) == 1)
        await runtime.wait_idle(0.3)
    ((payload, reason, error),) = await world.dead_letters()
    assert (payload, reason) == (b"bad", "exhausted")
    assert error.startswith("ValueError: the handler's own words")
    assert await world.messages("ADVISORIES") == 0


async def test_with_terminate_it_is_dropped_and_told(world: World) -> None:
    await world.make(b"lost", retention="workqueue")
    await world.lose(1)
    async with world.running('on_exhausted = "terminate"') as runtime:
        await until(lambda: runtime.trigger_counters()["work"][1].terminated == 1)
        await runtime.wait_idle(0.3)
    assert world.ends() == [("work", "exhausted", "term")]
    assert await world.messages() == 0
    with pytest.raises(NotFoundError):
        await world.js.stream_info("DEAD_WORK")


async def test_advisories_wait_where_the_dead_letters_have_no_room_and_a_stop_does_not_wait_for_them(
    world: World,
) -> None:
    await world.make(*[b"lost"] * 3, retention="workqueue")
    await world.lose(3)
    full = StreamConfig(name="DEAD_WORK", subjects=["dead.work"], max_msgs=1, discard=DiscardPolicy.NEW)
    await world.js.add_stream(full)
    async with world.running() as runtime:
        await until(lambda: runtime.trigger_counters()["work"][1].dead_lettered == 1)
        await until(
            lambda: any(isinstance(fact, DeliveryFailed) and fact.trigger == "work.exhausted" for fact in world)
        )
        assert runtime.trigger_counters()["work"][0] is State.RUNNING
        before = time.monotonic()
    assert time.monotonic() - before < 3
    assert runtime.exit_code == 0
    await world.js.update_stream(StreamConfig(**{**full.__dict__, "max_msgs": -1}))
    async with world.running() as runtime:
        await runtime.wait_idle(0.3)
    assert await world.dead_letters() == [GIVEN_UP] * 3
    assert await world.messages() == 0


async def test_a_limit_that_somebody_sets_while_it_runs_is_noticed(world: World, server: NatsServer) -> None:
    await world.make(max_deliver=-1)
    await world.js.delete_stream("ADVISORIES")
    async with world.running() as runtime:
        await until(lambda: not runtime.unready())
        await world.js.add_consumer("ORDERS", policy(ack_wait=0.3, max_deliver=4))
        server.stop()
        server.start()
        await until(lambda: "has max_deliver = 4" in world.failed("work"))
        assert runtime.trigger_counters()["work"][0] is State.FAILED


async def test_without_the_stream_of_advisories_it_fails_later_too(world: World) -> None:
    await world.make(b"fine")
    async with world.running() as runtime:
        await until(lambda: runtime.trigger_counters()["work"][1].acked == 1)
        await world.js.delete_stream("ADVISORIES")
        # Server 2.9 refuses no pull of what is gone: if the first comes behind, two missed heartbeats tell, 10 s.
        await until(lambda: "what its consumer gives up is seen by nobody" in world.failed("work"), within=30)
        assert runtime.trigger_counters()["work"][0] is State.FAILED
