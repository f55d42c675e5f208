"""A trigger on a real server, run in the test's own task group, and ways to see from outside what it does."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig, RetryConfig, TriggerConfig
from eventbus_runtime.errors import ApiError, BusError, NotFoundError
from eventbus_runtime.events import DeliveryFailed, Fact, State, StateChanged, Warned
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.pipeline import bind
from eventbus_runtime.pipelines.registry import Registration, Registry
from eventbus_runtime.pipelines.resources import Resources
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers.consumer import Prepare
from eventbus_runtime.triggers.pull import Limits
from eventbus_runtime.triggers.subscribe import SubscribeTrigger
from tests.cluster import once_complete

Handler = Callable[..., Any]

_AT_ONCE = 5000
_STORE_FAILED = 10051

QUICK = Limits(expires=3.0, heartbeat=0.3)
"""Pull requests whose silence is noticed soon."""

SOON = RetryConfig(delays=(0.05,), jitter=0.0)
"""Retries that a test need not wait for."""

PULLS_AND_ACKS = ("$JS.API.CONSUMER.MSG.NEXT.>", "$JS.ACK.>")
"""What an observer must see to count deliveries. Who listens there answers for a consumer that is missing: no 503."""

STUBBORN = RetryConfig(delays=(3600.0,), jitter=0.0)
"""Retries that no test lives to see."""


async def until(condition: Callable[[], bool | Awaitable[bool]], within: float = 10.0) -> None:
    """Return once the condition holds; fail when it does not within so many seconds."""
    async with asyncio.timeout(within):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.005)


async def nothing_to_prepare(resume_at: int | None) -> str | None:
    """Attach only: the test makes what the trigger needs."""
    return None


class Seen(NamedTuple):
    """One publish, as a bystander saw it."""

    subject: str
    payload: bytes
    reply: str = ""


class Observer:
    """A plain connection that writes down what passes on some subjects, in the order of the wire.

    nats-py hands out each subscription by a task of its own, so that the order across subjects would be lost.
    """

    def __init__(self, url: str, *subjects: str) -> None:
        self._host, self._port = url.removeprefix("nats://").split(":")
        self._subjects = subjects or ("$JS.ACK.>",)
        self.seen: list[Seen] = []

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, int(self._port))
        self._ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read())
        self.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        for sid, subject in enumerate(self._subjects, 1):
            self.write(b"SUB %b %d\r\n" % (subject.encode(), sid))
        await self.flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._writer.close()
        await self._writer.wait_closed()

    def write(self, command: bytes) -> None:
        """Say anything to the server, bad things too."""
        self._writer.write(command)

    async def flush(self) -> None:
        """Return once the server has read what was written, and all that it had for us is in `seen`."""
        self._ready.clear()
        self.write(b"PING\r\n")
        async with asyncio.timeout(5):
            await self._ready.wait()

    def settlements(self) -> dict[str, list[bytes]]:
        """By ack token: what was said, progress left out."""
        said: dict[str, list[bytes]] = {}
        for subject, payload, _ in self.seen:
            if subject.startswith("$JS.ACK.") and payload != b"+WPI":
                said.setdefault(subject, []).append(payload)
        return said

    def progress(self) -> list[int]:
        """Stream sequences for which progress was told, in order."""
        return [sequence_of(subject) for subject, payload, _ in self.seen if payload == b"+WPI"]

    def most_owed(self) -> int:
        """The most deliveries that were asked for and not yet settled, at any time. Only where no request expires."""
        owed = most = 0
        for subject, payload, _ in self.seen:
            if not subject.startswith("$JS.ACK."):
                owed += int(json.loads(payload)["batch"])
            elif payload != b"+WPI":
                owed -= 1
            most = max(most, owed)
        return most

    async def _read(self) -> None:
        while line := await self._reader.readline():
            words = line.split()
            if words[0] in (b"MSG", b"HMSG"):
                body = await self._reader.readexactly(int(words[-1]) + 2)
                subject, reply, head = words[1], b"", 0
                if words[0] == b"HMSG":
                    head = int(words[-2])
                    del words[-2]
                if len(words) == 5:
                    reply = words[3]
                self.seen.append(Seen(subject.decode("utf-8", "surrogateescape"), body[head:-2], reply.decode()))
            elif words[0] == b"PONG":
                self._ready.set()
            elif words[0] == b"PING":
                self.write(b"PONG\r\n")


class Gate:
    """Handlers that wait until it is opened, and how often each payload was begun."""

    def __init__(self) -> None:
        self.begun: Counter[bytes] = Counter()
        self.opened = asyncio.Event()

    async def handler(self, message: Message) -> None:
        """Waits."""
        self.begun[message.payload] += 1
        await self.opened.wait()


def sequence_of(token: str) -> int:
    """The stream sequence in an ack token."""
    return int(token.split(".")[5])


class Live:
    """A running trigger, and the outside's view of it."""

    def __init__(self, trigger: SubscribeTrigger, bus: NatsBus, outside: NatsBus, facts: list[Fact]) -> None:
        self.trigger, self.bus, self.outside, self.facts = trigger, bus, outside, facts
        self.ended = asyncio.Event()
        self.error: BaseException | None = None

    async def run(self) -> None:
        """Run the trigger; what it raises is kept for the test."""
        try:
            await self.trigger.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            self.error = error
        finally:
            self.ended.set()

    async def stop(self, timeout: float = 5.0, within: float = 10.0) -> None:
        """Stop it, and wait until it has."""
        self.trigger.stop(timeout)
        async with asyncio.timeout(within):
            await self.ended.wait()

    async def publish(self, *payloads: bytes, subject: str = "s.a") -> None:
        """Publish and confirm, in order."""
        for payload in payloads:
            await self.outside.publish(subject, payload)

    async def publish_many(self, count: int, subject: str = "s.a", payload: bytes = b"") -> None:
        """Publish so many at once: the payload, or 0, 1, 2 …"""
        self.outside.send([Frame(subject, payload or b"%d" % number) for number in range(count)])
        await self.outside.ping()

    async def publish_stored(self, count: int) -> None:
        """Publish so many: 0, 1, 2 …, and return when the stream has them. Confirmed, since a node may not know yet
        where the stream is; never more at once than a server buffers, since 2.11 drops what is above 10,000."""
        for start in range(0, count, _AT_ONCE):
            numbers = range(start, min(count, start + _AT_ONCE))
            await asyncio.gather(*(self.outside.publish("s.a", b"%d" % number) for number in numbers))

    async def info(self) -> ConsumerInfo:
        """What the server says of the consumer."""
        return ConsumerInfo.parse(await self.outside.api("CONSUMER.INFO.S.c"))

    async def info_when(self, holds: Callable[[ConsumerInfo], bool]) -> ConsumerInfo:
        """What the server says of the consumer, once that holds."""
        async with asyncio.timeout(10):
            while not holds(info := await self.info()):
                await asyncio.sleep(0.005)
        return info

    async def drained(self) -> bool:
        """Whether the server has delivered all that the stream holds, and waits for no settlement."""
        try:
            last = (await self.outside.api("STREAM.INFO.S"))["state"]["last_seq"]
            consumer = await self.outside.api("CONSUMER.INFO.S.c")
        except BusError:
            return False
        return bool(consumer["delivered"]["stream_seq"] >= last > 0 == consumer["num_ack_pending"])

    async def redelivered(self) -> int:
        """How many messages the server counts as redelivered and not yet settled."""
        return int((await self.outside.api("CONSUMER.INFO.S.c"))["num_redelivered"])

    async def shown_to(self, observer: Observer) -> None:
        """Return once the observer has seen all that the trigger has said so far."""
        await self.bus.ping()
        await observer.flush()

    def is_running(self) -> bool:
        return self.trigger.state is State.RUNNING

    def states(self) -> list[State]:
        """The states that it went through."""
        return [fact.new for fact in self.facts if isinstance(fact, StateChanged) and fact.kind == "trigger"]

    def failures(self) -> list[DeliveryFailed]:
        return [fact for fact in self.facts if isinstance(fact, DeliveryFailed)]

    def warnings(self) -> list[str]:
        return [fact.text for fact in self.facts if isinstance(fact, Warned)]


