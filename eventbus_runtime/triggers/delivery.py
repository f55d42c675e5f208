"""One delivery, and the one place that settles it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from eventbus_runtime.buses.base import Bus, Frame, PubAck
from eventbus_runtime.config.model import TriggerConfig
from eventbus_runtime.counters import TriggerCounters
from eventbus_runtime.errors import BusUnavailableError, EventbusError
from eventbus_runtime.events import DeliveryFailed, Tell
from eventbus_runtime.message import Message, Raw
from eventbus_runtime.pipelines.encoding import encode
from eventbus_runtime.pipelines.numbering import Numbering
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.triggers.consumer import ConsumerFinder
from eventbus_runtime.triggers.fence import Fence
from eventbus_runtime.triggers.letters import DeadLetters, UnconfirmedError
from eventbus_runtime.triggers.settlement import (
    Ack,
    DeadLetter,
    Failure,
    Nak,
    Outcome,
    Policy,
    Settlement,
    Success,
    Term,
    decide,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRESS = b"+WPI"
NAK = b"-NAK"
_UNCONFIRMED = "the ack was not confirmed"


class ActiveDelivery(Numbering):
    """A delivery that this trigger holds; implements `pipelines.base.Delivery`.

    Args:
        raw: as it came.
        settler: its trigger's.
        now: event loop's time, seconds.
        lease: until when the server lets us have it, at least, by the same clock.
        size: its bytes, as the server counts them.
    """

    __slots__ = (
        "_failure",
        "_settler",
        "_unconfirmed",
        "cancelled",
        "claimed",
        "in_handler",
        "lease",
        "message",
        "overdue",
        "size",
        "started",
        "task",
        "token",
        "waiting",
    )

    def __init__(self, raw: Raw, settler: Settler, now: float, lease: float, size: int) -> None:
        self.message = Message(raw)
        self.token = raw[1]
        self.started = now
        self.lease = lease
        self.size = size
        self.claimed = False
        self.in_handler = True
        self.waiting = False  # manual ack: the handler returned, the user has not settled yet
        self.overdue = False
        self.cancelled = ""  # why we cancelled its handler: "timeout" or "stop"
        self.task: asyncio.Task[object] | None = None
        self._settler = settler
        self._positions, self._place, self._seen, self.cancellable = 0, "", "", False

    @property
    def attempt(self) -> int:
        """Which delivery of this message it is, from 1."""
        return self.message.delivery_count

    def claim(self) -> bool:
        """Take the right to settle it; False when somebody has. Before any await, so that two can't both settle."""
        claimed, self.claimed = self.claimed, True
        return not claimed

    async def ack(self) -> bool:
        """See `pipelines.base.Delivery.ack`."""
        return self.claim() and await self._settler.settle(self, Success())

    async def nak(self, delay: float | None = None) -> bool:
        """See `pipelines.base.Delivery.nak`."""
        return self.claim() and await self._settler.settle(self, Failure("retry", "by hand", delay))

    async def reject(self, reason: str = "") -> bool:
        """See `pipelines.base.Delivery.reject`."""
        return self.claim() and await self._settler.settle(self, Failure("rejected", reason))

    async def progress(self) -> bool:
        """See `pipelines.base.Delivery.progress`."""
        if self.claimed:
            return False
        self._settler.progress([self])
        return True

    async def publish(self, outgoing: Publish) -> PubAck:
        """See `pipelines.base.Delivery.publish`."""
        identity = self.id_of(outgoing, self._settler.trigger)
        send = self._settler.bus.publish
        return await send(outgoing.subject, encode(outgoing.payload), outgoing.headers, id=identity)

    @property
    def is_publishing(self) -> bool:
        """Whether what its handler returned is on its way, and nothing else happens to it."""
        return self.task is None and not self.in_handler

    def publish_all(self, publishes: Sequence[Publish]) -> None:
        """Publish what its handler returned, one at least, in order, all under way at once. No task waits for it: its
        settler is told when the last one is confirmed or has failed."""
        self.in_handler, self.task = False, None
        self._unconfirmed = len(publishes)
        self._failure: Exception | None = None
        send, trigger = self._settler.bus.publish_nowait, self._settler.trigger
        for outgoing in publishes:
            try:
                payload = encode(outgoing.payload)
                send(outgoing.subject, payload, outgoing.headers, self._confirmed, id=self.id_of(outgoing, trigger))
            except Exception as failed:  # noqa: BLE001 - the user's payload may raise anything while it is encoded
                self._confirmed(failed)

    def _confirmed(self, answer: PubAck | Exception) -> None:
        if type(answer) is not PubAck and self._failure is None:
            self._failure = cast(Exception, answer)
        self._unconfirmed -= 1
        if not self._unconfirmed:
            self._settler.published(self, self._failure)

    def cancel(self, why: str) -> None:
        """Cancel what runs for it."""
        self.cancelled = why
        if self.task is not None:
            self.task.cancel()


