"""How long to wait before trying again, and the one thing that a trigger's loop sleeps on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable


class Backoff:
    """Exponential waits with full jitter.

    Args:
        first: seconds of the first wait, at most.
        most: seconds of any wait, at most.
        share: gives a number in 0..1 that a wait is multiplied with.
    """

    def __init__(self, first: float = 0.2, most: float = 10.0, share: Callable[[], float] = random.random) -> None:
        self._first, self._most, self._share = first, most, share
        self._next = first

    def delay(self) -> float:
        """Seconds to wait now; the next one may be twice as long."""
        bound, self._next = self._next, min(self._most, 2 * self._next)
        return bound * self._share()

    def reset(self) -> None:
        """It worked: begin anew."""
        self._next = self._first


class Alarm:
    """Rings when somebody calls `ring`, or at a time. One timer, re-armed for each wait (S-52)."""

    def __init__(self) -> None:
        self._rang = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """End the wait that is on, or the next one."""
        self._rang = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, until: float | None) -> None:
        """Sleep until somebody rings, or until this time of the event loop's clock (None: no time). One waiter."""
        loop = asyncio.get_running_loop()
        if not self._rang:
            self._waiter = loop.create_future()
            if until is not None:
                self._timer = loop.call_at(until, self.ring)
            try:
                await self._waiter
            finally:
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
        self._rang = False
