"""nats-py at its best by public means: overlapping pull requests on an inbox with `subscribe(cb=…)`."""

from __future__ import annotations

import asyncio
import json

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.contenders.common import CONSUMER, STREAM, Orders, handler_of, run

EXPIRES, HEARTBEAT = 30, 10


class Window:
    """Keeps as many messages asked for or in flight as the window has room, and asks anew when half of it is free."""

    def __init__(self, client: Client, orders: Orders) -> None:
        self._client = client
        self._handle = handler_of(orders)
        self._window, self._batch = orders.window, orders.window // 2
        self._awaits = orders.mode in ("sleep", "hold")
        self._inbox = client.new_inbox()
        self._asked = self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Subscribe, and ask for the first messages."""
        await self._client.subscribe(self._inbox, cb=self._take, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await self._pull()

    async def _pull(self) -> None:
        room = min(self._batch, self._window - self._asked - self._running)
        self._asked += room
        request = {"batch": room, "expires": EXPIRES * 10**9, "idle_heartbeat": HEARTBEAT * 10**9}
        await self._client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}", json.dumps(request).encode(), self._inbox
        )

    async def _take(self, message: Msg) -> None:
        if not message.reply:
            self._asked -= int((message.headers or {}).get("Nats-Pending-Messages", 0))
        else:
            self._asked -= 1
            self._running += 1
            if self._awaits:  # a callback that awaits would hold up the next
                task = asyncio.create_task(self._one(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                await self._one(message)
        if self._asked + self._running <= self._window - self._batch:
            await self._pull()

    async def _one(self, message: Msg) -> None:
        await self._handle(message.data)
        await self._client.publish(message.reply)
        self._running -= 1
        if self._asked + self._running <= self._window - self._batch:
            await self._pull()


async def main(orders: Orders) -> None:
    """Obey until killed."""
    client = await nats.connect(orders.url)
    await Window(client, orders).open()
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(main(Orders.read()))
