"""Ours: the handlers, one pipeline per mode. The driver copies this beside an app.toml that names one of them."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from eventbus_runtime import Message, Publish, pipeline

_samples: list[int] = []
_expected = int(os.environ["BENCH_MESSAGES"])


@pipeline("consume")
@pipeline
async def ack(message: Message) -> None:
    """Nothing but the acknowledgement."""


@pipeline
async def sleep(message: Message) -> None:
    """1 ms of waiting."""
    await asyncio.sleep(0.001)


@pipeline
async def relay(message: Message) -> Publish:
    """Published and confirmed before the acknowledgement."""
    return Publish("out.x", message.payload)


@pipeline
async def hold(message: Message) -> None:
    """Never returns: what it costs to have many in flight."""
    await asyncio.Event().wait()


@pipeline
async def latency(message: Message) -> None:
    """How long after its publisher's stamp each message is handled; written out once all have come."""
    _samples.append(time.time_ns() - int.from_bytes(message.payload[:8], "big"))
    if len(_samples) == _expected:
        Path(os.environ["BENCH_FILE"]).write_text("\n".join(map(str, _samples)) + "\n")  # noqa: ASYNC240 - all have come
