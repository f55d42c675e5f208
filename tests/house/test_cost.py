"""What one message costs, in calls and not in seconds: a busy machine does not change it, a slow-down does.

Counted from the socket's read to its write: reader, pull loop, worker, handler, fence, writer, and the calls into C of
all of them, on uvloop, which makes none into Python. What is shared by a read, a turn of the loop or a pull hardly
shows. Bounds are so close to what was counted that one call more on the way of every message is above.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest
import uvloop

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.buses.nats.reader import VARIABLE
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.testing.server import NatsServer
from tests.conftest import MakeServer
from tests.triggers.live import Handler, connected, make_consumer, make_stream, running, until

FEW, MANY = 2000, 6000


@pytest.fixture(autouse=True)
def _batch_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reader the other tests run with."""
    monkeypatch.delenv(VARIABLE, raising=False)


class Calls:
    """Counts calls of this thread while it is entered, by what is called."""

    def __init__(self) -> None:
        self.python: Counter[str] = Counter()
        self.c: Counter[str] = Counter()

    def __enter__(self) -> Calls:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, what: Any) -> None:
        if event == "call":
            self.python[f"{frame.f_code.co_qualname} ({frame.f_code.co_filename.rpartition('/')[2]})"] += 1
        elif event == "c_call":
            self.c[what.__qualname__] += 1


async def cost(server: NatsServer, messages: int, handler: Handler) -> Calls:
    """What it takes to start a trigger, to handle so many messages that wait, and to stop it."""
    async with connected(server.url) as bus:
        await make_stream(bus)
        await make_stream(bus, "OUT", ["out.>"])
        await make_consumer(bus)
        await asyncio.gather(*(bus.publish("s.a", b"%d" % number) for number in range(messages)))
    with Calls() as calls:
        async with running(server, handler, make=False, max_in_flight=1000) as live:
            await until(lambda: live.trigger.counters.acked == messages)
    return calls


async def per_message(make_server: MakeServer, handler: Handler) -> tuple[float, float]:
    """Calls into Python and into C that one message more costs; printed by name for who must mend it."""
    few = await cost(make_server(), FEW, handler)
    many = await cost(make_server(), MANY, handler)
    return more(few, many)


def more(few: Calls, many: Calls) -> tuple[float, float]:
    """What the second has more than the first, a message."""
    messages = MANY - FEW
    for name, count in ((many.python - few.python) + (many.c - few.c)).most_common(30):
        print(f"{count / messages:8.2f}  {name}")  # noqa: T201 - pytest shows it where the test fails
    python, c = many.python.total() - few.python.total(), many.c.total() - few.c.total()
    print(f"{python / messages:8.2f}  calls into Python\n{c / messages:8.2f}  calls into C")  # noqa: T201
    return python / messages, c / messages


def counted(make_server: MakeServer, handler: Handler) -> tuple[float, float]:
    return uvloop.run(per_message(make_server, handler))


def test_a_message_that_is_handled_and_acknowledged(make_server: MakeServer) -> None:
    async def handler(message: Message) -> None:
        pass

    python, c = counted(make_server, handler)
    assert python < 5.9
    assert c < 11


def test_a_message_that_is_published_on_and_acknowledged(make_server: MakeServer) -> None:
    async def handler(message: Message) -> Publish:
        return Publish("out.a", message.payload)

    python, c = counted(make_server, handler)
    assert python < 27.0
    assert c < 36


def test_a_publish_that_is_confirmed(server: NatsServer) -> None:
    async def published(bus: NatsBus, messages: int) -> Calls:
        numbers = iter(range(messages))

        async def some() -> None:
            for _ in numbers:
                await bus.publish("s.a", b"x")

        with Calls() as calls:
            await asyncio.gather(*(some() for _ in range(256)))
        return calls

    async def both() -> tuple[float, float]:
        async with connected(server.url) as bus:
            await make_stream(bus)
            return more(await published(bus, FEW), await published(bus, MANY))

    python, c = uvloop.run(both())
    assert python < 13.8
    assert c < 20.7
