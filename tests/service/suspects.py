"""A worker whose deliveries came too often before it started, and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import psutil
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from eventbus_runtime.testing.server import NatsServer
from tests.service.worker import Worker, wait_for

CONFIG = """
    [runtime]
    shutdown_timeout = "{shutdown_timeout}"
    [buses.main]
    url = "{url}"
    [streams.ORDERS]
    subjects = ["orders.>"]
    [consumers.work]
    stream = "ORDERS"
    ack_wait = "{ack_wait}"
    [triggers.work]
    attempts = {attempts}
    retry = {{ delays = ["100ms"] }}
    {more}
"""
DEAD = 'dead_letter = "dead.work"'
START = """
    import asyncio, os, signal, sys, threading, time
    from eventbus_runtime import Delivery, Message, Publish, Reject, pipeline, resource

    MAIN = os.getppid() == {parent}

    def say(*words):
        print(*words, "main" if MAIN else "child", flush=True)
"""


def worker(
    folder: Path,
    server: NatsServer,
    handlers: str,
    *arguments: str,
    attempts: int = 1,
    ack_wait: str = "30s",
    shutdown_timeout: str = "20s",
    more: str = DEAD,
) -> Worker:
    """An `eventbus-run` whose trigger `work` has these handlers. They can `say` in which process they run."""
    config = CONFIG.format(
        url=server.url, attempts=attempts, ack_wait=ack_wait, shutdown_timeout=shutdown_timeout, more=more
    )
    start = dedent(START.format(parent=psutil.Process().pid))
    return Worker(folder, config, start + dedent(handlers), *arguments)


async def deliver(js: JetStreamContext, payloads: Iterable[bytes], times: int = 1) -> None:
    """Publish these, and have the consumer deliver each so many times, as to a worker that stopped or died."""
    await js.add_stream(name="ORDERS", subjects=["orders.>"])
    for payload in payloads:
        await js.publish("orders.created", payload)
    policy = ConsumerConfig(durable_name="work", ack_policy=AckPolicy.EXPLICIT, ack_wait=30)
    await js.add_consumer("ORDERS", policy)
    count = (await js.stream_info("ORDERS")).state.messages
    subscription = await js.pull_subscribe_bind("work", "ORDERS")
    for _ in range(times):
        # One by one: of several, nats-py may ask for more than it returns.
        for message in [(await subscription.fetch(1, timeout=5))[0] for _ in range(count)]:
            await message.nak()
    await subscription.unsubscribe()
    await pending(js)  # its answer comes behind the naks: the tests block this event loop


async def dead_letters(js: JetStreamContext) -> list[tuple[bytes, str]]:
    """Payload and reason of each dead letter."""
    found = []
    for sequence in range(1, (await js.stream_info("DEAD_WORK")).state.messages + 1):
        message = await js.get_msg("DEAD_WORK", sequence)
        found.append((message.data or b"", (message.headers or {})["Eventbus-Reason"]))
    return found


async def pending(js: JetStreamContext) -> tuple[int | None, int | None]:
    """Messages that the consumer still has to deliver, and those that it waits for."""
    info = await js.consumer_info("ORDERS", "work")
    return info.num_pending, info.num_ack_pending


def child_of(one: Worker) -> psutil.Process:
    """The only child process of a worker."""
    assert one.process is not None
    (child,) = psutil.Process(one.process.pid).children()
    return child


def wait_gone(process: psutil.Process) -> None:
    """Return when it has ended; a zombie has."""
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the end of the child")


async def wait_until_dead_lettered(js: JetStreamContext, count: int = 1) -> None:
    """Return when the dead-letter stream holds so many."""
    async with asyncio.timeout(20):
        while True:
            with suppress(NotFoundError):  # the worker makes it
                if (await js.stream_info("DEAD_WORK")).state.messages >= count:
                    return
            await asyncio.sleep(0.02)
