"""Long-lived worker tasks that take deliveries from a queue: no task, scope or context per message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import copy_context
from time import perf_counter
from typing import Any

from anyio.abc import TaskGroup

from eventbus_runtime.context import Slot, current
from eventbus_runtime.counters import TriggerCounters
from eventbus_runtime.triggers.delivery import ActiveDelivery

# Seconds that handlers which wait for nothing may keep the event loop between two of its turns.
_SLICE = 0.002


class WorkerPool:
    """As many workers as deliveries ever ran at once, each started when first needed.

    A worker runs in a context of its own. When a handler leaves a context variable behind, its worker retires after
    that delivery, so that nothing leaks into the next message.

    Args:
        group: the task group that workers live in.
        fire: runs the handler of one delivery.
        succeed: ends a delivery at once, given its handler's result; False where there is more to it.
        finish: settles any other, given the handler's result or what it raised; must not raise but to stop the trigger.
        slot: makes a worker's slot for log lines.
        counters: what it adds to.
        ended: called when a worker has ended.
    """

    def __init__(
        self,
        group: TaskGroup,
        *,
        fire: Callable[[ActiveDelivery], Awaitable[Any]],
        succeed: Callable[[ActiveDelivery, Any], bool],
        finish: Callable[[ActiveDelivery, Any, BaseException | None], Awaitable[None]],
        slot: Callable[[], Slot],
        counters: TriggerCounters,
        ended: Callable[[], None],
    ) -> None:
        self._group, self._fire, self._succeed, self._finish = group, fire, succeed, finish
        self._slot, self._counters, self._ended = slot, counters, ended
        self.workers = 0
        """How many there are, idle ones included."""
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._queue: deque[ActiveDelivery] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._spreading = False
        self._pausing = False
        self._closed = False

    def submit(self, deliveries: Sequence[ActiveDelivery]) -> None:
        """Start these at once; one at least.

        One worker is woken for all. If its handlers do not wait for anything it has run them all when `_spread` comes,
        right behind it; else each of the rest gets a worker there.
        """
        self._queue.extend(deliveries)
        if not self._wake():
            self._spawn()
        if not self._spreading:
            self._spreading = True
            self._loop.call_soon(self._spread)

    def start(self, run: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        """Have a task of its own do what can't be done at once."""
        self._context.copy().run(lambda: self._group.start_soon(run, *arguments))

    def close(self) -> None:
        """End the workers, each when it has nothing to do."""
        self._closed = True
        while self._wake():
            pass

    def _spread(self) -> None:
        if self._pausing:  # whoever pauses goes on by itself
            self._loop.call_soon(self._spread)
            return
        self._spreading = False
        for _ in range(len(self._queue)):
            if not self._wake():
                self._spawn()

    def _wake(self) -> bool:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():  # it may have been cancelled in this turn
                waiter.set_result(None)
                return True
        return False

    def _spawn(self) -> None:
        self.start(self._run)
        self.workers += 1

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            self.workers -= 1
            self._ended()

    async def _work(self) -> None:
        queue, fire, succeed, counters = self._queue, self._fire, self._succeed, self._counters
        slot, task = self._slot(), asyncio.current_task()
        assert task is not None
        current.set(slot)
        clean = copy_context()
        while True:
            since = perf_counter()
            while queue:
                delivery = queue.popleft()
                slot.message, delivery.task = delivery.message, task
                error: BaseException | None = None
                began = perf_counter()
                try:
                    result = await fire(delivery)
                except GeneratorExit:
                    raise
                except BaseException as raised:  # noqa: BLE001 - whatever it is, it is the outcome of its message alone
                    result, error = None, raised
                ended = perf_counter()
                counters.handler_seconds += ended - began
                counters.handled += 1
                if error is not None or task.cancelling() or not succeed(delivery, result):
                    await self._finish(delivery, result, error)
                slot.message = result = error = None  # what a handler made must not live until the next message
                try:
                    left_clean = copy_context() == clean
                except Exception:  # noqa: BLE001 - comparing calls __eq__ of whatever a handler has put into a variable
                    left_clean = False
                if not left_clean:
                    if queue:
                        self._spawn()
                    return
                if ended - since > _SLICE and queue:
                    await self._pause()
                    since = perf_counter()
            if self._closed:
                return
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

    async def _pause(self) -> None:
        """Let the event loop have a turn: acks go out, and others run."""
        self._pausing = True
        try:
            await asyncio.sleep(0)
        finally:
            self._pausing = False
