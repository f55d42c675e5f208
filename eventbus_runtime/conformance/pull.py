"""Messages of a consumer, fetched one request at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from eventbus_runtime.buses.base import Bus, Frame, Inbox
from eventbus_runtime.message import Raw


@asynccontextmanager
async def pulling(bus: Bus, stream: str, consumer: str) -> AsyncIterator[_Pull]:
    """A `Source` of a JetStream consumer, until the block ends."""
    pull = _Pull(bus, f"CONSUMER.MSG.NEXT.{stream}.{consumer}")
    pull.inbox = await bus.open_inbox(pull.take)
    try:
        yield pull
    finally:
        await pull.inbox.unsubscribe()
        pull.inbox.close()


class _Pull:
    inbox: Inbox

    def __init__(self, bus: Bus, subject: str) -> None:
        self._bus, self._subject = bus, bus.api_subject(subject)
        self._came: list[Raw] = []
        self._woken = asyncio.Event()

    def take(self, raws: list[Raw]) -> None:
        self._came += [raw for raw in raws if raw[1].startswith(b"$JS.ACK.")]
        self._woken.set()

    async def fetch(self, batch: int, max_wait: float) -> list[Raw]:
        body = json.dumps({"batch": batch, "expires": round(max_wait * 1e9)}).encode()
        self._bus.send([Frame(self._subject, body, self.inbox.subject)])
        try:
            async with asyncio.timeout(max_wait + 0.1):
                while len(self._came) < batch:
                    self._woken.clear()
                    await self._woken.wait()
        except TimeoutError:
            pass
        came, self._came = self._came, []
        return came
