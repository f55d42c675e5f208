"""One scenario: a driver's connection, workers as processes of their own, a feed of messages, and the ledger."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import BusError, BusUnavailableError, NotFoundError, PublishError
from eventbus_runtime.message import AckToken, Raw
from tests.chaos.handlers import LEDGER, WORK
from tests.chaos.ledger import Balance, Ledger, Run
from tests.service.worker import Worker

ROOT = Path(__file__).parents[2]
IN_FLIGHT = 64
"""The workers' `max_in_flight`: no break can double more than that for each of them."""

ACK_WAIT = 2.0
"""Seconds after which the server delivers again what a lost worker held."""

LOST = "bus main: backing_off"
"""What a worker logs when its connection is gone."""

_CONFIG = """
[runtime]
imports = ["tests.chaos.handlers"]
shutdown_timeout = "10s"
[buses.main]
url = {urls}
{bus}
[streams.WORK]
subjects = ["work.>"]
{stream}
[consumers.work]
stream = "WORK"
ack_wait = "{ack_wait:g}s"
{consumer}
[triggers.work]
max_in_flight = {in_flight}
dead_letter = "dead.work"
{trigger}
{more}
"""


async def until(what: Callable[[], bool | Awaitable[bool]], text: str, within: float = 30.0) -> None:
    """Poll until it holds; `text` says what, when it does not within so many seconds."""
    deadline = time.monotonic() + within
    while True:
        holds = what()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert time.monotonic() < deadline, f"not within {within:g} s: {text}"
        await asyncio.sleep(0.02)