def bound(function: Handler, bus: NatsBus) -> Any:
    """A pipeline of one function, without the process-wide registry."""
    registration = Registration("pipeline", function.__name__, function, __name__, "test", {})
    registry = Registry([registration])
    return bind(registration, registry=registry, bus=bus, resources=Resources(registry, bus))


def make_trigger(
    bus: NatsBus,
    handler: Handler,
    facts: list[Fact],
    *,
    limits: Limits = QUICK,
    prepare: Prepare = nothing_to_prepare,
    shutdown_timeout: float = 5.0,
    **config: Any,
) -> SubscribeTrigger:
    """A trigger of consumer `c` on stream `S`; `config` holds keys of `[triggers.NAME]`."""
    section = TriggerConfig(bus="main", stream="S", consumer="c", pipeline=handler.__name__, **config)
    pipeline = bound(handler, bus)
    return SubscribeTrigger(
        "t",
        section,
        bus,
        pipeline,
        tell=facts.append,
        prepare=prepare,
        limits=limits,
        shutdown_timeout=shutdown_timeout,
    )


async def make_stream(bus: NatsBus, name: str = "S", subjects: Sequence[str] = ("s.>",), **config: Any) -> None:
    body = {"name": name, "subjects": list(subjects), **config}
    await once_complete(lambda: bus.api(f"STREAM.CREATE.{name}", body))


