"""A bus that is connected, or an error soon: for commands and tools, which have nothing to do without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from eventbus_runtime.buses.nats.connection import NatsBus
from eventbus_runtime.errors import BusUnavailableError


@asynccontextmanager
async def connected(bus: NatsBus, timeout: float) -> AsyncIterator[NatsBus]:
    """The bus, connected, until the block ends.

    Args:
        bus: not yet entered.
        timeout: seconds that connecting may take.

    Raises:
        BusUnavailableError: it can't be reached in time.
        AuthenticationError: it refuses the credentials.
    """
    async with bus:
        try:
            async with asyncio.timeout(timeout):
                await bus.wait_connected()
        except TimeoutError:
            why = bus.reason or "no answer"
            raise BusUnavailableError(f"bus {bus.name!r} can't be reached within {timeout:g} s: {why}") from None
        yield bus
