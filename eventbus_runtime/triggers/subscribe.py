"""The subscribe trigger: a consumer's deliveries, each handled at once and settled once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.config.model import TriggerConfig
from eventbus_runtime.context import Slot
from eventbus_runtime.counters import TriggerCounters
from eventbus_runtime.errors import BusError, BusUnavailableError, TopologyError, TriggerError
from eventbus_runtime.events import State, StateChanged, Tell, Warned
from eventbus_runtime.message import AckToken, Message, Raw
from eventbus_runtime.pipelines.base import Pipeline
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.triggers.backoff import Alarm
from eventbus_runtime.triggers.child import Launch
from eventbus_runtime.triggers.consumer import ConsumerFinder, Prepare
from eventbus_runtime.triggers.delivery import NAK, ActiveDelivery, Settler
from eventbus_runtime.triggers.exhausted import Advisories, Exhausted
from eventbus_runtime.triggers.fence import Fence
from eventbus_runtime.triggers.filtering import compile_filter
from eventbus_runtime.triggers.handling import Unpublished, outcome_of, uncancel
from eventbus_runtime.triggers.loop import PullLoop
from eventbus_runtime.triggers.progress import Progress
from eventbus_runtime.triggers.pull import Limits, PullWindow
from eventbus_runtime.triggers.pull_bytes import ByteWindow
from eventbus_runtime.triggers.recall import Recall
from eventbus_runtime.triggers.settlement import Failure, Outcome, Success
from eventbus_runtime.triggers.suspects import Suspects
from eventbus_runtime.triggers.workers import WorkerPool

_CANCEL_TAKES, _CLOSE_TAKES, _FLUSH_TAKES = 2.0, 3.0, 2.0


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
        launch: see `Suspects`.
        advisories: see `Exhausted`.
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
        launch: Launch | str = "no other process knows it",
        advisories: Advisories | None = None,
    ) -> None:
        self.name, self.config = name, config
        self.state, self.reason = State.STARTING, ""
        self.counters = TriggerCounters()
        self.cancelled = 0
        """Deliveries that had to be cancelled, or left in a thread, at the stop."""
        self._bus, self._pipeline, self._tell, self._shutdown_timeout = bus, pipeline, tell, shutdown_timeout
        self._limits, self._launch = limits or Limits(), launch
        self._matches, self._call_soon = compile_filter(config.filter), asyncio.get_running_loop().call_soon
        self._progress = Progress(
            config.timeout, lambda alive: self._settler.beat(alive), self._overdue, lambda: self._recall.lapsed()
        )
        self._recall = Recall(self._progress.deliveries)
        self.held = self._recall.held
        self._fence = Fence(bus, self._recall)
        self._finder = ConsumerFinder(config, bus, prepare, lost=self._fence.forget, warn=self._warn)
        self._settler = Settler(
            name, config, bus, self.counters, tell, self._fence, self._finder, self._published, self._done
        )
        make = partial(SubscribeTrigger, bus=bus, tell=tell, shutdown_timeout=shutdown_timeout, limits=limits)
        letters, recall = self._settler.letters, self._recall
        self._exhausted = Exhausted(name, config, bus, advisories, make, letters, recall, self.counters, tell)
        self._finder.limited = self._exhausted.look
        self._is_plain = config.ack == "on_success" and not config.ack_confirm
        self._freed_bytes, self._turning, self._redelivered, self._drained = 0, False, 0, Alarm()
        self._loop: PullLoop | None = None
        self._stop_at: float | None = None
        self._refused: list[Raw] | None = None

    async def run(self) -> None:
        """See `triggers.base.Trigger.run`."""
        if self._loop is not None:
            raise TriggerError(f"trigger {self.name} is running already")
        if self._stop_at is not None:
            return self.set_state(State.STOPPED)
        config, loop = self.config, self._new_loop()
        unlisten = self._bus.listen(loop)
        # What an earlier run has left unsettled is in this one's window too, and what it has freed is not.
        self._freed_bytes = -sum(delivery.size for delivery in self._progress.deliveries)
        self._turn()
        failure: TriggerError | TopologyError | None = None
        try:
            async with anyio.create_task_group() as work:
                self._exhausted.begin(work, loop.unanswered)
                self._pool = pool = self._workers(work)
                self._suspects = Suspects(
                    config, self._launch, pool, self._progress, self._settler, self.counters, self._finish, self._warn
                )
                try:
                    try:
                        await loop.run()
                    except (TriggerError, TopologyError) as error:
                        loop.stop()
                        failure = error  # what is running now is drained all the same
                    await self._drain(loop)
                    await self._exhausted.end()
                except BaseException:
                    loop.abort()  # the workers end now: what still comes is handed back
                    self._refused = self._refused or []
                    raise
                # What is left are handlers that settled by hand and work on, or that ignore their cancellation.
                work.cancel_scope.cancel()
        finally:
            await self._close(loop)
            self._hand_back()
            unlisten()
            self._progress.close()
            self._loop = None
        if failure is not None:
            raise failure
        return self.set_state(State.STOPPED)

    def _new_loop(self) -> PullLoop:
        capacity, most, limits = self.config.max_in_flight, self.config.max_bytes, self._limits
        self._window = PullWindow(capacity, limits) if most is None else ByteWindow(capacity, most, limits)
        self._loop = PullLoop(
            self._bus,
            self._window,
            limits,
            self._fence,
            self.counters,
            look=self._look,
            start=self._start,
            refuse=self._refuse,
            set_state=self.set_state,
            warn=self._warn,
        )
        self._finder.stale = self._fence.stale = self._loop.look_soon
        return self._loop

    def _workers(self, group: TaskGroup) -> WorkerPool:
        return WorkerPool(
            group,
            fire=self._pipeline.fire,
            succeed=self._succeed,
            finish=self._finish,
            slot=partial(Slot, self.name, self._pipeline.name),
            counters=self.counters,
            ended=self._drained.ring,
        )

    def stop(self, timeout: float) -> None:
        """See `triggers.base.Trigger.stop`."""
        at = asyncio.get_running_loop().time() + timeout
        self._stop_at = at if self._stop_at is None else min(at, self._stop_at)
        if self._loop is not None:
            self.set_state(State.DRAINING)
            self._loop.stop()
            self._exhausted.stop(timeout)
            self._drained.ring()

    def set_state(self, state: State, reason: str = "") -> None:
        """See `triggers.base.Trigger.set_state`."""
        old, self.state, self.reason = self.state, state, reason
        if old is not state:
            self._tell(StateChanged("trigger", self.name, old, state, reason))

    async def is_drained(self) -> bool:
        """Whether the server has nothing for it: 0 pending, 0 unacknowledged, nothing given up that it has not seen.

        Raises:
            BusError: the server can't be asked.
        """
        consumer = await self._finder.ask()
        return consumer.num_pending == 0 and consumer.num_ack_pending == 0 and await self._exhausted.is_drained()

    def status(self) -> dict[str, Any]:
        """See `triggers.base.Trigger.status`."""
        return {
            "state": str(self.state),
            "reason": self.reason,
            **{key: getattr(self.config, key) for key in ("bus", "stream", "consumer", "pipeline", "max_in_flight")},
            "counters": asdict(self.counters),
            "stuck": list(self._settler.stuck.values())[:100],
        }

    async def _look(self) -> ConsumerInfo:
        consumer = await self._finder.look()
        self._progress.set_window(consumer.shortest_window)
        self._turn()  # what could not be said before
        return consumer

    def _start(self, raws: list[Raw], sizes: list[int], now: float) -> None:
        self.counters.received += len(raws)
        redelivered, self._redelivered = self._redelivered, self.counters.redelivered
        if again := redelivered != self._redelivered:
            self._progress.look(now)
            if self._fence.overtaken(raws, now):
                self._finder.stale()
        if again or self._matches is not None or self._recall.expects:
            raws, sizes = self._sift(raws, sizes, now + self._finder.shortest_window, again)
        settler, lease = self._settler, now + self._finder.shortest_window
        starting = [ActiveDelivery(raw, settler, now, lease, size) for raw, size in zip(raws, sizes, strict=False)]
        if starting:
            self._progress.start(starting)
            self._suspects.submit(starting)
        self._turn()  # behind the first worker's start, so that what its handlers settle goes along
        self.counters.in_flight = self._window.running

    def _sift(self, raws: list[Raw], sizes: list[int], lease: float, again: bool) -> tuple[list[Raw], list[int]]:
        """What must be started is left. What is done already, or does not match the filter, is acknowledged unseen; of
        what is there `again`, the first time may be in the same read, behind a blocked event loop."""
        left, matches = [], self._matches
        overtaken = self._recall.overtaken_in(raws) if again else ()
        for raw, size in zip(raws, sizes, strict=False):
            is_done = False if raw[1] in overtaken else self._recall.recognise(raw, lease)
            if is_done is None and (matches is None or matches(Message(raw))):
                left.append((raw, size))
                continue
            self.counters.filtered += is_done is None
            self.counters.recalled += is_done is not None
            if is_done is not False:
                self._fence.ack(raw[1])
            self._freed_bytes += size
        self._recall.sifted()
        return [raw for raw, _ in left], [size for _, size in left]

    def _refuse(self, raws: list[Raw]) -> None:
        if self._refused is not None:
            self._refused.extend(raws)
        elif raws:
            self._bus.answer_all([raw[1] for raw in raws], NAK)

    def _hand_back(self) -> None:
        """Nak what came too late, in sequence order."""
        late, self._refused = self._refused or [], None
        self._refuse(sorted(late, key=lambda raw: AckToken.parse(raw[1].decode()).sequence))

    def _succeed(self, delivery: ActiveDelivery, result: Any = None) -> bool:
        """Acknowledge it, or publish first what its handler returned, where that is all there is to do: nothing to wait
        for, nothing to tell, nobody was quicker. False where `_finish` is needed. Runs for every ordinary message."""
        if delivery.claimed or delivery.cancelled or delivery.overdue or not self._is_plain:
            return False
        if result is not None:
            if type(result) is not Publish:
                return False
            delivery.publish_all((result,))
            return True
        delivery.claimed = True
        self._fence.ack(delivery.token)
        if self._settler.stuck:
            self._settler.acked(delivery)
        else:
            self.counters.acked += 1
        # As in `_done`: spares every message a call.
        del self._progress.deliveries[delivery]
        self._freed_bytes += delivery.size
        if not self._turning:
            self._turn()
        return True

    def _published(self, delivery: ActiveDelivery, failure: Exception | None) -> None:
        if self._loop is not None and (failure is not None or not self._succeed(delivery)):
            self._pool.start(self._finish, delivery, None, failure and Unpublished(failure))

    async def _finish(self, delivery: ActiveDelivery, result: Any, error: BaseException | None) -> None:
        """Settle it by what its handler returned or raised."""
        delivery.task = asyncio.current_task()
        try:
            handled = outcome_of(delivery, result, error, self._pipeline.outgoing)
            if delivery.task is not None and delivery.task.cancelling():
                await uncancel(delivery.task)
            delivery.in_handler = False
            if isinstance(handled, Success):
                if handled.publishes:
                    delivery.publish_all(handled.publishes)
                    return
                if self._succeed(delivery):
                    return
            by_hand = self.config.ack == "manual" or delivery.claimed
            outcome = self._handled_by_hand(delivery, handled) if by_hand else handled
            if outcome is not None and delivery.claim():
                await self._settler.settle(delivery, outcome)
        except BusUnavailableError:
            pass  # an unconfirmed ack, told as a fact; the server delivers again if it did not get it
        except asyncio.CancelledError:
            if not delivery.cancelled or delivery.task is None:
                raise  # the run is cancelled: `_close` hands it back, once the server has dropped our requests
            if delivery.claim():
                await self._settler.settle(delivery, Failure("cancelled", "stopped before it was done"))
            await uncancel(delivery.task)

    def _handled_by_hand(self, delivery: ActiveDelivery, outcome: Outcome) -> Outcome | None:
        """The outcome that is still to be settled here; None where the user has settled, or will."""
        if isinstance(outcome, Success):
            delivery.waiting = not delivery.claimed
            return None
        if delivery.claimed and not delivery.cancelled:
            self._settler.fail(delivery, outcome, "settled")
        return outcome

    def _overdue(self, delivery: ActiveDelivery) -> None:
        if self._pipeline.blocking and not delivery.cancellable and delivery is not self._suspects.trying:
            self._warn(
                f"handler {self._pipeline.name} runs in a thread and is over its timeout of {self.config.timeout:g} s "
                f"(sequence {delivery.message.sequence}); a thread can't be cancelled, so it is kept until it returns"
            )
        else:
            delivery.cancel("timeout")

    def _done(self, delivery: ActiveDelivery) -> None:
        del self._progress.deliveries[delivery]
        self._freed_bytes += delivery.size
        self._turn()

    def _turn(self) -> None:
        if not self._turning:
            self._turning = True
            self._call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """What the settlements of one turn of the event loop come to: one write, then one request for more."""
        self._turning = False
        self._fence.flush()
        self.counters.in_flight = len(self._progress.deliveries)
        if self._loop is not None:
            size, self._freed_bytes = self._freed_bytes, 0
            self._loop.freed(self._window.running - len(self._progress.deliveries), size)
            if not self._progress.deliveries:
                self._drained.ring()

    async def _drain(self, loop: PullLoop) -> None:
        """The stop order from its second step on (docs/trigger.md): what is under way still starts; what comes too
        late is handed back in sequence order; what runs gets its time, and is then cancelled and handed back."""
        now = asyncio.get_running_loop().time
        by_itself = now() + self._shutdown_timeout
        self._refused = []
        await loop.close()
        self._hand_back()
        await self._suspects.hand_back()
        self._pool.close()
        while (self._progress.deliveries or self._pool.workers) and now() < (self._stop_at or by_itself):
            await self._drained.wait(self._stop_at or by_itself)
        for delivery in list(self._progress.deliveries):
            self.cancelled += 1
            await self._end(delivery)
        until = now() + _CANCEL_TAKES
        while self._progress.deliveries and now() < until:
            await self._drained.wait(until)
        for delivery in list(self._progress.deliveries):
            if delivery.claim():
                self._settler.leave(delivery, Failure("cancelled", "its handler ignores that it was cancelled"))
        # The last step: the server has the acks and terms. What it can't be asked for now has been written.
        with suppress(BusError), anyio.move_on_after(_FLUSH_TAKES):
            await self._fence.settled()

    async def _close(self, loop: PullLoop) -> None:
        with anyio.move_on_after(_CLOSE_TAKES, shield=True):
            await loop.close()
            for delivery in list(self._progress.deliveries):  # some are left where there was no time to drain
                if delivery.claim():
                    await self._settler.settle(delivery, Failure("cancelled", "stopped before it was done"))
            await self._fence.close()

    async def _end(self, delivery: ActiveDelivery) -> None:
        """The time is over for this one."""
        in_thread = self._pipeline.blocking and not delivery.cancellable and delivery is not self._suspects.trying
        if (delivery.waiting or delivery.is_publishing) and delivery.claim():
            what = "it was settled by hand" if delivery.waiting else "its publish was confirmed"
            await self._settler.settle(delivery, Failure("cancelled", f"stopped before {what}"))
            return
        if in_thread and delivery.in_handler and delivery.claim():
            # Its thread goes on until the process ends: a nak would start a second copy beside it.
            self._settler.leave(delivery, Failure("cancelled", "still in its thread at the end"))
        delivery.cancel("stop")

    def _warn(self, text: str) -> None:
        self._tell(Warned(self.name, text, {}))
