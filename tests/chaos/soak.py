"""Full rate, and a kill every 20 seconds: does the ledger balance, and does what survives stay as it was?

    python -m tests.chaos.soak [MINUTES]

In the middle of each round the server or one of two workers is killed with SIGKILL, in turns. At its end all that was
published must be handled, and doubles explained. The other worker lives through all of it: its memory, open files,
threads and tasks are sampled each second, and compared as `benchmarks.soak` does it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.soak import Drift, drift
from eventbus_runtime.testing.server import NatsServer
from tests.chaos.handlers import TASKS
from tests.chaos.ledger import Balance
from tests.chaos.scene import Scene, running
from tests.service.worker import Worker

_ROUND = 20.0
_PUBLISHERS = 512
_BACKLOG = 20_000
"""Messages that may wait for a worker: above it publishing pauses, so that the stream's bound drops none of them."""

_FORGOTTEN = 100_000
"""Doubles that a kill of the server explains: at full rate it forgets the acks of its last second or so."""

_IN_FLIGHT = 256
_STREAM = "max_msgs = 1000000"


class Allowed(NamedTuple):
    """How far a sampled value may rise: in percent or by so much, whichever is more."""

    percent: float
    amount: float


MOST = {"MiB resident": Allowed(5, 3), "open files": Allowed(0, 1), "threads": Allowed(0, 1), "tasks": Allowed(5, 5)}


class Survivor:
    """The worker that nobody kills, as seen from outside, and its tasks as it tells of them.

    Args:
        worker: the worker.
        tasks: the file that it writes the number of its tasks to.
    """

    def __init__(self, worker: Worker, tasks: Path) -> None:
        assert worker.process is not None
        self._process, self._tasks = psutil.Process(worker.process.pid), tasks
        self.samples: dict[str, list[float]] = {name: [] for name in MOST}

    async def watch(self) -> None:
        """Take a sample each second, until cancelled."""
        while True:
            with self._process.oneshot():
                now = (
                    self._process.memory_info().rss / 2**20,
                    self._process.num_fds(),
                    self._process.num_threads(),
                    int(self._tasks.read_text().split()[-1]),
                )
            for name, value in zip(MOST, now, strict=True):
                self.samples[name].append(value)
            await asyncio.sleep(1)


def risen(found: Drift, allowed: Allowed) -> bool:
    """Whether a value rose by more than it may."""
    return found.last > max(found.first * (1 + allowed.percent / 100), found.first + allowed.amount)


class Soak:
    """One run.

    Args:
        scene: where.
        server: the scene's server.
        say: takes lines.
        length: of a round, in seconds.
    """

    def __init__(self, scene: Scene, server: NatsServer, say: Callable[[str], None], length: float = _ROUND) -> None:
        self._scene, self._server, self._say, self._length = scene, server, say, length
        self._balances: list[Balance] = []
        self._held = False

    async def run(self, minutes: float) -> bool:
        """Whether all was well."""
        tasks = self._scene.folder / "tasks"
        environment = {TASKS: str(tasks)}
        parts: dict[str, Any] = {"stream": _STREAM, "in_flight": _IN_FLIGHT, "work": 0.002}
        lasting = await self._scene.worker("survivor", environment=environment, **parts)
        victim = await self._scene.worker("victim", **parts)
        survivor = Survivor(lasting, tasks)
        rounds = max(2, round(minutes * 60 / self._length))
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(survivor.watch())
            for number in range(1, rounds + 1):
                balance = await self._round(victim if number % 2 else None)
                self._say(f"round {number} of {rounds}: {balance}")
                balance.check()
                self._balances.append(balance)
                self._scene.ledger.turn_page()
            watching.cancel()
        await self._scene.stop_all()
        return self._summarise(survivor.samples, rounds * self._length)

    async def _round(self, victim: Worker | None) -> Balance:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hold(over))
            for _ in range(_PUBLISHERS):
                group.create_task(self._publish(over))
            await asyncio.sleep(self._length / 2)
            await self._kill(victim)
            await asyncio.sleep(self._length / 2)
            over.set()
        await self._scene.drained(60)
        return await self._scene.account()

    async def _kill(self, victim: Worker | None) -> None:
        """Kill a worker, or the server, and return once there is work done again."""
        if victim is not None:
            with self._scene.ledger.disturbance("worker killed", doubles=_IN_FLIGHT):
                await self._scene.restart(victim)
                await running(victim)
        else:
            with self._scene.ledger.disturbance("server killed, which forgot", doubles=_FORGOTTEN):
                await asyncio.to_thread(self._server.kill)
                await asyncio.to_thread(self._server.start)
                await self._scene.more(1)

    async def _publish(self, over: asyncio.Event) -> None:
        while not over.is_set():
            if self._held or not self._scene.bus.is_connected:
                await asyncio.sleep(0.02)
            else:
                await self._scene.publish_one()

    async def _hold(self, over: asyncio.Event) -> None:
        """Keep what waits for a worker within bounds."""
        ledger = self._scene.ledger
        while not over.is_set():
            self._held = ledger.published - ledger.runs > _BACKLOG
            await asyncio.sleep(0.02)

    def _summarise(self, samples: dict[str, list[float]], seconds: float) -> bool:
        published = sum(balance.published for balance in self._balances)
        doubles: Counter[str] = Counter()
        for balance in self._balances:
            doubles.update(balance.explained)
        why = ", ".join(f"{count:,} {what}" for what, count in doubles.items()) or "none"
        self._say(f"{published:,} published, {published / seconds:,.0f} a second; none missing; doubles: {why}")
        drifts = {name: drift(values) for name, values in samples.items()}
        for name, found in drifts.items():
            verdict = "RISEN" if risen(found, MOST[name]) else "flat"
            self._say(f"{name}: {found.first:.1f}, at the end {found.last:.1f}: {verdict}")
        return not any(risen(found, MOST[name]) for name, found in drifts.items())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def soak(minutes: float) -> bool:
    """Run it, with a server and a folder of its own; whether all was well."""
    with tempfile.TemporaryDirectory(prefix="eventbus-soak-") as folder, NatsServer() as server:
        async with Scene(Path(folder), [server.url], _say) as scene:
            return await Soak(scene, server, _say).run(minutes)


def main(arguments: Sequence[str]) -> int:
    """Run it; 1 when something rose, or the ledger does not balance."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave as after Ctrl-C: with no process left behind
    try:
        return 0 if asyncio.run(soak(float(arguments[0]) if arguments else 10.0)) else 1
    except* AssertionError as errors:
        for error in errors.exceptions:
            _say(str(error))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