class Settler:
    """Settles the deliveries of one trigger: publishes, then dead letter, then the word to the server.

    Args:
        trigger: its name.
        config: its configuration.
        bus: where to.
        counters: what it adds to.
        tell: takes facts.
        fence: where acks and terms go.
        finder: knows the consumer, and the stream that must store the dead letters.
        published: told when all is confirmed that a delivery's handler returned, or why not.
        done: called once for each delivery, when it is over.
    """

    def __init__(
        self,
        trigger: str,
        config: TriggerConfig,
        bus: Bus,
        counters: TriggerCounters,
        tell: Tell,
        fence: Fence,
        finder: ConsumerFinder,
        published: Callable[[ActiveDelivery, Exception | None], None],
        done: Callable[[ActiveDelivery], None],
    ) -> None:
        self.trigger, self.bus, self.published = trigger, bus, published
        self.stuck: dict[int, dict[str, object]] = {}
        self._config, self._counters, self._tell, self._done = config, counters, tell, done
        self._fence, self._finder = fence, finder
        self.letters = DeadLetters(config.dead_letter, bus, finder)
        self._policy = Policy(
            config.retry.delays,
            config.retry.jitter,
            config.dead_letter is not None,
            config.attempts,
            config.on_exhausted == "terminate",
        )

    def beat(self, deliveries: Iterable[ActiveDelivery]) -> None:
        """Tell progress of those that run, and give up those that nothing has settled by hand in time."""
        now = asyncio.get_running_loop().time()
        alive = []
        for delivery in deliveries:
            if not delivery.waiting:
                alive.append(delivery)
            elif delivery.lease <= now and delivery.claim():
                self._counters.abandoned += 1
                self.leave(delivery, Failure("error", "its handler returned, and nothing settled it in time"))
        self.progress(alive)

    def progress(self, deliveries: Sequence[ActiveDelivery]) -> None:
        """Restart the time of these at the server, in sequence order; nothing while the server can't hear it, since
        the lease ends without it."""
        if not self.bus.is_connected or self.bus.congested:
            return
        now, void = asyncio.get_running_loop().time(), self._fence.recall.void
        known = [one for one in deliveries if one.lease > now and one.token not in void]
        alive = sorted(known, key=lambda one: one.message.sequence)
        for delivery in alive:
            delivery.lease = now + self._finder.window(delivery.attempt)
        if alive:
            self.bus.answer_all([delivery.token for delivery in alive], PROGRESS)

    async def settle(self, delivery: ActiveDelivery, outcome: Outcome) -> bool:
        """Settle a delivery that the caller has claimed; always true.

        This is the first promise: what the handler published is confirmed by now, a dead letter is confirmed before the
        term, and whatever fails on the way ends in a nak, or in no word, which the server answers by delivering again.

        Raises:
            BusUnavailableError: `ack_confirm` is on and the ack was not confirmed.
        """
        try:
            settlement = decide(outcome, delivery.attempt, self._policy_now(), random.random)
            if isinstance(settlement, DeadLetter) and isinstance(outcome, Failure):
                try:
                    outcome, settlement = await self._dead_letter(delivery, outcome, settlement)
                except asyncio.CancelledError:
                    text = "stopped before its dead letter was confirmed"
                    self._nak(delivery, Failure("cancelled", text), Nak(0.0))
                    raise
            if isinstance(settlement, Ack):
                if self._config.ack_confirm:
                    await self._confirm_ack(delivery)
                else:
                    self._fence.ack(delivery.token)
                self.acked(delivery)
            elif isinstance(settlement, Nak):
                try:
                    await self._see()
                finally:  # it is told also by who is cancelled meanwhile
                    self._nak(delivery, outcome, settlement)
            else:
                self._term(delivery, outcome, settlement)
        finally:
            self._done(delivery)
        return True

    def _policy_now(self) -> Policy:
        """The policy, with no more attempts than the consumer allows: behind the last one there is no nak."""
        policy, consumer = self._policy, self._finder.consumer
        if consumer is None or consumer.max_deliver <= 0 or policy.attempts is None:
            return policy
        return replace(policy, attempts=min(policy.attempts, consumer.max_deliver))

    async def _see(self) -> None:
        """Have the consumer looked at before anything is said, where it may be another one by now: see `Fence.sees`."""
        if not self._fence.sees():
            with suppress(EventbusError):  # then what is said reaches nobody
                await self._finder.look()

    async def _confirm_ack(self, delivery: ActiveDelivery) -> None:
        try:
            await self._see()
            if delivery.token in self._fence.recall.void:
                return self._fence.ack(delivery.token)
            await self.bus.request(delivery.token.decode())
            self._fence.recall.memory.keep([delivery.token], asyncio.get_running_loop().time())
        except BusUnavailableError as error:
            self._leave_unconfirmed(delivery, Failure("error", f"{_UNCONFIRMED}: {error}", error=error))
            raise
        except asyncio.CancelledError:
            self._leave_unconfirmed(delivery, Failure("cancelled", f"{_UNCONFIRMED}: stopped before that"))
            raise

    def _leave_unconfirmed(self, delivery: ActiveDelivery, outcome: Failure) -> None:
        """Nobody knows whether the server has its ack."""
        self._counters.left += 1
        self.fail(delivery, outcome, "left")

    def acked(self, delivery: ActiveDelivery) -> None:
        """Count it."""
        self._counters.acked += 1
        if self.stuck:
            self._unstick(delivery)

    def _nak(self, delivery: ActiveDelivery, outcome: Outcome, settlement: Nak) -> None:
        now = asyncio.get_running_loop().time()
        assert isinstance(outcome, Failure)
        if settlement.stuck:
            self._stick(delivery, outcome)
        # The server has handed it out again, so that a nak would start a third copy, or has forgotten it, and will.
        if delivery.lease <= now or delivery.token in self._fence.recall.void:
            self._counters.left += 1
            self.fail(delivery, outcome, "left", stuck=settlement.stuck)
            return
        self.bus.send([self.nak_frame(delivery, settlement.delay)])
        self._fence.recall.handed_back(delivery.token)
        self._counters.nakked += 1
        if outcome.reason != "cancelled":
            self._counters.retried += 1
        self.fail(delivery, outcome, "nak", delay=settlement.delay, stuck=settlement.stuck)

    def nak_frame(self, delivery: ActiveDelivery, delay: float) -> Frame:
        """The nak that makes the server wait `delay` seconds. Where the consumer has a `backoff`, the server adds the
        difference of this step to the first one, so that is taken off (tried on 2.10 to 2.15)."""
        consumer = self._finder.consumer
        if consumer is not None and consumer.backoff:
            delay -= consumer.window(delivery.attempt) - consumer.backoff[0]
            body = b'%b {"delay": %d}' % (NAK, round(delay * 1e9) or -1)  # with 0, the server would ignore the delay
        else:
            body = b'%b {"delay": %d}' % (NAK, round(delay * 1e9)) if delay else NAK
        return Frame(delivery.token.decode(), body, keep_until=delivery.lease)

    def _term(self, delivery: ActiveDelivery, outcome: Outcome, settlement: Term | DeadLetter) -> None:
        self._fence.term(delivery.token)
        kind = "dead_letter" if isinstance(settlement, DeadLetter) else "term"
        if kind == "dead_letter":
            self._counters.dead_lettered += 1
        else:
            self._counters.terminated += 1
        self._unstick(delivery)
        assert isinstance(outcome, Failure)
        self.fail(delivery, outcome, kind, reason=settlement.reason)

    async def _dead_letter(
        self, delivery: ActiveDelivery, outcome: Failure, settlement: DeadLetter
    ) -> tuple[Failure, Settlement]:
        """Publish the dead letter, and say what is to be settled then: as decided where it is confirmed, else a nak."""
        try:
            await self.letters.send(delivery.message, settlement.reason, outcome.text)
        except UnconfirmedError as error:
            text = f"{error}; what was to be dead-lettered: {outcome.text or outcome.reason}"
            fallback = Nak(settlement.fallback.delay, stuck=True) if error.too_large else settlement.fallback
            return Failure("dead_letter_unconfirmed", text, error=outcome.error), fallback
        return outcome, settlement

    def _stick(self, delivery: ActiveDelivery, outcome: Failure) -> None:
        message = delivery.message
        self.stuck[message.sequence] = {
            "sequence": message.sequence,
            "subject": message.subject,
            "attempt": delivery.attempt,
            "reason": outcome.reason,
            "error": outcome.text,
        }
        self._counters.stuck = len(self.stuck)

    def _unstick(self, delivery: ActiveDelivery) -> None:
        self.stuck.pop(delivery.message.sequence, None)
        self._counters.stuck = len(self.stuck)

    def leave(self, delivery: ActiveDelivery, outcome: Failure) -> None:
        """Say nothing of it to the server, which delivers it again when its time is over. The caller has claimed it."""
        self._counters.left += 1
        self.fail(delivery, outcome, "left")
        self._done(delivery)

    def fail(
        self,
        delivery: ActiveDelivery,
        outcome: Failure,
        settlement: str,
        *,
        reason: str = "",
        delay: float | None = None,
        stuck: bool = False,
    ) -> None:
        """Tell that a delivery did not end well."""
        self._tell(
            DeliveryFailed(
                self.trigger,
                self._config.pipeline,
                delivery.message,
                delivery.attempt,
                reason or outcome.reason,
                outcome.text,
                settlement,
                delay,
                outcome.error,
                stuck,
            )
        )
