"""Servers that forget, consumers and streams that are made anew: what is done here is not done again, and no more than
that is taken for done."""

from __future__ import annotations

import copy
from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tests.triggers.bus_model import ACK_WAIT, Consumer, identity_of
from tests.triggers.trigger_machine import TriggerMachine


class ForgetfulMachine(TriggerMachine, max_in_flight=6, dead_letter="dead.a", attempts=5, timeout=20.0):
    def prepared(self) -> None:
        self.written: deque[tuple[float, Consumer | None]] = deque()
        """What the server has on disk, since when."""
        self.known = 1
        self.same_stream = True

    async def prepare(self, resume_at: int | None) -> str | None:
        if self.bus.consumer is None:
            self.bus.consumer = self._made_anew(resume_at if self.same_stream and resume_at else 0)
        self.same_stream = True
        return "DEAD"

    def _made_anew(self, start: int) -> Consumer:
        self.bus.made += 1
        return Consumer(self.bus.made, opt_start_seq=start, delivered=max(0, start - 1))

    def asked(self, id: str) -> None:  # noqa: A002 - as in the base
        super().asked(id)
        consumer = self.bus.consumer
        if id == "CONSUMER.INFO" and consumer is not None and consumer.created != self.known:
            self.known = consumer.created
            if not consumer.opt_start_seq:  # all is to be delivered again
                self.acked.clear()
                self.told.clear()

    def said(self, token: bytes, word: str, lease: float) -> None:
        super().said(token, word, lease)
        sequence, time = identity_of(token)
        consumer = self.bus.consumer
        if consumer is not None and consumer.created == self.known and sequence in consumer.pending:
            self.must(self.bus.stream[sequence] == time, "an old token settles another message")

    def go_on(self) -> None:
        self.written.append((self.loop.time(), copy.deepcopy(self.bus.consumer)))
        super().go_on()

    @precondition(lambda self: self.unended())
    @rule(most=st.integers(1, 4))
    def work_is_done(self, most: int) -> None:
        for run in self.unended()[:most]:
            self._end(run, "return")
        self.go_on()

    @rule(lost=st.sampled_from([0.0, 0.5, 1.0]))
    def server_killed(self, lost: float) -> None:
        """It comes back with what it had written down so many seconds before."""
        now = self.loop.time()
        for at, consumer in reversed(self.written):
            if now - at > 1.0:  # what is so old is written for sure
                break
            if at <= now - lost:
                self.bus.consumer = copy.deepcopy(consumer)
                break
        self.away = 0
        self.loop.do(self.bus.disconnect)
        self.go_on()

    @precondition(lambda self: not self.bus.requests and self.bus.consumer)
    @rule(lost=st.sampled_from([0.0, 0.5, 1.0]))
    def leader_changes_unseen(self, lost: float) -> None:
        """Nobody is told who has no request open. Before 2.11 the next leader begins without what it has not applied
        yet: acks that the one before has answered. These messages come again, as messages that come again do."""
        now, consumer = self.loop.time(), self.bus.consumer
        assert consumer is not None
        for sequence, at in consumer.done.items():
            if now - at <= lost:
                consumer.pending[sequence] = now + ACK_WAIT
        self.go_on()

    # Both only while a request is open: without one nobody is told, and a new consumer of the same name answers the
    # next request as the old one would have; that is noticed at the next look alone.

    @precondition(lambda self: self.bus.requests)
    @rule(by_hand=st.booleans())
    def consumer_goes(self, by_hand: bool) -> None:
        """By hand: somebody makes it anew at once, to have all delivered again."""
        self.bus.consumer = self._made_anew(0) if by_hand else None
        self._tell()

    @precondition(lambda self: self.bus.requests and self.bus.stored < 60)
    @rule(by_hand=st.booleans())
    def stream_is_made_anew(self, by_hand: bool) -> None:
        """With other messages of the same sequences."""
        self.bus.stream.clear()
        self.bus.last = 0
        self.bus.store(12)
        self.bus.consumer = self._made_anew(0) if by_hand else None
        self.same_stream = False
        self._tell()

    def _tell(self) -> None:
        self.is_slow = False
        self.written.clear()
        self.loop.do(self.bus.close_requests, "409 Consumer Deleted")
        self.go_on()


def test_what_is_done_here_is_not_done_again() -> None:
    """What is asserted are the machine's invariants."""
    rounds = settings(deadline=None, max_examples=60, stateful_step_count=40)
    before = ForgetfulMachine.rested
    run_state_machine_as_test(ForgetfulMachine, settings=rounds)
    assert ForgetfulMachine.rested > before
