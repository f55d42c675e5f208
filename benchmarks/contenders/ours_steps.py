"""Ours, by steps: a background function that consumes, publishes and acknowledges in batches, a batch at once."""

from __future__ import annotations

import asyncio
import os
import sys

from eventbus_runtime import AckStep, Bus, ConsumeStep, PublishStep, background
from eventbus_runtime.contracts import AckRequest, ConsumeRequest, Duration, PublishRequest

_BATCH = 1000


@background
async def steps(bus: Bus, publish: PublishStep, consume: ConsumeStep, ack: AckStep) -> None:
    """What BENCH_MODE asks for: `consume` (acks are written, and not waited for), `ack`, `relay`, or `publish`, which
    waits for the driver's word and says when it is done."""
    mode = os.environ["BENCH_MODE"]
    if mode == "publish":
        await _publish(bus, publish)
    request = ConsumeRequest(consumer="c", batch_size=_BATCH, max_wait=Duration(seconds=5))
    while True:
        messages = (await consume(request)).messages
        if mode == "consume":
            bus.answer_all([message.ack_token.encode() for message in messages])
            continue
        if mode == "relay":
            await asyncio.gather(
                *(publish(PublishRequest(subject="out.x", payload=message.payload)) for message in messages)
            )
        await asyncio.gather(*(ack(AckRequest(ack_token=message.ack_token)) for message in messages))


async def _publish(bus: Bus, publish: PublishStep) -> None:
    payload, left = b"x" * int(os.environ["BENCH_SIZE"]), int(os.environ["BENCH_MESSAGES"])
    await bus.wait_connected()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for first in range(0, left, _BATCH):
        request = PublishRequest(subject="out.x", payload=payload)
        await asyncio.gather(*(publish(request) for _ in range(min(_BATCH, left - first))))
    print("done", flush=True)
    await asyncio.Event().wait()
