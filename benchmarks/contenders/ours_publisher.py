"""Ours, publishing: a background function whose concurrent tasks publish, confirmed."""

from __future__ import annotations

import asyncio
import os
import sys

from eventbus_runtime import Bus, background

_CONCURRENT = 256


@background
async def publish(bus: Bus) -> None:
    """Wait for the driver's word, publish all, say so."""
    payload, left = b"x" * int(os.environ["BENCH_SIZE"]), iter(range(int(os.environ["BENCH_MESSAGES"])))

    async def some() -> None:
        for _ in left:
            await bus.publish("out.x", payload)

    await bus.wait_connected()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(some() for _ in range(_CONCURRENT)))
    print("done", flush=True)
    await asyncio.Event().wait()
