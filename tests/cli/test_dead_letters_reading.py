"""Looking at dead letters costs the server little, disturbs nobody, and finds all of them."""

from __future__ import annotations

import json
from pathlib import Path
from random import sample

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.dead_letters.streams import read
from eventbus_runtime.testing.server import NatsServer
from tests.cli.dead_letters import bury, dead_letters, json_lines, make_streams
from tests.triggers.live import Observer


async def sequences(bus: NatsBus, first: int = 1, last: int = 10**6, subject: str = "dead.orders") -> list[int]:
    """What `read` finds in DEAD."""
    return [message.sequence async for message in read(bus, "DEAD", subject, first=first, last=last, timeout=5)]


async def requests(observer: Observer, bus: NatsBus) -> list[dict[str, int]]:
    """What was asked of STREAM.MSG.GET so far."""
    await bus.ping()
    await observer.flush()
    return [json.loads(seen.payload) for seen in observer.seen]


async def test_letters_that_lie_close_together_cost_one_request_each(server: NatsServer, bus: NatsBus) -> None:
    await bury(bus, range(1, 1001))
    async with Observer(server.url, "$JS.API.STREAM.MSG.GET.DEAD") as observer:
        assert await sequences(bus) == list(range(1, 1001))
        assert len(await requests(observer, bus)) < 1150


async def test_gaps_cost_no_more_than_the_letters(server: NatsServer, bus: NatsBus) -> None:
    await bury(bus, range(1, 1501))
    kept = sorted(sample(range(1, 1501), 15))
    for gone in set(range(1, 1501)) - set(kept):
        await bus.api("STREAM.MSG.DELETE.DEAD", {"seq": gone, "no_erase": True})
    async with Observer(server.url, "$JS.API.STREAM.MSG.GET.DEAD") as observer:
        assert await sequences(bus) == kept
        assert len(await requests(observer, bus)) <= 3 * len(kept) + 3


async def test_any_pattern_of_subjects_and_gaps_is_read_whole_and_in_order(bus: NatsBus) -> None:
    ours: list[int] = []
    at = 0
    for length in (1, 70, 1, 2, 5, 1, 130, 3):
        await bury(bus, range(at + 1, at + 1 + length))
        ours += range(at + 1, at + 1 + length)
        at += length
        await bury(bus, range(at + 1, at + 1 + length % 7), to="dead.other")
        at += length % 7
    for gone in ours[10:20] + ours[100:101]:
        await bus.api("STREAM.MSG.DELETE.DEAD", {"seq": gone, "no_erase": True})
    left = ours[:10] + ours[20:100] + ours[101:]
    assert await sequences(bus) == left
    for first, last in ((left[3], left[-1]), (left[3], left[-4]), (15, 16), (left[-1], left[-1])):
        assert await sequences(bus, first, last) == [each for each in left if first <= each <= last]


async def test_large_letters_are_not_held_all_at_once(server: NatsServer, bus: NatsBus) -> None:
    """Of 900 kB each, 8 MiB hold nine; asked for 64 at once, they would take 58 MB, and their JSON twice that."""
    await bury(bus, range(1, 41), payload=b"x" * 900_000)
    async with Observer(server.url, "$JS.API.STREAM.MSG.GET.DEAD", "_INBOX.>") as observer:
        assert len(await sequences(bus)) == 40
        await bus.ping()
        await observer.flush()
    under_way = most = 0
    for seen in observer.seen:
        under_way += 1 if seen.reply else -1
        most = max(most, under_way)
    assert 1 < most <= 9
    # In JSON a message is larger than max_payload, and arrives nevertheless.
    assert max(len(seen.payload) for seen in observer.seen) > 1_200_000


async def test_no_consumer_is_made_or_disturbed_on_a_workqueue(server: NatsServer, bus: NatsBus, file: Path) -> None:
    await make_streams(bus, retention="workqueue")
    config = {"durable_name": "watch", "ack_policy": "explicit"}
    await bus.api("CONSUMER.CREATE.DEAD.watch", {"stream_name": "DEAD", "config": config})
    await bury(bus, range(1, 101))
    async with Observer(server.url, "$JS.API.CONSUMER.>", "$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>") as seen:
        assert len(json_lines(dead_letters(file, "list", "--json"))) == 100
        assert dead_letters(file, "show", "3").returncode == 0
        assert dead_letters(file, "replay", "--sequence", "1-10").returncode == 0
        assert dead_letters(file, "drop", "--sequence", "11-20", "--yes").returncode == 0
        await bus.ping()
        await seen.flush()
        assert seen.seen == []
    consumers = await bus.api("CONSUMER.NAMES.DEAD")
    assert consumers["consumers"] == ["watch"]
    watch = await bus.api("CONSUMER.INFO.DEAD.watch")
    assert (watch["num_ack_pending"], watch["num_pending"]) == (0, 80)
