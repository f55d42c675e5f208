"""A replay that is killed, interrupted or cut off: nothing is lost, and the next one doubles nothing."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.dead_letters.drop import drop
from eventbus_runtime.dead_letters.letter import Place
from eventbus_runtime.dead_letters.replay import Replay
from eventbus_runtime.dead_letters.results import Result
from eventbus_runtime.dead_letters.selection import Picked
from eventbus_runtime.dead_letters.streams import AT_ONCE, find, read
from eventbus_runtime.dead_letters.unfinished import Unfinished
from eventbus_runtime.errors import DeadLetterError
from eventbus_runtime.testing.server import NatsServer
from tests.cli.command import command_line, environment
from tests.cli.dead_letters import CONFIG, buried, bury, dead_letters, make_streams, payloads
from tests.conftest import MakeServer
from tests.triggers.live import Observer, connected

USERS = """
authorization {{ users = [
  {{ user: all, password: p }}
  {{ user: some, password: p, permissions: {{ publish: {{ deny: ["{denied}"] }} }} }}
] }}
"""
ORDERS = {"name": "ORDERS", "subjects": ["orders.>"]}


class Stopped(Exception):
    """Ends a replay at once."""


class Replaying:
    """One `replay` process, and every message that it publishes as it goes by."""

    def __init__(self, process: subprocess.Popen[bytes], observer: Observer) -> None:
        self._process, self._observer = process, observer

    async def signal_at(self, number: signal.Signals, published: int, delay: float = 0.0) -> int:
        """Send it a signal so many seconds after so many messages went by; its exit code, negative for a signal that
        killed it."""
        while len(self._observer.seen) < published and self._process.poll() is None:
            await asyncio.sleep(0)
        await asyncio.sleep(delay)
        self._process.send_signal(number)
        return await asyncio.to_thread(self._process.wait, 20)

    def said(self) -> str:
        """What it printed."""
        assert self._process.stdout is not None
        return self._process.stdout.read().decode()


def _hear_interrupts() -> None:
    """A test run in the background ignores them, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@asynccontextmanager
