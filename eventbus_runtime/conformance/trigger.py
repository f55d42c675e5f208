"""The trigger at a real broker (S-72): what a callback gets, and that nothing is lost, doubled or left behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeAlias

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.config.model import RetryConfig, TriggerConfig
from eventbus_runtime.conformance.broker import Count
from eventbus_runtime.conformance.candidate import Candidate
from eventbus_runtime.conformance.phases import (
    Phase,
    Suite,
    UnmetError,
    eventually,
    expect,
    expect_equal,
    expect_just_now,
    refused,
)
from eventbus_runtime.conformance.workspace import Workspace
from eventbus_runtime.events import Fact
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.base import Delivery, Pipeline
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.provisioning.resources import State
from eventbus_runtime.triggers.base import Trigger
from eventbus_runtime.triggers.subscribe import SubscribeTrigger

NAME = "trigger"

MakeTrigger: TypeAlias = Callable[[TriggerConfig, Bus, Pipeline], Trigger]
"""Makes a trigger that is not yet run; its stream and its consumer are there."""

Handle: TypeAlias = Callable[[Message], Awaitable[None]]

_STOPS_WITHIN = 5.0
_IN_FLIGHT, _MESSAGES = 4, 20
_LOOKS, _PAUSE = 4, 0.05
_AT_BROKER = "the broker to say"
_SOON = RetryConfig(delays=(0.1,), jitter=0.0)


def trigger_suite(candidate: Candidate, uri: str, *, replicas: int = 1, make: MakeTrigger | None = None) -> Suite:
    """Hold a trigger to what its users count on.

    Args:
        candidate: the bus that it runs on, and the provider of its stream.
        uri: the broker's address.
        replicas: copies of the stream that is made.
        make: makes the trigger; left out, a `SubscribeTrigger`.
    """
    return _Run(candidate, uri, replicas, make or _subscribe).suite()


async def _prepared(resume_at: int | None) -> str | None:
    return None


def _ignore(fact: Fact) -> None:
    pass


def _subscribe(config: TriggerConfig, bus: Bus, pipeline: Pipeline) -> Trigger:
    return SubscribeTrigger("conformance", config, bus, pipeline, tell=_ignore, prepare=_prepared)


class _Pipeline:
    """Fires a function of the suite with each message."""

    name, blocking = "conformance", False

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def fire(self, delivery: Delivery) -> Awaitable[Any]:
        return self._handle(delivery.message)

    def outgoing(self, result: Any) -> Sequence[Publish]:
        return ()


class _Got:
    """Notes what a trigger's callback gets."""

    def __init__(self) -> None:
        self.messages = list[Message]()

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    async def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]


