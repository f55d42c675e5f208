"""The subscribe trigger: a consumer's deliveries, each handled at once and settled once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any, TypeAlias

import anyio

from eventbus_runtime.buses.base import FOREVER, Bus, Frame
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.config.model import TriggerConfig
from eventbus_runtime.context import Slot
from eventbus_runtime.counters import TriggerCounters
from eventbus_runtime.errors import BusUnavailableError, NotFoundError, TopologyError, TriggerError
from eventbus_runtime.events import State, StateChanged, Tell, Warned
from eventbus_runtime.message import AckToken, Message, Raw
from eventbus_runtime.pipelines.base import Pipeline
from eventbus_runtime.triggers.backoff import Alarm
from eventbus_runtime.triggers.delivery import NAK, ActiveDelivery, Settler
from eventbus_runtime.triggers.filtering import compile_filter
from eventbus_runtime.triggers.handling import outcome_of, uncancel
from eventbus_runtime.triggers.loop import PullLoop
from eventbus_runtime.triggers.progress import Progress
from eventbus_runtime.triggers.pull import Limits, PullWindow
from eventbus_runtime.triggers.pull_bytes import ByteWindow
from eventbus_runtime.triggers.settlement import Failure, Outcome, Success
from eventbus_runtime.triggers.workers import WorkerPool

Prepare: TypeAlias = Callable[[int | None], Awaitable[str | None]]
"""Makes the trigger's stream, consumer and dead-letter stream, as far as they are declared, and returns the name of the
last. The argument: the stream sequence from which a lost consumer goes on; None where that is not known."""

_CANCEL_TAKES = 2.0
_CLOSE_TAKES = 3.0
_ELECTION = 15.0
_FLUSH_TAKES = 2.0


class SubscribeTrigger:
    """Fires a pipeline for each delivery of a durable pull consumer (S-50 to S-54).

    Args:
        name: the trigger's.
        config: its configuration, complete.
        bus: its bus.
        pipeline: what it fires.
        tell: takes facts.
        prepare: see `Prepare`.
        shutdown_timeout: seconds that running handlers get when it ends by itself.
        limits: how pull requests look.
    """

    def __init__(
        self,
        name: str,
        config: TriggerConfig,
        bus: Bus,
        pipeline: Pipeline,
        *,
        tell: Tell,
        prepare: Prepare,
        shutdown_timeout: float = 30.0,
        limits: Limits | None = None,
    ) -> None:
        self.name, self.config = name, config
        self.state = State.STARTING
        self.reason = ""
        self.counters = TriggerCounters()
        self.cancelled = 0
        """Deliveries that had to be cancelled, or left in a thread, at the stop."""
        self._bus, self._pipeline, self._tell, self._prepare = bus, pipeline, tell, prepare
        self._shutdown_timeout = shutdown_timeout
        self._limits = limits or Limits()
        self._matches = compile_filter(config.filter)
        self._settler = Settler(name, config, bus, self.counters, tell, self._done)
        self._loop: PullLoop | None = None
        self._stop_at: float | None = None
        self._drained = Alarm()
        self._refused: list[Raw] | None = None
        self._prepared = False
        self._warned_of_elections = False
        self._floor: int | None = None

    async def run(self) -> None:
        """See `triggers.base.Trigger.run`."""
        if self._loop is not None:
            raise TriggerError(f"trigger {self.name} is running already")
        if self._stop_at is not None:
            return self.set_state(State.STOPPED)
        config = self.config
        if config.max_bytes is None:
            self._window = PullWindow(config.max_in_flight, self._limits)
        else:
            self._window = ByteWindow(config.max_in_flight, config.max_bytes, self._limits)
        self._progress = Progress(config.timeout, self._beat, self._overdue)
        self._loop = loop = PullLoop(
            self._bus,
            self._window,
            self._limits,
            self.counters,
            look=self._look,
            start=self._start,
            refuse=self._refuse,
            set_state=self.set_state,
            warn=self._warn,
        )
        self._refused = None
        unlisten = self._bus.listen(loop)
        failure: TriggerError | TopologyError | None = None
        try:
            async with anyio.create_task_group() as work:
                slot = partial(Slot, self.name, self._pipeline.name)
                self._pool = WorkerPool(work, self._handle, slot, self._drained.ring)
                try:
                    failure = await self._pull(loop)
                    await self._drain(loop)
                except BaseException:
                    loop.abort()  # the workers end now: what still comes is handed back
                    raise
                # What is left are handlers that settled by hand and work on, or that ignore their cancellation.
                work.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(_CLOSE_TAKES, shield=True):
                await loop.close()
            self._hand_back()
            unlisten()
            self._progress.close()
            self._loop = None
        if failure is not None:
            raise failure
        return self.set_state(State.STOPPED)

    def stop(self, timeout: float) -> None:
        """See `triggers.base.Trigger.stop`."""
        at = asyncio.get_running_loop().time() + timeout
        self._stop_at = at if self._stop_at is None else min(at, self._stop_at)
        if self._loop is not None:
            self.set_state(State.DRAINING)
            self._loop.stop()
            self._drained.ring()

    def set_state(self, state: State, reason: str = "") -> None:
        """See `triggers.base.Trigger.set_state`."""
        old, self.state, self.reason = self.state, state, reason
        if old is not state:
            self._tell(StateChanged("trigger", self.name, old, state, reason))

    async def is_drained(self) -> bool:
        """Whether the server has nothing for it: 0 pending, 0 unacknowledged.

        Raises:
            BusError: the server can't be asked.
        """
        answer = await self._bus.api(f"CONSUMER.INFO.{self.config.stream}.{self.config.consumer}")
        consumer = ConsumerInfo.parse(answer)
        return consumer.num_pending == 0 and consumer.num_ack_pending == 0

    def status(self) -> dict[str, Any]:
        """See `triggers.base.Trigger.status`."""
        return {
            "state": str(self.state),
            "reason": self.reason,
            "bus": self.config.bus,
            "stream": self.config.stream,
            "consumer": self.config.consumer,
            "pipeline": self.config.pipeline,
            "max_in_flight": self.config.max_in_flight,
            "counters": asdict(self.counters),
            "stuck": list(self._settler.stuck.values())[:100],
        }

    async def _look(self) -> ConsumerInfo:
        """Find the consumer; make it, and what it needs, where it is declared and missing."""
        if not self._prepared:
            self._settler.dead_letter_stream = await self._prepare(None)
            self._prepared = True
        subject = f"CONSUMER.INFO.{self.config.stream}.{self.config.consumer}"
        try:
            answer = await self._bus.api(subject)
        except NotFoundError:
            resume_at = None if self._floor is None else self._floor + 1
            self._settler.dead_letter_stream = await self._prepare(resume_at)
            answer = await self._bus.api(subject)
        consumer = ConsumerInfo.parse(answer)
        if consumer.is_push:
            raise TriggerError(
                f"consumer {consumer.name} of {consumer.stream} is push based; a trigger needs a pull one"
            )
        if consumer.ack_policy != "explicit":
            raise TriggerError(
                f"consumer {consumer.name} of {consumer.stream} has ack_policy {consumer.ack_policy}; "
                "a trigger needs explicit, since with any other one ack settles what others still work on"
            )
        if consumer.num_replicas > 1 and self._shortest(consumer) < _ELECTION and not self._warned_of_elections:
            self._warned_of_elections = True
            self._warn(
                f"consumer {consumer.name} has {consumer.num_replicas} replicas, and delivers again after "
                f"{self._shortest(consumer):g} s: an election takes 4 to 9 s, in which no progress is heard; "
                f"give it an ack_wait of {_ELECTION:g} s or more"
            )
        self._floor = consumer.ack_floor
        self._settler.consumer = consumer
        self._progress.set_window(self._shortest(consumer))
        return consumer

    @staticmethod
    def _shortest(consumer: ConsumerInfo) -> float:
        return min(consumer.backoff or (consumer.ack_wait,))

    def _start(self, raws: list[Raw], sizes: list[int]) -> None:
        now = asyncio.get_running_loop().time()
        starting = []
        unseen: list[Frame] = []
        for raw, size in zip(raws, sizes, strict=False):
            if self._matches is not None and not self._matches(Message(raw)):
                unseen.append(Frame(raw[1].decode(), keep_until=FOREVER))
                self._loop_freed(size)
                continue
            delivery = ActiveDelivery(raw, self._settler, now, size)
            self._progress.start(delivery)
            starting.append(delivery)
        self.counters.received += len(starting) + len(unseen)
        self.counters.filtered += len(unseen)
        self._bus.send(unseen)
        self._pool.submit(starting)
        self.counters.in_flight = self._window.running

    def _refuse(self, raws: list[Raw]) -> None:
        if self._refused is None:
            self._bus.send([Frame(raw[1].decode(), NAK) for raw in raws])
        else:
            self._refused.extend(raws)

    def _hand_back(self) -> None:
        """Nak what came too late, in sequence order."""
        late, self._refused = self._refused or [], None
        self._refuse(sorted(late, key=lambda raw: AckToken.parse(raw[1].decode()).sequence))

    async def _handle(self, delivery: ActiveDelivery) -> None:
        """What a worker does with one delivery."""
        delivery.task = asyncio.current_task()
        try:
            handled = await outcome_of(self._pipeline, delivery)
            delivery.in_handler = False
            self.counters.handled += 1
            self.counters.handler_seconds += asyncio.get_running_loop().time() - delivery.started
            if self.config.ack == "manual" or delivery.claimed:
                outcome = await self._handled_by_hand(delivery, handled)
            else:
                outcome = handled
            if outcome is not None and delivery.claim():
                await self._settler.settle(delivery, outcome)
        except BusUnavailableError:
            pass  # an unconfirmed ack, told as a fact; the server delivers again if it did not get it
        except asyncio.CancelledError:
            if delivery.claim():
                await self._settler.settle(delivery, Failure("cancelled", "stopped before it was done"))
            if not delivery.cancelled or delivery.task is None:
                raise
            await uncancel(delivery.task)

    async def _handled_by_hand(self, delivery: ActiveDelivery, outcome: Outcome) -> Outcome | None:
        """The outcome that is still to be settled here; None where the user has settled, or will."""
        if isinstance(outcome, Success) and outcome.publishes:
            outcome = await self._settler.publish(delivery, outcome)
        if isinstance(outcome, Success):
            delivery.waiting = not delivery.claimed
            return None
        if delivery.claimed and not delivery.cancelled:
            self._settler.fail(delivery, outcome, "settled")
        return outcome

    def _beat(self, deliveries: Iterable[ActiveDelivery]) -> None:
        now = asyncio.get_running_loop().time()
        alive = []
        for delivery in deliveries:
            if not delivery.waiting:
                alive.append(delivery)
            elif delivery.lease <= now and delivery.claim():
                self.counters.abandoned += 1
                self._settler.leave(delivery, Failure("error", "its handler returned, and nothing settled it in time"))
        self._settler.progress(alive)

    def _overdue(self, delivery: ActiveDelivery) -> None:
        if self._pipeline.blocking:
            self._warn(
                f"handler {self._pipeline.name} runs in a thread and is over its timeout of {self.config.timeout:g} s "
                f"(sequence {delivery.message.sequence}); a thread can't be cancelled, so it is kept until it returns"
            )
        else:
            delivery.cancel("timeout")

    def _done(self, delivery: ActiveDelivery) -> None:
        self._progress.end(delivery)
        self._loop_freed(delivery.size)
        if not self._progress.deliveries:
            self._drained.ring()

    def _loop_freed(self, size: int) -> None:
        if self._loop is not None:
            self._loop.freed(size)
            self.counters.in_flight = self._window.running

    @staticmethod
    async def _pull(loop: PullLoop) -> TriggerError | TopologyError | None:
        """Pull until the stop, or until it can't work; what is running then is drained all the same."""
        try:
            await loop.run()
        except (TriggerError, TopologyError) as error:
            loop.stop()
            return error
        return None

    async def _drain(self, loop: PullLoop) -> None:
        """The stop order from its second step on (docs/trigger.md): what is under way still starts; what comes too
        late is handed back in sequence order; what runs gets its time, and is then cancelled and handed back."""
        now = asyncio.get_running_loop().time
        by_itself = now() + self._shutdown_timeout

        def end() -> float:
            return by_itself if self._stop_at is None else self._stop_at

        self._refused = []
        await loop.close()
        self._hand_back()
        self._pool.close()
        while (self._progress.deliveries or self._pool.workers) and now() < end():
            await self._drained.wait(end())
        for delivery in list(self._progress.deliveries):
            self.cancelled += 1
            await self._end(delivery)
        until = now() + _CANCEL_TAKES
        while self._progress.deliveries and now() < until:
            await self._drained.wait(until)
        for delivery in list(self._progress.deliveries):
            if delivery.claim():
                self._settler.leave(delivery, Failure("cancelled", "its handler ignores that it was cancelled"))
        await self._bus.ping(_FLUSH_TAKES)

    async def _end(self, delivery: ActiveDelivery) -> None:
        """The time is over for this one."""
        if delivery.waiting and delivery.claim():
            await self._settler.settle(delivery, Failure("cancelled", "stopped before it was settled by hand"))
        elif self._pipeline.blocking and delivery.in_handler and delivery.claim():
            # Its thread goes on until the process ends: a nak would start a second copy beside it.
            self._settler.leave(delivery, Failure("cancelled", "still in its thread at the end"))
            delivery.cancel("stop")
        else:
            delivery.cancel("stop")

    def _warn(self, text: str) -> None:
        self._tell(Warned(self.name, text, {}))
