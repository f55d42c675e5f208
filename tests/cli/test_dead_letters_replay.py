"""`eventbus dead-letters FILE replay`: what is published, what is deleted, and what is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Reject
from eventbus_runtime.testing.server import NatsServer
from tests.cli.command import on_a_terminal
from tests.cli.dead_letters import buried, bury, dead_letters, json_lines, messages, payloads
from tests.triggers.live import running, until


async def test_the_message_goes_out_as_it_was_and_its_dead_letter_goes(bus: NatsBus, file: Path) -> None:
    await bury(bus, [1], headers=[("Type", "order"), ("Tag", "a"), ("Tag", "b"), ("Nats-Msg-Id", "o1")])
    (letter,) = json_lines(dead_letters(file, "list", "--json"))
    done = dead_letters(file, "replay", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"replayed 1 of 1 dead letter\n", b"")
    ((subject, payload, headers),) = await messages(bus, "ORDERS")
    assert (subject, payload) == ("orders.created", b"1")
    replay_id = headers["Nats-Msg-Id"]
    assert replay_id.startswith("DEAD.1.")
    assert replay_id.endswith(f"{letter['time'].partition('.')[2].removesuffix('Z').ljust(9, '0')}.replay")
    assert list(headers.pairs()) == [
        ("Type", "order"),
        ("Tag", "a"),
        ("Tag", "b"),
        ("Eventbus-Original-Msg-Id", "o1"),
        ("Eventbus-Replayed", "1"),
        ("Nats-Msg-Id", replay_id),
    ]
    assert await messages(bus, "DEAD") == []
    assert not (file.parent / ".eventbus").exists()


async def test_no_header_asks_the_server_for_anything_again(bus: NatsBus, file: Path) -> None:
    """A rollup would empty the stream, an expectation would refuse the publish, a TTL would let it vanish."""
    await bus.api("STREAM.UPDATE.ORDERS", {"name": "ORDERS", "subjects": ["orders.>"], "allow_rollup_hdrs": True})
    await bus.publish("orders.paid", b"0")
    asking = [("Nats-Rollup", "all"), ("Nats-Expected-Last-Sequence", "77"), ("Nats-TTL", "1s"), ("Nats-Batch-Id", "b")]
    await bury(bus, [1], headers=[*asking, ("Nats-Sequence", "9"), ("Nats-Service-Error", "no")])
    assert dead_letters(file, "replay", "--yes").returncode == 0
    assert await payloads(bus, "ORDERS") == [0, 1]
    headers = dict((await messages(bus, "ORDERS"))[1][2])
    assert {name for name in headers if name.startswith("Nats-")} == {
        "Nats-Msg-Id",
        "Nats-Sequence",
        "Nats-Service-Error",
    }
    assert headers["Eventbus-Original-Rollup"] == "all"


async def test_only_what_passes_the_filters_is_replayed_and_json_tells_each(bus: NatsBus, file: Path) -> None:
    await bury(bus, [1, 2, 3])
    await bury(bus, [4, 5], reason="exhausted")
    results = json_lines(dead_letters(file, "replay", "--reason", "exhausted", "--json"))
    assert results == [
        {
            "bus": "main",
            "stream": "DEAD",
            "sequence": 3 + at,
            "result": "replayed",
            "detail": "",
            "stored": {"stream": "ORDERS", "sequence": at},
        }
        for at in (1, 2)
    ]
    assert (await payloads(bus, "ORDERS"), await buried(bus)) == ([4, 5], [1, 2, 3])
    assert dead_letters(file, "replay", "--limit", "1").returncode == 0
    assert (await payloads(bus, "ORDERS"), await buried(bus)) == ([4, 5, 1], [2, 3])


async def test_a_dry_run_tells_and_does_nothing(bus: NatsBus, file: Path) -> None:
    await bury(bus, [1, 2])
    await bury(bus, [3], reference=True)
    done = dead_letters(file, "replay", "--dry-run")
    assert (done.returncode, done.stdout) == (1, b"would replay 2 of 3 dead letters\n")
    assert done.stderr.startswith(b"DEAD 3: ")
    lines = dead_letters(file, "replay", "--dry-run", "--json").stdout.splitlines()
    results = {line["sequence"]: line["result"] for line in map(json.loads, lines)}
    assert results == {1: "would-replay", 2: "would-replay", 3: "refused"}
    assert (await payloads(bus, "ORDERS"), await buried(bus)) == ([], [1, 2, 3])
    assert not (file.parent / ".eventbus").exists()


async def test_what_holds_no_payload_is_refused_and_tells_where_the_original_is(bus: NatsBus, file: Path) -> None:
    await bury(bus, [7], reference=True, payload=b"x" * 999)
    await bury(bus, [8], headers=[("Nats-Msg-Size", "42")], payload=b"")  # of a consumer with headers_only
    await bury(bus, [9], payload=b"")  # it never had any
    done = dead_letters(file, "replay", "--yes")
    assert (done.returncode, done.stdout) == (1, b"replayed 1 of 3 dead letters\n")
    assert done.stderr.decode().splitlines() == [
        f"DEAD {at}: its payload of {size} bytes was left out; the original is message {number} of ORDERS, "
        "if that still has it"
        for at, size, number in ((1, 999, 7), (2, 42, 8))
    ]
    assert await buried(bus) == [7, 8]
    assert [payload for _, payload, _ in await messages(bus, "ORDERS")] == [b""]


async def test_what_says_no_subject_or_one_that_nobody_stores_stays(bus: NatsBus, file: Path) -> None:
    await bury(bus, [1])
    await bury(bus, [2], subject="parcels.sent")
    await bus.publish("dead.orders", b"by hand")
    done = dead_letters(file, "replay", "--yes")
    assert (done.returncode, done.stdout) == (1, b"replayed 1 of 3 dead letters\n")
    assert done.stderr.decode().splitlines() == [
        "DEAD 2: no stream stores 'parcels.sent' now: make one, or drop the dead letter",
        "DEAD 3: it does not say what subject it came from (Eventbus-Subject: '')",
    ]
    assert [headers.get("Eventbus-Sequence") for _, _, headers in await messages(bus, "DEAD")] == ["2", None]


async def test_what_the_origins_stream_refuses_stays(bus: NatsBus, file: Path) -> None:
    await bus.api(
        "STREAM.UPDATE.ORDERS", {"name": "ORDERS", "subjects": ["orders.>"], "max_msgs": 70, "discard": "new"}
    )
    await bury(bus, range(1, 101))
    done = dead_letters(file, "replay", "--yes")
    assert (done.returncode, done.stdout) == (1, b"replayed 70 of 100 dead letters\n")
    assert b"maximum messages exceeded" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert sorted([*await payloads(bus, "ORDERS"), *await buried(bus)]) == list(range(1, 101))


async def test_a_stream_that_confirms_nothing_is_refused(bus: NatsBus, file: Path) -> None:
    await bus.api("STREAM.CREATE.QUIET", {"name": "QUIET", "subjects": ["quiet"], "no_ack": True})
    await bury(bus, [1], subject="quiet")
    done = dead_letters(file, "replay", "--yes")
    assert done.returncode == 1
    assert b"confirms nothing (no_ack)" in done.stderr
    assert await buried(bus) == [1]


@pytest.mark.parametrize("command", ["replay", "drop"])
async def test_a_stream_that_denies_deletes_is_refused_before_anything_happens(
    bus: NatsBus, file: Path, command: str
) -> None:
    await bury(bus, [1])
    await bus.api("STREAM.UPDATE.DEAD", {"name": "DEAD", "subjects": ["dead.>"], "deny_delete": True})
    done = dead_letters(file, command, "--yes")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"deny_delete" in done.stderr
    assert (await payloads(bus, "ORDERS"), await buried(bus)) == ([], [1])


async def test_replaying_everything_asks_first(bus: NatsBus, file: Path) -> None:
    await bury(bus, [1, 2])
    done = dead_letters(file, "replay")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Replay 2 dead letters of DEAD? " in done.stderr
    assert b"add --yes" in done.stderr
    assert on_a_terminal("dead-letters", file, "replay", answer=b"n\n")[0] == 1
    assert (await payloads(bus, "ORDERS"), await buried(bus)) == ([], [1, 2])
    assert on_a_terminal("dead-letters", file, "replay", answer=b"y\n")[0] == 0
    assert (await payloads(bus, "ORDERS"), await buried(bus)) == ([1, 2], [])


async def test_a_message_that_comes_back_says_how_often_it_was_replayed(server: NatsServer, file: Path) -> None:
    """And what fails at once does not keep the replay going for ever."""

    async def reject(message: Message) -> None:
        raise Reject("still wrong")

    stream = {"subjects": ["orders.>", "s.>"]}
    async with running(server, reject, stream=stream, consumer={"filter_subject": "orders.created"}) as live:
        pass
    file.write_text(
        f'[buses.main]\nurl = "{server.url}"\n[streams.S]\nsubjects = ["orders.>"]\n[consumers.c]\nstream = "S"\n'
        '[triggers.t]\nconsumer = "c"\ndead_letter = "dead.t"\n'
    )
    async with running(server, reject, make=False, dead_letter="dead.t") as live:
        await live.outside.api("STREAM.CREATE.DEAD", {"name": "DEAD", "subjects": ["dead.>"]})
        await live.outside.publish("orders.created", b"1", {"Type": "order"}, id="o1")
        for replays in (0, 1, 2):
            await until(lambda: live.trigger.counters.dead_lettered == replays + 1)  # noqa: B023 - awaited here
            (letter,) = json_lines(dead_letters(file, "list", "--json"))
            assert letter["replays"] == replays
            assert letter["triggers"] == ["t"]
            assert letter["headers"]["Type"] == ["order"]
            assert letter["headers"]["Eventbus-Original-Msg-Id"] == ["o1"]
            assert letter["error"] == "still wrong"
            if replays < 2:
                assert dead_letters(file, "replay", "--yes").stdout == b"replayed 1 of 1 dead letter\n"
    assert b"  2x        still wrong" in dead_letters(file, "list").stdout
    assert b"replayed     2x, and came back" in dead_letters(file, "show", str(letter["sequence"])).stdout
    assert "REPLAYED" in on_a_terminal("dead-letters", file, "list")[1]


@pytest.mark.timed
async def test_a_rate_is_kept(bus: NatsBus, file: Path) -> None:
    await bury(bus, range(1, 41))
    begun = time.monotonic()
    assert dead_letters(file, "replay", "--yes", "--rate", "40/s").returncode == 0
    assert time.monotonic() - begun > 0.7  # four groups of 10, a quarter of a second apart
    stamps = [headers["Nats-Msg-Id"] for _, _, headers in await messages(bus, "ORDERS")]
    assert len(set(stamps)) == 40


async def test_dropping_asks_and_deletes_what_is_meant(bus: NatsBus, file: Path) -> None:
    await bury(bus, range(1, 101))
    await bury(bus, [101, 102], reason="exhausted")
    done = dead_letters(file, "drop", "--reason", "rejected")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Delete 100 dead letters of DEAD for good?" in done.stderr
    assert on_a_terminal("dead-letters", file, "drop", "--reason", "rejected", answer=b"n\n")[0] == 1
    assert len(await buried(bus)) == 102
    done = dead_letters(file, "drop", "--reason", "rejected", "--yes")
    assert (done.returncode, done.stdout) == (0, b"dropped 100 of 100 dead letters\n")
    assert (await payloads(bus, "ORDERS"), await buried(bus)) == ([], [101, 102])
    results = json_lines(dead_letters(file, "drop", "--yes", "--json"))
    assert [(each["sequence"], each["result"]) for each in results] == [(101, "dropped"), (102, "dropped")]


async def test_a_progress_bar_is_for_terminals_only(bus: NatsBus, file: Path) -> None:
    await bury(bus, range(1, 81))
    code, shown = on_a_terminal("dead-letters", file, "replay", "--limit", "40")
    assert code == 0
    assert "40/40" in shown
    assert shown.splitlines()[-1].endswith("replayed 40 of 40 dead letters")
    assert dead_letters(file, "replay", "--limit", "40").stderr == b""