class _Run:
    def __init__(self, candidate: Candidate, uri: str, replicas: int, make: MakeTrigger) -> None:
        self._candidate, self._uri, self._make = candidate, uri, make
        self._space = Workspace(candidate, uri, replicas, NAME)

    def suite(self) -> Suite:
        rows = (
            ("six fields", "a callback gets all six, with their types and a header", "S-53", self._six_fields),
            ("published later", "what is published after the start comes too", "S-52", self._published_later),
            ("double start", "the second is an error, and the first goes on", "S-51", self._double_start),
            ("cancelled", f"it ends within {_STOPS_WITHIN:g} s, and leaves no task", "S-51", self._cancelled),
            ("failing callback", "its message comes again, and none is lost", "S-52", self._failing_callback),
            ("in flight", f"never more than {_IN_FLIGHT} are, and all come in the end", "S-72", self._in_flight),
        )
        return Suite(
            NAME,
            (
                Phase("stream", "the broker takes the trigger's stream", "S-13", self._stream),
                *(Phase(*row, needs=("stream",)) for row in rows),
                Phase("teardown", "the stream is gone afterwards", "S-70", self._space.teardown),
            ),
            self._space.clean,
        )

    async def _stream(self) -> str:
        await self._space.make_stream(self._space.resource(State()))
        return f"stream {self._space.stream}"

    @asynccontextmanager
    async def _running(self, name: str, handle: Handle, **config: Any) -> AsyncIterator[_Running]:
        """A trigger that runs on a consumer of its own, until the block ends, which cancels it."""
        space = self._space
        broker = await space.broker()
        subject = f"{space.subject}.{name}"
        await broker.make_consumer(space.stream, name, filter_subject=subject)
        section = TriggerConfig(bus="main", stream=space.stream, consumer=name, pipeline=name, retry=_SOON, **config)
        async with self._candidate.open_bus(self._uri) as bus:
            trigger = self._make(section, bus, _Pipeline(handle))
            count = partial(broker.count, space.stream, name)
            running = _Running(trigger, bus, subject, count, self._candidate.patience)
            try:
                yield running
            finally:
                await running.cancel()

    async def _six_fields(self) -> str:
        got = _Got()
        async with self._running("six", got) as running:
            sequence = await running.publish(b"\x00\xff not text", {"X-Kind": "first"})
            running.start()
            await running.until(got.payloads, [b"\x00\xff not text"])
            await running.settled()
        fields = got.messages[0].as_dict()
        types = {"subject": str, "payload": bytes, "headers": dict, "sequence": str, "published_at": str}
        types |= {"ack_token": str}
        for name, kind in types.items():
            expect(isinstance(fields.get(name), kind), f"{name} of type {kind.__name__}", type(fields.get(name)))
        expect_equal("subject", running.subject, fields["subject"])
        expect_equal("header X-Kind", "first", fields["headers"].get("X-Kind"))
        expect_equal("sequence", str(sequence), fields["sequence"])
        expect_just_now("published_at", fields["published_at"])
        expect(bool(fields["ack_token"]), "an ack_token", "none")
        return ", ".join(f"{name} {kind.__name__}" for name, kind in types.items())

    async def _published_later(self) -> str:
        got = _Got()
        async with self._running("later", got) as running:
            running.start()
            await running.publish(b"first")
            await running.until(got.payloads, [b"first"])
            await running.publish(b"second")
            await running.until(got.payloads, [b"first", b"second"])
            await running.settled()
        return "two published one after another to a running trigger, two handled in order"

    async def _double_start(self) -> str:
        got = _Got()
        async with self._running("double", got) as running:
            running.start()
            await running.publish(b"before")
            await running.until(got.payloads, [b"before"])
            told = await refused("a second start", running.trigger.run())
            await running.publish(b"after")
            await running.until(got.payloads, [b"before", b"after"])
            await running.settled()
        return told

    async def _cancelled(self) -> str:
        before, opened, loop = asyncio.all_tasks(), asyncio.Event(), asyncio.get_running_loop()

        async def stand_still(message: Message) -> None:
            opened.set()
            await asyncio.Event().wait()

        async with self._running("cancelled", stand_still) as running:
            running.start()
            await running.publish(b"held")
            async with asyncio.timeout(5):
                await opened.wait()
            began = loop.time()
            ended = await running.cancel()
            took = loop.time() - began
            expect(
                ended and took < _STOPS_WITHIN, f"an end within {_STOPS_WITHIN:g} s", f"{took:.1f} s, ended: {ended}"
            )
        await asyncio.sleep(0)
        left = [task.get_name() for task in asyncio.all_tasks() - before if not task.done()]
        expect(not left, "no task of it after the end", left)
        return f"ended {took:.2f} s after it was cancelled amid a callback; no task is left"

    async def _failing_callback(self) -> str:
        tries, done = Counter[bytes](), Counter[bytes]()

        async def fail_first(message: Message) -> None:
            tries[message.payload] += 1
            if message.payload == b"bad" and tries[b"bad"] == 1:
                raise ValueError("on purpose")
            done[message.payload] += 1

        async def handled() -> dict[bytes, int]:
            return dict(done)

        async with self._running("failing", fail_first) as running:
            running.start()
            for payload in (b"good", b"bad", b"fine"):
                await running.publish(payload)
            await running.until(handled, {b"good": 1, b"bad": 1, b"fine": 1})
            await running.settled()
        expect_equal("deliveries of the message whose callback failed", 2, tries[b"bad"])
        return "3 published, one failed once and came again; all handled once, 0 unacknowledged"

    async def _in_flight(self) -> str:
        running_now = most = handled = 0
        opened = asyncio.Event()

        async def wait(message: Message) -> None:
            nonlocal running_now, most, handled
            running_now += 1
            most = max(most, running_now)
            await opened.wait()
            running_now, handled = running_now - 1, handled + 1

        async def counted() -> int:
            return handled

        async with self._running("many", wait, max_in_flight=_IN_FLIGHT) as running:
            for number in range(_MESSAGES):
                await running.publish(b"%d" % number)
            running.start()
            waiting = Count(_MESSAGES - _IN_FLIGHT, _IN_FLIGHT)
            await running.until(running.count, waiting, _AT_BROKER)
            for _ in range(_LOOKS):  # who pulls too much goes on doing so
                await asyncio.sleep(_PAUSE)
                expect_equal(f"{_AT_BROKER}, while no callback ends,", waiting, await running.count())
            opened.set()
            await running.until(counted, _MESSAGES)
            await running.settled()
        expect_equal("callbacks at once, at most", _IN_FLIGHT, most)
        return f"{_MESSAGES} waited: {_IN_FLIGHT} were delivered while {waiting.pending} stayed; all handled"


class _Running:
    """A trigger, in a task of its own once it is started."""

    def __init__(
        self, trigger: Trigger, bus: Bus, subject: str, count: Callable[[], Awaitable[Count]], patience: float
    ) -> None:
        self.trigger, self.subject, self.count = trigger, subject, count
        self._bus, self._patience = bus, patience
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run it."""
        self._task = asyncio.create_task(self.trigger.run(), name="conformance trigger")

    async def publish(self, payload: bytes, headers: dict[str, str] | None = None) -> int:
        """Publish to its subject, and confirm; returns the sequence."""
        return (await self._bus.publish(self.subject, payload, headers or {})).sequence

    async def until(self, look: Callable[[], Awaitable[Any]], wanted: Any, what: str = "the callback to get") -> None:
        """Wait until what is looked at is `wanted`.

        Raises:
            UnmetError: it is not, or the trigger has ended; tells why.
        """
        try:
            await eventually(look, wanted, what, self._patience)
        except UnmetError:
            if self._task is not None and self._task.done() and (error := self._task.exception()) is not None:
                raise UnmetError(f"a trigger that runs until {wanted!r} came", f"it ended: {error}") from None
            raise

    async def settled(self) -> None:
        """Wait until the broker waits for no settlement, and has nothing to deliver."""
        await self.until(self.count, Count(0, 0), _AT_BROKER)

    async def cancel(self) -> bool:
        """Cancel it; whether it has ended within its time."""
        if self._task is None:
            return True
        self._task.cancel()
        await asyncio.wait([self._task], timeout=_STOPS_WITHIN)
        with suppress(asyncio.InvalidStateError, asyncio.CancelledError):
            self._task.exception()  # looked at, so that asyncio does not complain
        return self._task.done()
