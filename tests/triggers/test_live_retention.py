"""Streams that keep a message only until it is settled, and dead-letter streams that others take away."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from eventbus_runtime import Runtime
from eventbus_runtime.events import DeliveryFailed, State, Warned
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Reject
from eventbus_runtime.testing.server import NatsServer
from tests.test_runtime import Facts, write
from tests.triggers.live import SOON, connected, running, until
from tests.triggers.test_live_settlement import DEAD, make_dead, prepare_dead


@pytest.mark.parametrize("retention", ["interest", "workqueue"])
async def test_under_retries_rejections_and_dead_letters_the_stream_ends_empty(
    server: NatsServer, retention: str
) -> None:
    await make_dead(server)
    starts: Counter[bytes] = Counter()

    async def handler(message: Message) -> None:
        starts[message.payload] += 1
        number = int(message.payload)
        if number % 4 == 1 and message.delivery_count == 1:
            raise ValueError("once")
        if number % 4 == 2:
            raise ValueError("always")
        if number % 4 == 3:
            raise Reject("no good")

    async with running(
        server, handler, stream={"retention": retention}, retry=SOON, prepare=prepare_dead,
        dead_letter=DEAD, attempts=3, max_in_flight=20,
    ) as live:  # fmt: skip
        await live.publish_stored(100)
        await until(live.drained)
        state = (await live.outside.api("STREAM.INFO.S"))["state"]
        assert (state["messages"], state["last_seq"]) == (0, 100)
        assert starts == {b"%d" % number: (1, 2, 3, 1)[number % 4] for number in range(100)}
        assert (await live.outside.api("STREAM.INFO.DEAD"))["state"]["messages"] == 50
        assert (live.trigger.counters.acked, live.trigger.counters.dead_lettered) == (50, 50)


CONFIG = """
    [buses.main]
    url = "{url}"
    [streams.S]
    subjects = ["s.>"]
    {declared}
    [triggers.t]
    stream = "S"
    dead_letter = "dead.t"
    retry = {{ delays = ["50ms"] }}
"""
HANDLERS = """
    from eventbus_runtime import Reject, pipeline

    @pipeline
    async def t(message):
        if message.payload == b"bad":
            raise Reject("no good")
"""


@pytest.mark.parametrize("declared", ["", '[streams.ALL_DEAD]\n    subjects = ["dead.>"]'], ids=["default", "declared"])
async def test_a_dead_letter_stream_deleted_while_it_runs_is_made_again_and_takes_what_waited(
    tmp_path: Path, server: NatsServer, declared: str
) -> None:
    name, facts = "ALL_DEAD" if declared else "DEAD_T", Facts()
    path = write(tmp_path, CONFIG.format(url=server.url, declared=declared), HANDLERS)
    async with connected(server.url) as outside, Runtime.from_file(path, listeners=[facts]) as runtime:
        await until(lambda: runtime._triggers["t"].state is State.RUNNING)
        await outside.publish("s.a", b"bad")
        await until(lambda: runtime._triggers["t"].counters.dead_lettered == 1)
        await outside.api(f"STREAM.DELETE.{name}")
        await outside.publish("s.a", b"bad")
        await outside.publish("s.a", b"good")
        await until(lambda: runtime._triggers["t"].counters.dead_lettered == 2)
        assert runtime._triggers["t"].counters.acked == 1
        assert (await outside.api(f"STREAM.INFO.{name}"))["state"]["messages"] == 1
        failures = [fact for fact in facts if isinstance(fact, DeliveryFailed) and fact.settlement == "nak"]
        assert failures
        assert all(re.search("dead letter was not confirmed: .*'dead.t'", fact.text) for fact in failures)
        assert runtime._triggers["t"].state is State.RUNNING


async def test_one_that_is_not_ours_to_make_is_waited_for_and_nothing_else_is_held_up(
    tmp_path: Path, server: NatsServer
) -> None:
    config = CONFIG.format(url=server.url, declared="") + "    declare_dead_letter = false\n"
    facts = Facts()
    async with connected(server.url) as outside:
        await make_dead(server)
        async with Runtime.from_file(write(tmp_path, config, HANDLERS), listeners=[facts]) as runtime:
            trigger = runtime._triggers["t"]
            await until(lambda: trigger.state is State.RUNNING)
            await outside.api("STREAM.DELETE.DEAD")
            await outside.publish("s.a", b"bad")
            await until(lambda: trigger.counters.nakked >= 2)
            await outside.publish("s.a", b"good")
            await until(lambda: trigger.counters.acked == 1)
            assert trigger.state is State.RUNNING
            (warning,) = [fact.text for fact in facts if isinstance(fact, Warned)]
            assert warning.startswith('no stream stores the dead_letter "dead.t" of the trigger t')
            await make_dead(server)
            await until(lambda: trigger.counters.dead_lettered == 1)
