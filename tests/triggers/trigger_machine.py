"""A real trigger on a model of its server, one step after the other, and what must hold at each of them."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventbus_runtime.config.model import RetryConfig, TriggerConfig
from eventbus_runtime.errors import BusUnavailableError, PublishError
from eventbus_runtime.events import DeliveryFailed, Fact
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.triggers.child import Launch
from eventbus_runtime.triggers.delivery import ActiveDelivery
from eventbus_runtime.triggers.pull_bytes import ByteWindow
from eventbus_runtime.triggers.subscribe import SubscribeTrigger
from tests.triggers.bus_model import Identity, ModelBus, identity_of
from tests.triggers.scripted import BY_HAND, ENDS, Handlers, Run
from tests.virtual import VirtualLoop

_RETRIES = RetryConfig(delays=(1.0, 5.0), jitter=0.0)
_STORED = 20


class TriggerMachine(RuleBasedStateMachine):
    """Arguments of the class, behind its base, are keys of `[triggers.NAME]`."""

    config: ClassVar[dict[str, Any]]
    launch: Launch | str = "no other process knows it"
    rested: ClassVar[int] = 0
    """How many of them have come to rest, with nothing lost and nothing left."""

    def __init_subclass__(cls, **config: Any) -> None:
        super().__init_subclass__()
        cls.config = config

    def __init__(self) -> None:
        super().__init__()
        self.is_manual = self.config.get("ack") == "manual"
        self.loop = VirtualLoop()
        self.steps = self.away = 0
        self.is_slow = False
        self.runs: dict[Identity, list[Run]] = {}
        self.acked: set[Identity] = set()
        """Messages that the trigger has acknowledged, whether or not the server has heard of it."""
        self.dead: set[Identity] = set()
        """Messages whose dead letter is confirmed."""
        self.told: set[Identity] = set()
        """Messages of which the server was told that they are done."""
        self.terminated: set[Identity] = set()
        self.words: dict[bytes, list[str]] = {}
        self.facts: list[Fact] = []
        self.wrong: list[str] = []
        self.stopped = False
        self.prepared()
        self.bus, self.trigger = self.loop.run_until_complete(self._made())
        self.task = self.loop.create_task(self.trigger.run())
        self.bus.store(_STORED)
        self.loop.pass_by()

    async def _made(self) -> tuple[ModelBus, SubscribeTrigger]:
        bus = ModelBus(self.said, self.asked)
        section = TriggerConfig(
            bus="main", stream="S", consumer="c", pipeline="h", retry=_RETRIES, **({"max_in_flight": 4} | self.config)
        )
        return bus, SubscribeTrigger(
            "t",
            section,
            bus,
            Handlers(self.began),
            tell=self.facts.append,
            prepare=self.prepare,
            shutdown_timeout=9.0,
            launch=self.launch,
        )

    def prepared(self) -> None:
        """Comes before the trigger."""

    async def prepare(self, resume_at: int | None) -> str | None:
        return "DEAD"

    # What must hold.

    def began(self, delivery: Delivery) -> Run:
        """A handler begins."""
        self.sweep()
        identity = self.identity_of(delivery)
        before = self.runs.setdefault(identity, [])
        self.must(all(run.over or run.delivery.claimed for run in before), "two at once")
        self.must(identity not in self.acked, "handled again, though it was acknowledged")
        before.append(Run(cast(ActiveDelivery, delivery), identity, manual=self.is_manual))
        return before[-1]

    @staticmethod
    def identity_of(delivery: Delivery) -> Identity:
        return identity_of(delivery.message.ack_token.encode())

    def dead_lettered(self, delivery: ActiveDelivery) -> None:
        """Its dead letter is about to be published."""
        run = self.runs[self.identity_of(delivery)][-1]
        is_used_up = delivery.attempt >= self.config["attempts"]
        self.must(is_used_up or run.ended[:1] in (["reject"], ["undecodable"]), "dead-lettered too early")
        self.must(not run.succeeded and (run.over or bool(run.ended)), "dead-lettered, and it did not fail")

    def asked(self, id: str) -> None:  # noqa: A002 - the header's own word
        """Something is about to be published."""
        self.sweep()
        if id.endswith(".dead"):
            held = self.trigger._progress.deliveries
            (delivery,) = [one for one in held if f"{one.message.origin}.c.dead" == id]
            self.dead_lettered(delivery)

    def said(self, token: bytes, word: str, lease: float) -> None:
        """The trigger says a word about a delivery."""
        self.sweep()
        if word == "delivered":  # a server that forgets may use a token again
            self.words.pop(token, None)
            return
        identity, runs = identity_of(token), self.runs.get(identity_of(token), [])
        words = self.words.setdefault(token, [])
        if word in ("nak", "progress"):
            self.must(self.loop.time() <= lease, f"{word} of what may be somebody else's by now")
            waits_for_proof = word == "progress" and "ack_confirm" in self.config
            self.must(not words or waits_for_proof, f"{word} of what is settled")
        if word == "progress":
            return
        words.append(word)
        if word == "term":
            self.terminated.add(identity)
        self.told |= set() if word == "nak" else {identity}
        self.must(len(set(words)) == 1, f"{words} for one delivery")
        if word == "ack":
            # One that comes again though it was terminated is acknowledged.
            is_done = identity in self.dead | self.terminated or any(run.succeeded for run in runs)
            self.must(is_done, "acknowledged, though no handler succeeded")
        elif word == "term" and "dead_letter" in self.config:
            self.must(identity in self.dead, "terminated without a dead letter")
        elif word == "term":
            attempt, most = runs[-1].delivery.attempt, self.config.get("attempts", 1000)
            self.must(attempt >= most or runs[-1].ended[0] == "reject", "terminated, and nobody asked for it")

    def must(self, holds: bool, text: str) -> None:
        """An assertion that no handler and no task can swallow."""
        if not holds:
            self.wrong.append(text)

    def sweep(self) -> None:
        """Write down what is acknowledged since the last time."""
        held = self.trigger._progress.deliveries
        failed = {id(one.message) for one in self.facts if isinstance(one, DeliveryFailed)} - self._settled_and_raised()
        for runs in self.runs.values():
            run = runs[-1]
            if run.settled or not run.delivery.claimed or run.delivery in held:
                continue
            run.settled = True
            if id(run.delivery.message) not in failed:
                self.must(run.succeeded, "counted as done, though no handler succeeded")
                self.acked.add(run.identity)

    def _settled_and_raised(self) -> set[int]:
        facts = [one for one in self.facts if isinstance(one, DeliveryFailed)]
        return {id(one.message) for one in facts if one.settlement == "settled"} - {
            id(one.message) for one in facts if one.settlement != "settled"
        }

    @invariant()
    def the_books_agree(self) -> None:
        self.sweep()
        assert not self.wrong, self.wrong
        self.steps += 1
        trigger = self.trigger
        if trigger._loop is None:
            return
        window, held = trigger._window, len(trigger._progress.deliveries)
        assert window.running == held <= window.capacity
        assert trigger.counters.in_flight == held
        assert window.credit >= 0
        if isinstance(window, ByteWindow):
            assert window.running_bytes == sum(delivery.size for delivery in trigger._progress.deliveries)

    # What the server does.

    @rule(most=st.integers(0, 4), at_once=st.integers(1, 3), is_slow=st.booleans())
    def deliver(self, most: int, at_once: int, is_slow: bool) -> None:
        """Where it is slow, what it sends stays under way from now on, and what it confirms."""
        self.bus.serve(4)
        self.loop.do(self.bus.arrive, most, at_once)
        self.is_slow = is_slow
        self.go_on()

    @rule(seconds=st.sampled_from([0.1, 1.1, 5.0, 11.0, 21.0]))
    def time_passes(self, seconds: float) -> None:
        while seconds > 0:
            self.loop.pass_by(min(seconds, 2.0))
            self.bus.tick()
            self.go_on()
            seconds -= 2.0

    @rule(seconds=st.sampled_from([8.0, 25.0, 35.0]), most=st.integers(0, 4))
    def the_loop_is_blocked(self, seconds: float, most: int) -> None:
        """What came meanwhile is read before a timer fires. What had come before is read before, too: of what is under
        way for longer than its lease nobody can tell that it is."""
        self.loop.do(self.bus.arrive)
        self.loop.block(seconds)
        self.bus.tick()
        self.bus.serve(most)
        self.loop.do(self.bus.arrive)
        self.go_on()

    @precondition(lambda self: self.bus.is_connected)
    @rule(steps=st.integers(0, 3))
    def disconnect(self, steps: int) -> None:
        self.away = steps
        self.loop.do(self.bus.disconnect)

    @precondition(lambda self: self.bus.has_leader)
    @rule(is_told=st.booleans(), steps=st.integers(0, 3))
    def leader_goes(self, is_told: bool, steps: int) -> None:
        """Acks vanish in silence until there is another."""
        self.away = steps
        self.bus.has_leader = False
        self.bus.answers.clear()
        if is_told:
            self.bus.close_requests("409 Leadership Change")
        self.bus.requests.clear()
        self.loop.pass_by()

    def go_on(self) -> None:
        """What goes on by itself: breaks are over after some steps, and the server sends and confirms."""
        self.away -= 1
        if self.away < 0:
            self.bus.has_leader = True
            if not self.bus.is_connected:
                self.loop.do(self.bus.reconnect)
        if not self.is_slow:
            self.bus.serve(4)
            self.loop.do(self.bus.arrive)
            self.loop.do(self.bus.answer)

    # What handlers and streams do.

    @precondition(lambda self: self.unended())
    @rule(data=st.data(), end=st.sampled_from(ENDS))
    def end_run(self, data: st.DataObject, end: str) -> None:
        self._end(data.draw(st.sampled_from(self.unended()), label="run"), end)
        self.go_on()

    def _end(self, run: Run, end: str) -> None:
        if not run.end.done():  # cancelled since it was looked for
            run.end.set_result(end)
        self.loop.pass_by()

    def unended(self) -> list[Run]:
        return [runs[-1] for runs in self.runs.values() if not runs[-1].over and not runs[-1].end.done()]

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), word=st.sampled_from(BY_HAND))
    def settle_by_hand(self, data: st.DataObject, word: str) -> None:
        """Of what runs, or is over: then it must be refused."""
        latest = [runs[-1] for runs in self.runs.values()]
        unsettled = [run for run in latest if not run.delivery.claimed]
        self._by_hand(data.draw(st.sampled_from(unsettled + latest[-1:]), label="run"), word)
        self.go_on()

    def _by_hand(self, run: Run, word: str) -> None:
        delivery = run.delivery
        was_claimed = delivery.claimed
        if word != "progress" and not was_claimed:
            run.ended.append(word)
        task = self.loop.create_task(self._said_by_hand(delivery, word))
        self.loop.pass_by()
        assert not was_claimed or task.result() is False

    @staticmethod
    async def _said_by_hand(delivery: ActiveDelivery, word: str) -> bool | None:
        try:
            return cast(bool, await getattr(delivery, word)())
        except BusUnavailableError:
            return None

    @precondition(lambda self: self.bus.asked)
    @rule(data=st.data(), fails=st.booleans())
    def confirm(self, data: st.DataObject, fails: bool) -> None:
        self._confirm(data.draw(st.integers(0, len(self.bus.asked) - 1), label="which"), fails)
        self.go_on()

    def _confirm(self, at: int, fails: bool) -> None:
        asked = self.bus.asked[at].id.split(".")
        if len(asked) > 3:
            identity = int(asked[1]), int(asked[2])
            if asked[-1] != "dead":
                self.runs[identity][-1].unconfirmed -= not fails
            elif not fails:
                self.dead.add(identity)
        answer = PublishError("full") if fails else None
        self.loop.do(self.bus.confirm, at, answer)

    # How it ends.

    @precondition(lambda self: self.steps > 25 and not self.stopped)
    @rule(timeout=st.sampled_from([0.0, 1.0, 20.0]))
    def stop(self, timeout: float) -> None:
        self.stopped = True
        self.loop.do(self.trigger.stop, timeout)

    @precondition(lambda self: self.steps % 8 == 7 and not self.stopped)
    @rule()
    def crash(self) -> None:
        """A fault of ours: its supervisor runs it again."""
        self.task.cancel()
        self.time_passes(5.0)
        assert self.task.cancelled()
        assert all(delivery.claimed for delivery in self.trigger._progress.deliveries)
        self.task = self.loop.create_task(self.trigger.run())
        self.loop.pass_by()

    def teardown(self) -> None:
        try:
            if not self.task.cancelled():  # else it has failed already
                self.come_to_rest()
                type(self).rested += 1
        finally:
            self.task.cancel()
            self.loop.pass_by(20.0)
            self.loop.close()

    def come_to_rest(self) -> None:
        """All is well from now on: every message is handled, then it stops, and nothing is left."""
        self.away, self.is_slow = 0, False
        for _ in range(150):
            self.all_goes_well()
            self.time_passes(2.0)
            if self.stopped or self.is_at_rest():
                break
        if not self.stopped:
            assert self.is_at_rest(), "something is stuck"
            assert set(self.bus.stream.items()) <= self.acked | self.told | self.dead, "something is lost"
            assert self.trigger._fence.unproven == 0
            self.stop(20.0)
        for _ in range(20):
            self.all_goes_well()
            self.time_passes(2.0)
        assert self.task.done()
        self.task.result()
        self.the_books_are_empty()

    def all_goes_well(self) -> None:
        """Every handler succeeds."""
        for run in self.unended():
            self._end(run, "return")
        for runs in self.runs.values():
            if self.is_manual and runs[-1].over:
                self._by_hand(runs[-1], "ack")
        while self.bus.asked:
            self._confirm(0, False)

    def is_at_rest(self) -> bool:
        consumer = self.bus.consumer
        is_served = consumer is not None and not consumer.pending and consumer.delivered == self.bus.last
        return is_served and self.trigger._fence.unproven == 0

    def the_books_are_empty(self) -> None:
        trigger = self.trigger
        assert not trigger._progress.deliveries
        assert trigger.counters.in_flight == 0
        assert all(run.over for runs in self.runs.values() for run in runs)
        assert not self.bus.requests
        assert not self.bus._listeners
        assert trigger._progress._beat_timer is None
        assert trigger._progress._timeout_timer is None
