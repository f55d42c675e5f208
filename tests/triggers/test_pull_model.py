"""The pull windows against a model of the server: whatever happens, in whatever order, the credit stays true."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from eventbus_runtime.triggers.pull import Attach, Command, Limits, Ping, PullWindow, Renew, Request
from eventbus_runtime.triggers.pull_bytes import ByteWindow
from eventbus_runtime.triggers.status import Answer
from tests.triggers.server_model import Delivered, Said, ServerModel

_INTERRUPTS = {Answer.INTERRUPTED, Answer.DELETED, Answer.NOBODY, Answer.REFUSED, Answer.FATAL}
_CUTS = st.lists(st.booleans(), max_size=12)


class WindowMachine(RuleBasedStateMachine):
    """Plays the loop around a window: performs its commands, and keeps what it must be compared with."""

    limits = Limits(expires=9.0, heartbeat=3.0)
    rested: ClassVar[int] = 0
    """How many of them have come to rest, with a request open."""

    def __init__(self) -> None:
        super().__init__()
        self.window = self.make()
        self.server = ServerModel()
        self.now = 100.0
        self.generation = 0
        self.connected = True
        self.stopped = False
        self.synced = True  # False from the moment that the window gives up its credit until it may ask anew
        self.todo: deque[Command] = deque()
        self.running: list[tuple[Delivered, bool]] = []
        self.window.resume(self.now)

    def make(self) -> PullWindow:
        raise NotImplementedError

    # What the server does.

    @rule(sizes=st.lists(st.sampled_from([1, 2, 5, 9]), min_size=1, max_size=8))
    def publish(self, sizes: list[int]) -> None:
        self.server.messages.extend(sizes)

    @rule(most=st.integers(1, 8))
    def serve(self, most: int) -> None:
        while most and self.server.serve():
            most -= 1

    @rule(seconds=st.sampled_from([0.0, 1.0, 3.0, 7.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.server.time(self.now)

    @rule(text=st.sampled_from(["409 Leadership Change", "409 Server Shutdown"]))
    def leader_goes(self, text: str) -> None:
        self.server.close(lambda one: True, text, counts="Shutdown" in text)

    @rule()
    def consumer_deleted(self) -> None:
        self.server.consumer = False
        self.server.close(lambda one: True, "409 Consumer Deleted", counts=False)

    @precondition(lambda self: not self.server.consumer)
    @rule()
    def consumer_made(self) -> None:
        self.server.consumer = True

    @precondition(lambda self: self.server.open)
    @rule(text=st.sampled_from(["409 Exceeded MaxWaiting", "404 No Messages", "423 Nats-Wrong-Pin-Id", "599 New"]))
    def refused(self, text: str) -> None:
        newest = self.server.open[-1]
        if newest.messages == newest.batch:
            self.server.close(lambda one: one is newest, text, counts=False)

    @precondition(lambda self: self.server.open)
    @rule(data=st.data())
    def request_vanishes(self, data: st.DataObject) -> None:
        self.server.vanish(data.draw(st.sampled_from(list(self.server.open))))

    # What comes to us.

    @rule(cuts=_CUTS, most=st.integers(1, 6))
    def arrive(self, cuts: list[bool], most: int) -> None:
        for arrival in self.server.arrivals(iter(cuts)):
            self._arrived(arrival)
            most -= 1
            if not most:
                break

    def _arrived(self, arrival: list[Delivered] | Said) -> None:
        if isinstance(arrival, Said):
            if arrival.generation == self.generation:
                self.synced &= arrival.status.answer not in _INTERRUPTS
                self.window.status(arrival.slot, arrival.token, arrival.status, self.now)
            return
        current = arrival[0].generation == self.generation
        sizes = [one.size for one in arrival]
        admitted = self.window.admit(arrival[0].slot, sizes, self.now, current=current)
        self.running.extend((one, current) for one in arrival[:admitted])
        self.server.messages.extend(sizes[admitted:])  # nak'd

    @precondition(lambda self: self.running)
    @rule(most=st.integers(1, 8))
    def settled(self, most: int) -> None:
        over, self.running = self.running[:most], self.running[most:]
        self.window.freed(len(over), sum(one.size for one, _ in over))

    @rule()
    def tick(self) -> None:
        self.window.tick(self.now)

    @rule()
    def doubt(self) -> None:
        self.window.doubt(self.now)

    # What the loop does.

    @rule()
    def perform(self) -> None:
        for command in self.window.commands(self.now):
            if isinstance(command, Request):
                assert not self.stopped, "a request after stop"
                assert command.batch >= 1
                assert command.heartbeat <= command.expires / 3
                self.server.request(self.generation, command, self.now)
            else:
                self.todo.append(command)
                self.synced &= isinstance(command, Ping)
        assert len([one for one in self.todo if isinstance(one, Renew | Attach)]) <= 1, "given up twice"

    @precondition(lambda self: self.todo and isinstance(self.todo[0], Ping))
    @rule(answered=st.booleans())
    def pong(self, answered: bool) -> None:
        self.todo.popleft()
        if answered:
            for arrival in self.server.arrivals(repeat(False)):
                self._arrived(arrival)
        pulling = self.window.pulling
        self.window.pong(answered)
        self.synced &= self.window.pulling or not pulling

    @precondition(lambda self: self.todo and isinstance(self.todo[0], Renew | Attach))
    @rule(at_once=st.booleans())
    def open_inboxes(self, at_once: bool) -> None:
        if isinstance(self.todo[0], Attach) and not self.server.consumer:
            return
        self.todo.popleft()
        self._open()
        if at_once:
            self.server.unsubscribed(self.generation)

    def _open(self) -> None:
        self.generation += 1
        self.window.resume(self.now)
        self.synced = True

    @rule()
    def unsubscribe_is_read(self) -> None:
        self.server.unsubscribed(self.generation)

    @precondition(lambda self: self.connected)
    @rule()
    def disconnect(self) -> None:
        self.connected = self.synced = False
        self.todo.clear()
        self.generation += 1
        self.window.disconnected()

    @precondition(lambda self: not self.connected)
    @rule()
    def reconnect(self) -> None:
        self.connected = True
        self._open()

    @rule()
    def stop(self) -> None:
        self.stopped = True
        self.window.stop()

    # What must hold.

    @invariant()
    def never_more_than_capacity(self) -> None:
        window = self.window
        assert window.running == len(self.running) <= window.capacity
        ours = sum(current for _, current in self.running)
        assert 0 <= ours + window.credit <= window.capacity
        assert window.credit >= 0

    @invariant()
    def credit_covers_what_the_server_owes(self) -> None:
        if self.synced:
            assert self.window.credit >= self.server.owed(self.generation)
        else:
            assert self.window.credit == 0

    def teardown(self) -> None:
        """Let the world come to rest: every message arrives, and a request is open for the next."""
        self.server.consumer = True
        if self.stopped:
            return
        if not self.connected:
            self.reconnect()
        for _ in range(400):
            self.perform()
            if self.todo and isinstance(self.todo[0], Ping):
                self.pong(True)
            elif self.todo:
                self.open_inboxes(True)
            self.serve(8)
            for arrival in self.server.arrivals(repeat(False)):
                self._arrived(arrival)
            self.check_invariants_by_hand()
            if self.running:
                self.settled(8)
            self.time_passes(1.0)
            self.tick()
            self.perform()
            if not (self.server.messages or self.running or self.todo) and self._is_open():
                break
        assert not self.server.messages
        assert self._is_open()
        assert self.window.pulling
        type(self).rested += 1

    def check_invariants_by_hand(self) -> None:
        self.never_more_than_capacity()
        self.credit_covers_what_the_server_owes()

    def _is_open(self) -> bool:
        return any(one.generation == self.generation for one in self.server.open)


class PullMachine(WindowMachine):
    def make(self) -> PullWindow:
        return PullWindow(7, self.limits)

    @invariant()
    def credit_is_exact(self) -> None:
        if self.synced:
            here = self.generation
            assert self.window.credit == self.server.owed(here) + self.server.given_back(here)

    @rule()
    def perform(self) -> None:
        super().perform()
        window = self.window
        assert not window.pulling or window.credit > window.free or window.free < 1, "it could ask, and does not"


class SmallBatchMachine(PullMachine):
    limits = Limits(expires=9.0, heartbeat=3.0, max_batch=2)


class ByteMachine(WindowMachine):
    def make(self) -> ByteWindow:
        return ByteWindow(7, 24, self.limits)

    @invariant()
    def never_more_bytes_than_allowed(self) -> None:
        window = self.window
        assert isinstance(window, ByteWindow)
        assert window.running_bytes == sum(one.size for one, _ in self.running)
        asked = window.max_bytes - window.running_bytes - window.free_bytes
        assert asked >= 0
        ours = sum(one.size for one, current in self.running if current)
        assert ours + asked <= window.max_bytes
        if self.synced:
            assert asked >= self.server.owed_bytes(self.generation)


class TinyByteMachine(ByteMachine):
    """The largest messages are above the bound itself: such a one runs, but alone."""

    def make(self) -> ByteWindow:
        return ByteWindow(3, 8, self.limits)

    @invariant()
    def never_more_bytes_than_allowed(self) -> None:
        window = self.window
        assert isinstance(window, ByteWindow)
        ours = [one for one, current in self.running if current]
        asked = window.max_bytes - window.running_bytes - window.free_bytes
        assert sum(one.size for one in ours) + asked <= max(
            [window.max_bytes, *(one.size for one in ours if one.alone)]
        )


@pytest.mark.parametrize("machine", [PullMachine, SmallBatchMachine, ByteMachine, TinyByteMachine])
def test_the_window_and_the_server_agree(machine: type[WindowMachine]) -> None:
    """What is asserted are the machine's invariants."""
    before = machine.rested
    run_state_machine_as_test(machine, settings=settings(deadline=None, max_examples=150, stateful_step_count=60))
    assert machine.rested > before