async def replaying(server: NatsServer, file: Path, *arguments: str) -> AsyncIterator[Replaying]:
    async with Observer(server.url, "orders.>") as observer:
        process = subprocess.Popen(
            command_line("dead-letters", file, "replay", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            preexec_fn=_hear_interrupts,
        )
        with process:
            try:
                yield Replaying(process, observer)
            finally:
                process.kill()


async def ledger(bus: NatsBus) -> tuple[list[int], list[int]]:
    """The numbers that are stored again, and those that are still dead, each in ascending order."""
    return sorted(await payloads(bus, "ORDERS")), sorted(await buried(bus))


@pytest.mark.parametrize("round_", [1, 2, 3])
async def test_400_of_1000_are_replayed_with_kills_in_the_middle_none_lost_none_twice(
    server: NatsServer, bus: NatsBus, file: Path, round_: int
) -> None:
    meant = sorted(random.sample(range(1, 1001), 400))
    for number in range(0, 1000, 100):
        for reason in ("rejected", "exhausted"):
            chosen = [at for at in range(number + 1, number + 101) if (at in meant) == (reason == "rejected")]
            await bury(bus, chosen, reason=reason)
    assert len(await buried(bus)) == 1000
    # 64 go out at once: three runs, each killed in its first or second group, leave work for the last one.
    for published in [random.randint(1, 100) for _ in range(3)]:
        async with replaying(server, file, "--reason", "rejected", "--rate", "400/s") as replay:
            # At once it falls between publishes and deletes, a little later among the deletes, or behind them.
            delay = random.choice((0, 0, 0.002, 0.005, 0.01))
            assert await replay.signal_at(signal.SIGKILL, published, delay) == -signal.SIGKILL
    done = dead_letters(file, "replay", "--reason", "rejected")
    assert done.returncode == 0, done.stderr.decode()
    again, dead = await ledger(bus)
    told = done.stdout.decode().strip()
    print(f"stored again: {len(again)}, still dead: {len(dead)}; after three kills: {told}")  # noqa: T201 - the ledger
    assert again == meant
    assert dead == [number for number in range(1, 1001) if number not in set(meant)]
    assert not (file.parent / ".eventbus").exists()


async def test_an_interrupt_ends_what_is_under_way_and_says_what_is_left(
    server: NatsServer, bus: NatsBus, file: Path
) -> None:
    await bury(bus, range(1, 401))
    async with replaying(server, file, "--yes", "--rate", "400/s") as replay:
        assert await replay.signal_at(signal.SIGINT, 100) == 130
        said = replay.said()
    again, dead = await ledger(bus)
    assert sorted([*again, *dead]) == list(range(1, 401))  # nothing is in both
    assert 100 <= len(again) < 400
    assert said == f"interrupted: {len(dead)} dead letters of 400 left; the same command again goes on with them\n"
    assert not (file.parent / ".eventbus").exists()


@pytest.fixture
def stubborn(make_server: MakeServer, tmp_path: Path) -> tuple[NatsServer, Path, Path]:
    """A server, a configuration of a user who may publish and not delete, and one of a user who may do both."""
    server = make_server(USERS.format(denied="$JS.API.STREAM.MSG.DELETE.>"))
    return server, *configurations(server, tmp_path)


def configurations(server: NatsServer, folder: Path) -> tuple[Path, Path]:
    text = CONFIG.format(url=server.url)
    paths = folder / "some.toml", folder / "all.toml"
    for path in paths:
        path.write_text(f'{text}[buses.main.auth]\nuser = "{path.stem}"\npassword = "p"\n')
    return paths


def url_of(server: NatsServer) -> str:
    return server.url.replace("//", "//all:p@")


def note_of(file: Path) -> Path:
    """Where a replay notes what it has under way."""
    (note,) = (file.parent / ".eventbus").glob("DEAD.*.replay")
    return note


def cut_off(some: Path) -> None:
    """A replay that publishes, and whose deletes get no answer."""
    done = dead_letters(some, "replay", "--yes", "--timeout", "400ms")
    assert done.returncode == 1
    assert "it is replayed, but was not deleted" in done.stderr.decode()


@pytest.mark.parametrize("where", ["here", "on another machine"])
async def test_while_the_stream_remembers_ids_it_tells_what_was_published(
    stubborn: tuple[NatsServer, Path, Path], where: str
) -> None:
    server, some, all_ = stubborn
    async with connected(url_of(server)) as bus:
        await make_streams(bus)
        await bury(bus, [1, 2, 3])
        cut_off(some)
        assert await ledger(bus) == ([1, 2, 3], [1, 2, 3])
        if where != "here":  # there is no note there
            note_of(some).unlink()
        done = dead_letters(all_, "replay", "--yes")
        assert done.stderr == b""  # nothing is looked for
        assert done.stdout == (b"replayed 3 of 3 dead letters; 3 had been published by an earlier replay\n")
        assert await ledger(bus) == ([1, 2, 3], [])


async def test_when_the_ids_are_forgotten_it_looks_in_the_stream(stubborn: tuple[NatsServer, Path, Path]) -> None:
    server, some, all_ = stubborn
    async with connected(url_of(server)) as bus:
        await make_streams(bus, orders={"duplicate_window": 100_000_000})
        await bus.publish("orders.paid", b"0")
        await bury(bus, [1, 2, 3])
        cut_off(some)
        await bury(bus, [4])
        await asyncio.sleep(0.2)  # the window is over; nothing tells when
        await bus.publish("orders.paid", b"5")
        done = dead_letters(all_, "replay", "--yes")
        assert done.stdout == (b"replayed 4 of 4 dead letters; 3 had been published by an earlier replay\n")
        assert b"looking in ORDERS, from message 2 on, whether it published 3 messages" in done.stderr
        assert await ledger(bus) == ([0, 1, 2, 3, 4, 5], [])
        assert not (some.parent / ".eventbus").exists()


async def test_what_was_never_stored_is_published_then(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(USERS.format(denied="orders.>"))
    some, all_ = configurations(server, tmp_path)
    async with connected(url_of(server)) as bus:
        await make_streams(bus, orders={"duplicate_window": 100_000_000})
        await bury(bus, [1, 2])
        done = dead_letters(some, "replay", "--yes", "--timeout", "400ms")
        assert done.returncode == 1
        assert await ledger(bus) == ([], [1, 2])
        assert note_of(some).stat().st_size > 0
        await asyncio.sleep(0.2)
        done = dead_letters(all_, "replay", "--yes")
        assert (done.returncode, done.stdout) == (0, b"replayed 2 of 2 dead letters\n")
        assert await ledger(bus) == ([1, 2], [])


@pytest.mark.parametrize("how", ["a message is gone", "workqueue", "made anew", "made anew at once"])
async def test_what_nobody_can_tell_any_more_is_left_to_the_user(
    stubborn: tuple[NatsServer, Path, Path], how: str
) -> None:
    server, some, all_ = stubborn
    orders = {
        "duplicate_window": 60_000_000_000 if how == "made anew at once" else 100_000_000,
        "retention": "workqueue" if how == "workqueue" else "limits",
    }
    async with connected(url_of(server)) as bus:
        await make_streams(bus, orders=orders)
        await bury(bus, [1, 2])
        cut_off(some)
        await asyncio.sleep(0.2)
        if how.startswith("made anew"):
            await bus.api("STREAM.DELETE.ORDERS")
            await bus.api("STREAM.CREATE.ORDERS", ORDERS | orders)
        else:
            await bus.api("STREAM.MSG.DELETE.ORDERS", {"seq": 2})
        done = dead_letters(all_, "replay", "--yes")
        assert done.returncode == 1
        unknown = [1, 2] if how.startswith("made anew") else [2]
        assert b"whether it published this one can't be told: " in done.stderr
        assert sorted(await buried(bus)) == unknown
        note = note_of(some)
        assert str(note).encode() in done.stderr
        # A filter that leaves them out leaves the note.
        await bury(bus, [3])
        assert dead_letters(all_, "replay", "--origin-sequence", "3").returncode == 0
        assert dead_letters(all_, "replay", "--yes").returncode == 1
        note.unlink()
        assert dead_letters(all_, "replay", "--yes").returncode == 0
        assert await buried(bus) == []


async def test_what_was_dropped_meanwhile_is_forgotten(stubborn: tuple[NatsServer, Path, Path]) -> None:
    server, some, all_ = stubborn
    async with connected(url_of(server)) as bus:
        await make_streams(bus)
        await bury(bus, [1, 2])
        cut_off(some)
        assert dead_letters(all_, "drop", "--yes").returncode == 0
        await bury(bus, [3])
        assert dead_letters(all_, "replay", "--yes").stdout == b"replayed 1 of 1 dead letter\n"
        assert not (some.parent / ".eventbus").exists()


async def test_two_replays_of_one_stream_do_not_run_on_one_machine(bus: NatsBus, file: Path) -> None:
    await bury(bus, [1])
    stream = await find(bus, "dead.orders", timeout=5)
    assert stream is not None
    with Unfinished(file.parent, stream):
        done = dead_letters(file, "replay", "--yes")
    assert done.returncode == 1
    assert b"another command replays the dead letters of DEAD now" in done.stderr
    assert await ledger(bus) == ([], [1])
    assert dead_letters(file, "replay", "--yes").returncode == 0


async def test_where_nothing_can_be_noted_it_warns_and_goes_on(bus: NatsBus, file: Path) -> None:
    (file.parent / ".eventbus").write_text("not a folder")
    await bury(bus, [1])
    done = dead_letters(file, "replay", "--yes")
    assert done.returncode == 0
    assert b"duplicate_window" in done.stderr
    assert await ledger(bus) == ([1], [])


async def picked_from(bus: NatsBus) -> Picked:
    """All of `dead.orders`."""
    stream = await find(bus, "dead.orders", timeout=5)
    assert stream is not None
    picked = Picked(Place("main", "dead.orders", ()), stream)
    async for message in read(bus, "DEAD", "dead.orders", first=1, last=stream.last, timeout=5):
        picked.add(picked.place.letter(message))
    return picked


async def test_a_stream_that_was_made_anew_since_it_was_read_is_left_alone(bus: NatsBus, tmp_path: Path) -> None:
    """In another stream of that name, the same sequence is another message."""
    await bury(bus, [1])
    picked = await picked_from(bus)
    await make_streams(bus)
    await bury(bus, [2])
    results: list[Result] = []
    unfinished = Unfinished(tmp_path, picked.stream)
    replay = Replay(bus, picked, unfinished, report=results.append, say=pytest.fail, timeout=5)
    with pytest.raises(DeadLetterError, match="made anew"):
        await replay.run()
    with pytest.raises(DeadLetterError, match="made anew"):
        await drop(bus, picked, results.append, timeout=5)
    assert results == []
    assert await ledger(bus) == ([], [2])


async def test_the_note_says_behind_which_message_to_look(bus: NatsBus, tmp_path: Path) -> None:
    """Else a kill at the end of a long replay would have all of it read again."""
    await bury(bus, range(1, 101))
    picked = await picked_from(bus)

    def report(result: Result) -> None:
        if result.sequence > AT_ONCE:
            raise Stopped

    with Unfinished(tmp_path, picked.stream) as unfinished:
        with pytest.raises(Stopped):
            await Replay(bus, picked, unfinished, report=report, say=pytest.fail, timeout=5).run()
        assert sorted(unfinished.attempts) == list(range(AT_ONCE + 1, 101))
        assert {attempt.after for attempt in unfinished.attempts.values()} == {AT_ONCE}