async def make_consumer(bus: NatsBus, *, ack_wait: float = 30.0, **config: Any) -> None:
    wanted = {"durable_name": "c", "ack_policy": "explicit", "ack_wait": round(ack_wait * 1e9), **config}
    await bus.api("CONSUMER.CREATE.S.c", {"stream_name": "S", "config": wanted})


async def delete_consumer(bus: NatsBus, stream: str = "S", name: str = "c") -> None:
    """Delete it. nats-server 2.11 may write into the folder that it removes, and then says so though it is gone; a
    trigger may have made it anew by then."""
    before = (await bus.api(f"CONSUMER.INFO.{stream}.{name}"))["created"]
    try:
        await bus.api(f"CONSUMER.DELETE.{stream}.{name}")
    except ApiError as error:
        if error.err_code != _STORE_FAILED:
            raise
        with suppress(NotFoundError):
            now = (await bus.api(f"CONSUMER.INFO.{stream}.{name}"))["created"]
            assert now != before, "it is still there"


@asynccontextmanager
async def connected(
    url: str, facts: list[Fact] | None = None, name: str = "main", config: BusConfig | None = None
) -> AsyncIterator[NatsBus]:
    async with NatsBus(
        name, config or BusConfig(), urls=[url], tell=(facts if facts is not None else []).append
    ) as bus:
        await bus.wait_connected()
        yield bus


@asynccontextmanager
async def running(
    server: NatsServer,
    handler: Handler,
    *,
    stream: dict[str, Any] | None = None,
    consumer: dict[str, Any] | None = None,
    make: bool = True,
    url: str = "",
    bus: BusConfig | None = None,
    wait: bool = True,
    **config: Any,
) -> AsyncIterator[Live]:
    """A trigger that runs until the block ends, which stops it.

    Args:
        server: where.
        handler: its pipeline.
        stream, consumer: settings of `S` and `c`, in the server's words; `ack_wait` in seconds.
        make: whether to make these first.
        url: the trigger's way to the server, as a proxy's.
        bus: settings of the trigger's connection.
        wait: whether to enter the block only when it runs.
        config: see `make_trigger`.
    """
    facts: list[Fact] = []
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(connected(server.url, name="outside"))
        if make:
            await make_stream(outside, **(stream or {}))
            await make_consumer(outside, **(consumer or {}))
        ours = await stack.enter_async_context(connected(url or server.url, facts, config=bus))
        live = Live(make_trigger(ours, handler, facts, **config), ours, outside, facts)
        async with anyio.create_task_group() as group:
            group.start_soon(live.run)
            if wait:
                await until(lambda: live.is_running() or live.ended.is_set())
                if live.error is not None:
                    raise live.error
            try:
                yield live
            except BaseException:
                group.cancel_scope.cancel()
                raise
            await live.stop()
    assert raised == [], "a callback on the event loop, such as an inbox's sink, must not raise"
