"""What several of the buses' tests need."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from eventbus_runtime.buses.embedded import find_server
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.events import Fact, State, StateChanged
from eventbus_runtime.message import Raw
from eventbus_runtime.testing.server import NatsServer


class Facts:
    """Keeps what a bus tells, and waits for it."""

    def __init__(self) -> None:
        self.all: list[Fact] = []
        self._news = asyncio.Event()

    def __call__(self, fact: Fact) -> None:
        self.all.append(fact)
        self._news.set()

    @property
    def states(self) -> list[State]:
        """The states that it took, in order."""
        return [fact.new for fact in self.all if isinstance(fact, StateChanged)]

    async def until(self, met: Callable[[Fact], bool]) -> Fact:
        """The first fact for which `met` is true, told before or within 10 s."""
        async with asyncio.timeout(10):
            while True:
                for fact in self.all:
                    if met(fact):
                        return fact
                self._news.clear()
                await self._news.wait()

    async def until_state(self, state: State) -> Fact:
        """The first change to `state`."""
        return await self.until(lambda fact: isinstance(fact, StateChanged) and fact.new is state)


class Sink:
    """Keeps what comes to an inbox, list by list, and waits for it."""

    def __init__(self) -> None:
        self.lists: list[list[Raw]] = []
        self._news = asyncio.Event()

    def __call__(self, raws: list[Raw]) -> None:
        self.lists.append(raws)
        self._news.set()

    @property
    def all(self) -> list[Raw]:
        """All that came, in order."""
        return [raw for raws in self.lists for raw in raws]

    async def until(self, count: int) -> list[Raw]:
        """All that came, once there are `count` of them."""
        async with asyncio.timeout(10):
            while len(self.all) < count:
                self._news.clear()
                await self._news.wait()
        return self.all


def bus_on(*urls: str, tell: Callable[[Fact], None] = lambda fact: None, **section: Any) -> NatsBus:
    """A bus `main` with these addresses and keys of its section."""
    return NatsBus("main", BusConfig.model_validate(section), urls=urls, tell=tell)


async def poll(met: Callable[[], bool]) -> None:
    """Return once `met` is true, within 10 s; for what only the server knows."""
    async with asyncio.timeout(10):
        while not met():
            await asyncio.sleep(0.01)


@contextmanager
def frozen(server: NatsServer) -> Iterator[None]:
    """The server's connections stand, and it does nothing."""
    process = psutil.Process(server.pid)
    server.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while process.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.001)
    yield
    if process.is_running():
        process.send_signal(signal.SIGCONT)


def server_version() -> tuple[int, ...]:
    """Version of the nats-server that these tests run on."""
    said = subprocess.run([find_server(), "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.strip().rpartition("v")[2].split("-")[0].split("."))


def written(path: Path, text: str) -> Path:
    """Write a file, and return its path."""
    path.write_text(text, encoding="utf-8")
    return path
