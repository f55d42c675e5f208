"""Suspects: deliveries whose count is above `attempts`, and what became of their handlers is not known.

The count says "delivered", not "tried": all that was in flight at a crash, a lost connection or a stop is counted. So
none is dead-lettered for its count. Each runs once more, one at a time, in a child process, under our lease; only if
the child dies, or the handler fails there, its attempts are used up.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio

from eventbus_runtime.config.model import TriggerConfig
from eventbus_runtime.counters import TriggerCounters
from eventbus_runtime.frames import describe
from eventbus_runtime.triggers.backoff import Alarm
from eventbus_runtime.triggers.child import Child, DiedError, Launch, UnstartedError
from eventbus_runtime.triggers.delivery import ActiveDelivery, Settler
from eventbus_runtime.triggers.handling import HandledElsewhere
from eventbus_runtime.triggers.progress import Progress
from eventbus_runtime.triggers.settlement import KILLED, Failure
from eventbus_runtime.triggers.workers import WorkerPool

_KEPT = 5.0


class Suspects:
    """Stands before the worker pool of one run of a trigger, and takes the suspects out of what starts.

    Args:
        config: the trigger's configuration.
        launch: how to start a child; or why that can't be, a sentence: then they run in the pool like all others.
        pool: where other deliveries run.
        progress: keeps them alive meanwhile, and times their handlers.
        settler: settles what is handed back.
        counters: `redelivered` says when there is something to look for; what it adds to.
        finish: settles a delivery by what its handler raised, or None.
        warn: told what an operator should know.
    """

    def __init__(
        self,
        config: TriggerConfig,
        launch: Launch | str,
        pool: WorkerPool,
        progress: Progress,
        settler: Settler,
        counters: TriggerCounters,
        finish: Callable[[ActiveDelivery, Any, BaseException | None], Awaitable[None]],
        warn: Callable[[str], None],
    ) -> None:
        self.trying: ActiveDelivery | None = None
        """The one that runs, or is about to."""
        self._attempts = config.attempts or math.inf
        self._later = config.retry.delays[-1]
        self._launch, self._pool, self._progress, self._settler = launch, pool, progress, settler
        self._counters, self._finish, self._warn = counters, finish, warn
        self._now = asyncio.get_running_loop().time
        self._seen = 0
        self._waiting: deque[ActiveDelivery] = deque()
        self._alarm = Alarm()
        self._running = self._warned = False
        self._child: Child | None = None

    def submit(self, starting: list[ActiveDelivery]) -> None:
        """Start these, one at least; suspects when it is their turn."""
        redelivered = self._counters.redelivered
        if redelivered != self._seen:
            self._seen = redelivered
            suspects = [delivery for delivery in starting if delivery.attempt > self._attempts]
            if suspects and not self._is_impossible():
                self._take(suspects)
                starting = [delivery for delivery in starting if delivery.attempt <= self._attempts]
        if starting:
            self._pool.submit(starting)

    async def hand_back(self, why: str = "stopped before it was tried", delay: float = 0.0) -> None:
        """Nak those that wait for their turn, in sequence order."""
        waiting = sorted(self._waiting, key=lambda delivery: delivery.message.sequence)
        self._waiting.clear()
        for delivery in waiting:
            if delivery.claim():
                await self._settler.settle(delivery, Failure("cancelled", why, delay))

    def _is_impossible(self) -> bool:
        if isinstance(self._launch, Launch):
            return False
        if not self._warned:
            self._warned = True
            self._warn(
                f"messages have delivery counts above attempts = {self._attempts}, as after crashes or stops; their "
                f"handler should run in a process of its own, and runs in this one, since {self._launch}"
            )
        return True

    def _take(self, suspects: list[ActiveDelivery]) -> None:
        for delivery in suspects:
            delivery.in_handler = False  # its time begins when its handler does
        self._waiting.extend(suspects)
        self._alarm.ring()
        if not self._running:
            self._running = True
            self._pool.start(self._run)
            first = suspects[0]
            self._warn(
                f"message {first.message.sequence} has a delivery count of {first.attempt}, above attempts = "
                f"{self._attempts}, as after crashes or stops: such ones run one at a time, in a process of their own"
            )

    async def _run(self) -> None:
        try:
            while await self._more():
                await self._try(self._waiting.popleft())
        finally:
            self._running = False
            await self._end_child()

    async def _more(self) -> bool:
        """Wait for the next; False when none came for a while, and the child is not worth its memory."""
        until = self._now() + _KEPT
        while not self._waiting and self._now() < until:
            await self._alarm.wait(until)
        return bool(self._waiting)

    async def _try(self, delivery: ActiveDelivery) -> None:
        self.trying, delivery.task = delivery, asyncio.current_task()
        error: BaseException | None = None
        try:
            await self._fire(delivery)
        except BaseException as raised:  # noqa: BLE001 - as in a worker: a cancellation is its outcome, too
            error = raised
            if not isinstance(raised, HandledElsewhere):
                with suppress(asyncio.CancelledError):  # a second one changes nothing: it is over
                    await self._end_child()
        if delivery.in_handler:
            self._counters.handled += 1
            self._counters.handler_seconds += self._now() - delivery.started
        self.trying = None
        await self._finish(delivery, None, error)
        if delivery.waiting and not delivery.claimed:
            await self._wait_settled(delivery)

    async def _fire(self, delivery: ActiveDelivery) -> None:
        """Run its handler in the child.

        Raises:
            HandledElsewhere: it did not end well, or could not be tried.
        """
        while True:
            fresh = self._child is None or not self._child.tried
            try:
                child = await self._ready_child()
                failure = await child.run(delivery, lambda: self._began(delivery))
            except Exception as error:  # noqa: BLE001 - a fault of ours must not be taken for the handler's
                await self._end_child()
                if not fresh and not delivery.claimed:
                    delivery.in_handler = False
                    continue  # it may have died of what an earlier one left behind
                failure = _killed(error) if isinstance(error, DiedError) else await self._not_tried(error)
            if failure is not None:
                raise HandledElsewhere(failure)
            return

    def _began(self, delivery: ActiveDelivery) -> None:
        del self._progress.deliveries[delivery]  # these are in the order of their start
        delivery.started, delivery.in_handler = self._now(), True
        self._progress.start([delivery])

    async def _not_tried(self, error: Exception) -> Failure:
        """Without a child nothing is tried, and nothing is dead-lettered: all come again later."""
        why = str(error) if isinstance(error, UnstartedError) else describe(error)
        self._warn(f"messages that came too often can't be tried in a process of their own, and are put off: {why}")
        await self.hand_back(f"not tried: {why}", self._later)
        return Failure("cancelled", f"not tried: {why}", self._later)

    async def _wait_settled(self, delivery: ActiveDelivery) -> None:
        """Its handler has returned, and the user's code settles it later, or never."""
        assert self._child is not None, "its handler has returned there"
        try:
            await self._child.serve(delivery)
        except DiedError as error:
            await self._end_child()
            if delivery.claim():
                await self._settler.settle(delivery, _killed(error))

    async def _ready_child(self) -> Child:
        if self._child is None:
            assert isinstance(self._launch, Launch)
            self._child = Child()
            await self._child.launch(self._launch)
        return self._child

    async def _end_child(self) -> None:
        """End it, also where who waits for that is cancelled meanwhile."""
        child, self._child = self._child, None
        if child is None:
            return
        ending, cancelled = asyncio.ensure_future(child.end()), False
        with anyio.CancelScope(shield=True):  # else a scope that is cancelled would say so again and again
            while not ending.done():
                try:
                    await asyncio.shield(ending)
                except asyncio.CancelledError:
                    cancelled = True
        if cancelled:
            raise asyncio.CancelledError


def _killed(error: DiedError) -> Failure:
    return Failure(KILLED, f"the handler was run alone, and {error}")
