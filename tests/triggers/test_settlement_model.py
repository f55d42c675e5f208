"""Whatever happens to a delivery, in whatever order, it ends in one settlement."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.triggers.trigger_machine import TriggerMachine


class Endless(TriggerMachine, timeout=20.0):
    pass


class DeadLettered(TriggerMachine, timeout=20.0, dead_letter="dead.a", attempts=2):
    pass


class Terminated(TriggerMachine, attempts=2, on_exhausted="terminate"):
    pass


class Manual(TriggerMachine, max_bytes=1 << 20, ack="manual", dead_letter="dead.a", attempts=2):
    pass


class Confirmed(TriggerMachine, ack_confirm=True, timeout=20.0):
    pass


@pytest.mark.parametrize("machine", [Endless, DeadLettered, Terminated, Manual, Confirmed])
def test_each_delivery_ends_in_one_settlement(machine: type[TriggerMachine]) -> None:
    """What is asserted are the machine's invariants."""
    rounds = settings(deadline=None, max_examples=20, stateful_step_count=50)
    before = machine.rested
    run_state_machine_as_test(machine, settings=rounds)
    assert machine.rested > before
