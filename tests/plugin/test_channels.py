"""Streams of gRPC that end while we do."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from eventbus_runtime.plugin.channels import until


class Ending(AsyncIterator[int]):
    """Ends when it is cancelled, as a stream does that its peer closes at the same time."""

    async def __anext__(self) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StopAsyncIteration from None
        raise AssertionError


@pytest.mark.parametrize("how", ["told to end", "cancelled"])
async def test_a_stream_that_ends_as_it_is_left_is_no_error_in_the_log(how: str) -> None:
    ending, errors = asyncio.Event(), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))

    async def read() -> list[int]:
        return [item async for item in until(ending, Ending())]

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)  # until it waits
    ending.set() if how == "told to end" else reading.cancel()
    (result,) = await asyncio.gather(reading, return_exceptions=True)
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()
    assert errors == []
    assert result == [] or isinstance(result, asyncio.CancelledError)