class Scene:
    """A scenario while it runs; leaving it kills what still does.

    Args:
        folder: where to keep its files.
        urls: the servers, as the driver reaches them.
        say: takes the ledger's line at the end.
        bus: settings of the driver's own connection.
    """

    def __init__(self, folder: Path, urls: Sequence[str], say: Callable[[str], None], bus: BusConfig | None = None):
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.txt")
        self.urls = urls
        self.notes: list[str] = []
        """What else is to be printed, as a time that was measured."""
        self._say = say
        self.workers: list[Worker] = []
        self._stack = AsyncExitStack()
        self.bus = NatsBus("driver", bus or BusConfig(), urls=urls)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.bus)
        await self.bus.wait_connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.__exit__(kind, error, trace)
        await self._stack.aclose()

    async def worker(
        self,
        name: str = "one",
        *,
        url: str = "",
        work: float = 0.05,
        wait: bool = True,
        environment: dict[str, str] | None = None,
        **parts: Any,
    ) -> Worker:
        """Start a worker.

        Args:
            name: of its folder.
            url: its way to the server; left out: the driver's.
            work: seconds that its handler takes.
            wait: whether to return only once its triggers run.
            environment: more variables.
            parts: `bus`, `stream`, `consumer`, `trigger`: more lines of these tables; `more`: more tables; `in_flight`
                and `ack_wait`: others than usual.
        """
        usual = dict.fromkeys(("bus", "stream", "consumer", "trigger", "more"), "")
        numbers = {"in_flight": IN_FLIGHT, "ack_wait": ACK_WAIT}
        config = _CONFIG.format(urls=json.dumps([url] if url else self.urls), **{**usual, **numbers, **parts})
        variables = {"PYTHONPATH": str(ROOT), LEDGER: str(self.ledger.path), WORK: str(work), **(environment or {})}
        worker = Worker(self.folder / name, config, "", **variables).start()
        self.workers.append(worker)
        if wait:
            await running(worker)
        return worker

    async def stop(self, worker: Worker) -> int:
        """Ask it to end, and wait until it has; its exit code."""
        worker.signal(signal.SIGTERM)
        return await asyncio.to_thread(worker.wait)

    async def restart(self, worker: Worker) -> None:
        """Kill it with SIGKILL, and start it again at once."""
        worker.signal(signal.SIGKILL)
        await asyncio.to_thread(worker.wait)
        worker.start()

    async def publish(self, count: int, wish: str = "", subject: str = "work.a") -> list[int]:
        """Publish so many at once, and return when all of them are confirmed, or will not be; those that are."""
        numbers = await asyncio.gather(*(self.publish_one(wish, subject) for _ in range(count)))
        return [number for number in numbers if number is not None]

    async def publish_one(self, wish: str = "", subject: str = "work.a") -> int | None:
        """Publish one; its number if it was confirmed."""
        number = self.ledger.next()
        try:
            await self.bus.publish(subject, f"{number} {wish}", timeout=2.0)
        except (BusError, PublishError):
            return None
        self.ledger.confirm(number)
        return number

    @asynccontextmanager
    async def feed(self, rate: int = 500, wish: str = "", subject: str = "work.a") -> AsyncIterator[None]:
        """Publish `rate` messages a second until the block ends, whatever happens to the server meanwhile."""
        over = asyncio.Event()

        async def publish() -> None:
            ticks = 50
            under_way: set[asyncio.Task[int | None]] = set()
            while not over.is_set():
                if self.bus.is_connected and len(under_way) < rate:
                    for _ in range(rate // ticks):
                        under_way.add(asyncio.create_task(self.publish_one(wish, subject)))
                await asyncio.sleep(1 / ticks)
                under_way = {task for task in under_way if not task.done()}
            await asyncio.gather(*under_way)

        publishing = asyncio.create_task(publish())
        try:
            yield
        finally:
            over.set()
            await publishing

    async def more(self, count: int, within: float = 30.0) -> None:
        """Wait until the workers have handled so many more."""
        wanted = self.ledger.runs + count
        await until(lambda: self.ledger.runs >= wanted, f"{count} more handled", within)

    async def ask(self, subject: str, body: dict[str, Any] | None = None, within: float = 30.0) -> dict[str, Any]:
        """Ask the JetStream API until it answers, which amid an election nobody does."""
        deadline = time.monotonic() + within
        while True:
            try:
                return await self.bus.api(subject, body, timeout=1.0)
            except BusUnavailableError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)

    async def drained(self, within: float = 30.0, consumer: str = "work") -> None:
        """Wait until the server has nothing more to deliver, and waits for no ack."""

        async def is_drained() -> bool:
            try:
                info = await self.bus.api(f"CONSUMER.INFO.WORK.{consumer}", timeout=1.0)
            except BusError:
                return False
            return bool(info["num_pending"] + info["num_ack_pending"] == 0)

        await until(is_drained, "drained", within)

    async def close(self, *, consumers: Sequence[str] = ("work",), dead: str = "DEAD_WORK") -> Balance:
        """Stop the workers, which must end cleanly; balance the ledger, and print its line.

        Args:
            consumers: of the stream `WORK`; what they would still deliver is left.
            dead: the stream of the dead letters.

        Raises:
            AssertionError: something is missing, or doubled without an explanation.
        """
        await self.stop_all()
        balance = await self.account(consumers, dead)
        self._say("; ".join([str(balance), *self.notes]))
        balance.check()
        return balance

    async def stop_all(self) -> None:
        """Stop the workers that run.

        Raises:
            AssertionError: one did not end cleanly, or has logged a traceback.
        """
        processes = {worker.folder.name: worker.process for worker in self.workers if worker.process is not None}
        for process in processes.values():
            process.terminate()
        codes = {name: await asyncio.to_thread(process.wait, 30) for name, process in processes.items()}
        assert set(codes.values()) == {0}, f"exit codes {codes}"
        assert not [worker.folder.name for worker in self.workers if "Traceback" in worker.errors]

    async def account(self, consumers: Sequence[str] = ("work",), dead: str = "DEAD_WORK") -> Balance:
        """What became of all that was published; see `close`, which checks it."""
        left: set[int] = set()
        for consumer in consumers:
            left |= await self._left(consumer)
        return self.ledger.balance(await self._dead(dead), left)

    async def _left(self, consumer: str) -> set[int]:
        """What the server would still deliver: it is asked to, and told nothing of what came of it."""
        subject = f"WORK.{consumer}"
        found: dict[int, int] = {}

        def take(raws: list[Raw]) -> None:
            for raw in raws:
                if raw[1]:
                    found[AckToken.parse(raw[1].decode()).sequence] = int(raw[2].split()[0])

        inbox = await self.bus.open_inbox(take)
        pull = Frame(
            self.bus.api_subject(f"CONSUMER.MSG.NEXT.{subject}"), b'{"batch": 1000, "no_wait": true}', inbox.subject
        )

        async def has_all() -> bool:
            info = await self.ask(f"CONSUMER.INFO.{subject}")
            self.bus.send([pull] if info["num_pending"] or info["num_ack_pending"] > len(found) else [])
            return bool(info["num_pending"] == 0 and info["num_ack_pending"] <= len(found))

        await until(has_all, "the server shows what is left", 4 * ACK_WAIT + 10)
        inbox.close()
        return set(found.values())

    async def _dead(self, stream: str) -> list[Run]:
        try:
            state = (await self.ask(f"STREAM.INFO.{stream}"))["state"]
        except NotFoundError:
            return []
        offset = time.monotonic() - time.time()
        letters = []
        for sequence in range(max(1, state["first_seq"]), state["last_seq"] + 1):
            try:
                message = (await self.ask(f"STREAM.MSG.GET.{stream}", {"seq": sequence}))["message"]
            except NotFoundError:  # somebody removed it
                continue
            at = datetime.fromisoformat(f"{message['time'][:19]}+00:00").timestamp() + offset
            letters.append(Run(int(base64.b64decode(message["data"]).split()[0]), at, at + 1))
        return letters


async def running(worker: Worker, what: str = "trigger work", within: float = 30.0) -> None:
    """Wait until a trigger of a worker says that it runs."""
    await until(lambda: worker.has_logged(f"{what}: running"), f"{what} runs", within)
