"""Long-lived worker tasks that take deliveries from a queue: no task, scope or context per message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context, copy_context

from anyio.abc import TaskGroup

from eventbus_runtime.context import Slot, current
from eventbus_runtime.triggers.delivery import ActiveDelivery


class WorkerPool:
    """As many workers as deliveries ever ran at once, each started when first needed.

    A worker runs in a context of its own. When a handler leaves a context variable behind, its worker retires after
    that delivery, so that nothing leaks into the next message.

    Args:
        group: the task group that workers live in.
        handle: runs and settles one delivery; must not raise but to stop the trigger.
        slot: makes a worker's slot for log lines.
        ended: called when a worker has ended.
    """

    def __init__(
        self,
        group: TaskGroup,
        handle: Callable[[ActiveDelivery], Awaitable[None]],
        slot: Callable[[], Slot],
        ended: Callable[[], None],
    ) -> None:
        self._group, self._handle, self._slot, self._ended = group, handle, slot, ended
        self.workers = 0
        """How many there are, idle ones included."""
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._queue: deque[ActiveDelivery] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def submit(self, deliveries: Iterable[ActiveDelivery]) -> None:
        """Start these at once."""
        for delivery in deliveries:
            self._queue.append(delivery)
            if not self._wake():
                self._spawn()

    def close(self) -> None:
        """End the workers, each when it has nothing to do."""
        self._closed = True
        while self._wake():
            pass

    def _wake(self) -> bool:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():  # it may have been cancelled in this turn
                waiter.set_result(None)
                return True
        return False

    def _spawn(self) -> None:
        context: Context = self._context.copy()
        context.run(self._group.start_soon, self._run)
        self.workers += 1

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            self.workers -= 1
            self._ended()

    async def _work(self) -> None:
        slot = self._slot()
        current.set(slot)
        clean = copy_context()
        while True:
            while self._queue:
                delivery = self._queue.popleft()
                slot.message = delivery.message
                await self._handle(delivery)
                slot.message = None
                if not _same(copy_context(), clean):
                    if self._queue:
                        self._spawn()
                    return
            if self._closed:
                return
            await self._rest()

    async def _rest(self) -> None:
        waiter = self._loop.create_future()
        self._idle.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            # Woken and cancelled in the same turn: the delivery that it was woken for stays in the queue, and the
            # cancellation is the trigger's own end.
            if waiter in self._idle:
                self._idle.remove(waiter)
            raise


def _same(left: Context, right: Context) -> bool:
    try:
        return left == right
    except Exception:  # noqa: BLE001 - comparing calls __eq__ of whatever a handler has put into a variable
        return False
