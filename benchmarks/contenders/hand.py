"""nats-py by hand: a loop of `fetch(100)`, as its documentation shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import nats
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingCame
from nats.js import JetStreamContext

from benchmarks.contenders.common import (
    CONCURRENT_PUBLISHES,
    CONSUMER,
    RELAYED,
    STREAM,
    Orders,
    handler_of,
    released,
    run,
)

Handle = Callable[[bytes], Awaitable[None]]


async def fetch(subscription: JetStreamContext.PullSubscription, batch: int) -> list[Msg]:
    """The next messages; none when none came in time."""
    try:
        return await subscription.fetch(batch, timeout=5)
    except NothingCame:
        return []


async def one_by_one(subscription: JetStreamContext.PullSubscription, handle: Handle, batch: int) -> None:
    """Handle and acknowledge each message in turn."""
    while True:
        for message in await fetch(subscription, batch):
            await handle(message.data)
            await message.ack()


async def in_batches(subscription: JetStreamContext.PullSubscription, handle: Handle, batch: int) -> None:
    """Handle the messages of each batch concurrently."""

    async def one(message: Msg) -> None:
        await handle(message.data)
        await message.ack()

    while True:
        await asyncio.gather(*(one(message) for message in await fetch(subscription, batch)))


async def relay(js: JetStreamContext, subscription: JetStreamContext.PullSubscription) -> None:
    """Publish each message anew, confirmed, then acknowledge it. Tasks behind a queue: none waits for a batch."""
    queue: asyncio.Queue[Msg] = asyncio.Queue(CONCURRENT_PUBLISHES)

    async def worker() -> None:
        while True:
            message = await queue.get()
            await js.publish(RELAYED, message.data)
            await message.ack()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT_PUBLISHES):
            group.create_task(worker())
        while True:
            for message in await fetch(subscription, CONCURRENT_PUBLISHES):
                await queue.put(message)


async def publish(js: JetStreamContext, orders: Orders) -> None:
    """Confirmed publishes by concurrent tasks."""
    payload, left = b"x" * orders.size, iter(range(orders.messages))

    async def some() -> None:
        for _ in left:
            await js.publish(RELAYED, payload)

    await released()
    await asyncio.gather(*(some() for _ in range(CONCURRENT_PUBLISHES)))
    print("done", flush=True)
    await asyncio.Event().wait()


async def main(orders: Orders) -> None:
    """Obey until killed."""
    client = await nats.connect(orders.url)
    js = client.jetstream()
    if orders.mode == "publish":
        await publish(js, orders)
    subscription = await js.pull_subscribe_bind(CONSUMER, STREAM)
    if orders.mode == "relay":
        await relay(js, subscription)
    elif orders.mode == "ack":
        await one_by_one(subscription, handler_of(orders), min(100, orders.window))
    else:
        await in_batches(subscription, handler_of(orders), orders.window if orders.mode == "hold" else 100)


if __name__ == "__main__":
    run(main(Orders.read()))
