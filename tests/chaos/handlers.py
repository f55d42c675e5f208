"""What the workers of all scenarios run. A payload is the message's number, and perhaps a wish:

`17 reject`, `17 work 1.5` (so many seconds), `17 flaky 1.5` (fails the first time), `17 publish work.b 18` (subject and
number).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from eventbus_runtime import Delivery, Message, Publish, Reject, background, pipeline, resource
from tests.chaos.ledger import Recorder

LEDGER, WORK, TASKS = "CHAOS_LEDGER", "CHAOS_WORK", "CHAOS_TASKS"
"""Variables: the ledger's file; seconds that a handler takes; a file that takes the number of tasks each second."""


@resource
async def recorder() -> AsyncIterator[Recorder]:
    """The ledger's file, open while the worker runs."""
    opened = Recorder(Path(os.environ[LEDGER]))
    yield opened
    opened.close()


@pipeline
async def work(message: Message, delivery: Delivery, ledger: Recorder) -> None:
    """Take a while, do as the payload wishes, and write it into the ledger."""
    began = time.monotonic()
    number, *wish = message.payload.decode().split()
    seconds = float(wish[1]) if wish[:1] in (["work"], ["flaky"]) else float(os.environ[WORK])
    if seconds:
        await asyncio.sleep(seconds)
    match wish:
        case ["reject"]:
            raise Reject("as it was asked to")
        case ["flaky", _] if delivery.attempt == 1:
            raise RuntimeError("the first time it fails")
        case ["publish", subject, another]:
            await delivery.publish(Publish(subject, another.encode()))
    ledger.handled(int(number), began, delivery.attempt)


@background
async def count_tasks() -> None:
    """Write down each second how many tasks there are, where that is asked for."""
    if path := os.environ.get(TASKS):
        with Path(path).open("a", buffering=1) as file:
            while True:
                file.write(f"{len(asyncio.all_tasks())}\n")
                await asyncio.sleep(1)
