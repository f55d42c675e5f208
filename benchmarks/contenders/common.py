"""What the Python contenders share: their orders, uvloop, and how they report. Imports nothing of eventbus-runtime."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

STREAM = "B"
CONSUMER = "c"
RELAYED = "out.x"
CONCURRENT_PUBLISHES = 256


class Orders(NamedTuple):
    """What the driver wants of a contender.

    Args:
        url: the server.
        mode: ack (empty handler), sleep (1 ms), relay (publish, then ack), hold (never returns), latency, or publish.
        messages: how many.
        size: bytes of payload, where it publishes.
        window: most deliveries unsettled at once.
        file: where the mode latency writes its samples.
    """

    url: str
    mode: str
    messages: int
    size: int
    window: int
    file: Path

    @classmethod
    def read(cls) -> Orders:
        """Those that the environment holds."""
        get = os.environ.__getitem__
        return cls(
            get("BENCH_URL"),
            get("BENCH_MODE"),
            int(get("BENCH_MESSAGES")),
            int(get("BENCH_SIZE")),
            int(get("BENCH_WINDOW")),
            Path(get("BENCH_FILE")),
        )


class Latencies:
    """Collects how long after its publisher's stamp each message was handled; written out once all have come."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._samples: list[int] = []

    def note(self, payload: bytes) -> None:
        """Take one message, whose first 8 bytes are the time when it was sent, in nanoseconds."""
        self._samples.append(time.time_ns() - int.from_bytes(payload[:8], "big"))
        if len(self._samples) == self._orders.messages:
            self._orders.file.write_text("\n".join(map(str, self._samples)) + "\n")


def handler_of(orders: Orders) -> Callable[[bytes], Awaitable[None]]:
    """The user's part: what is awaited for each message before its ack."""
    latencies = Latencies(orders)

    async def ack(payload: bytes) -> None:
        pass

    async def sleep(payload: bytes) -> None:
        await asyncio.sleep(0.001)

    async def hold(payload: bytes) -> None:
        await asyncio.Event().wait()

    async def latency(payload: bytes) -> None:
        latencies.note(payload)

    return {"ack": ack, "sleep": sleep, "hold": hold, "latency": latency}[orders.mode]


async def released() -> None:
    """Tell the driver that all is ready, and wait until it says go."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run it on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
