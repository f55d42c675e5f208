"""The ledger itself: it must fail on whatever nothing explains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.chaos.ledger import Ledger, Recorder, Run
from tests.chaos.scene import ROOT


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger with three confirmed messages, and one that nobody confirmed."""
    made = Ledger(tmp_path / "ledger.txt")
    for number in (made.next(), made.next(), made.next()):
        made.confirm(number)
    made.next()
    return made


def handle(ledger: Ledger, *numbers: int) -> None:
    recorder = Recorder(ledger.path)
    for number in numbers:
        recorder.handled(number, time.monotonic())
    recorder.close()


def refusal(ledger: Ledger, dead: Collection[Run] = (), left: Collection[int] = ()) -> str:
    """The balance fails; what it says."""
    with pytest.raises(AssertionError) as raised:
        ledger.balance(dead, left).check()
    return str(raised.value)


def at(number: int) -> Run:
    """A dead letter of now."""
    now = time.monotonic()
    return Run(number, now, now)


def test_each_published_message_ends_once_in_one_of_three_places(ledger: Ledger) -> None:
    handle(ledger, 0)
    balance = ledger.balance([at(1)], {2})
    balance.check()
    assert str(balance) == "published 3, handled 1, dead-lettered 1, left 1, doubles 0, missing 0"


def test_what_nobody_confirmed_may_be_handled_or_not(ledger: Ledger) -> None:
    handle(ledger, 0, 1, 2)
    without = ledger.balance((), ())
    without.check()
    handle(ledger, 3)
    with_it = ledger.balance((), ())
    with_it.check()
    assert "missing 0" in str(without)
    assert "missing 0" in str(with_it)


def test_a_missing_message_fails(ledger: Ledger) -> None:
    handle(ledger, 0, 2)
    assert "1 is missing" in refusal(ledger)


def test_a_message_that_was_never_published_fails(ledger: Ledger) -> None:
    handle(ledger, 0, 1, 2, 17)
    assert "17 was never published" in refusal(ledger)


@pytest.mark.parametrize("end", ["handled", "dead-lettered", "left"])
def test_a_second_end_without_a_disturbance_fails(ledger: Ledger, end: str) -> None:
    handle(ledger, 0, 1, 2)
    dead, left = [at(1)] if end == "dead-lettered" else [], {1} if end == "left" else set()
    if end == "handled":
        handle(ledger, 1)
    assert f"and {end} at" in refusal(ledger, dead, left)


def test_a_disturbance_between_both_ends_explains_a_double(ledger: Ledger) -> None:
    handle(ledger, 0, 1, 2)
    with ledger.disturbance("worker killed", doubles=2):
        pass
    handle(ledger, 1)
    balance = ledger.balance((), {2})
    balance.check()
    assert "doubles 2 (2 worker killed)" in str(balance)


def test_a_disturbance_that_was_over_before_the_first_end_began_explains_nothing(ledger: Ledger) -> None:
    with ledger.disturbance("worker killed", doubles=2):
        pass
    handle(ledger, 0, 1, 2, 1)
    assert "1 was handled at" in refusal(ledger)


def test_a_disturbance_after_the_second_end_explains_nothing(ledger: Ledger) -> None:
    handle(ledger, 0, 1, 2, 1)
    with ledger.disturbance("worker killed", doubles=2):
        pass
    assert "1 was handled at" in refusal(ledger)


def test_a_disturbance_explains_no_more_doubles_than_it_may(ledger: Ledger) -> None:
    handle(ledger, 0, 1, 2)
    with ledger.disturbance("worker killed", doubles=2):
        pass
    handle(ledger, 0, 1, 2)
    assert "2 was handled at" in refusal(ledger)


def test_what_was_removed_with_its_stream_need_not_be_handled(ledger: Ledger) -> None:
    handle(ledger, 0)
    ledger.removed()
    later = ledger.next()
    ledger.confirm(later)
    assert f"{later} is missing" in refusal(ledger)
    handle(ledger, later)
    balance = ledger.balance((), ())
    balance.check()
    assert "removed by hand 2, missing 0" in str(balance)


def test_on_a_new_page_nothing_of_the_old_one_may_come(ledger: Ledger) -> None:
    handle(ledger, 0, 1, 2, 3)
    ledger.turn_page()
    assert (ledger.runs, ledger.published) == (0, 0)
    later = ledger.next()
    ledger.confirm(later)
    assert f"{later} is missing" in refusal(ledger)
    handle(ledger, later)
    ledger.balance((), ()).check()
    handle(ledger, 2)
    assert "2 was never published" in refusal(ledger)


def test_what_was_written_outlives_a_kill(ledger: Ledger) -> None:
    script = (
        "import pathlib, sys, time; from tests.chaos.ledger import Recorder\n"
        "recorder = Recorder(pathlib.Path(sys.argv[1]))\n"
        "for number in range(3): recorder.handled(number, time.monotonic())\n"
        "import os; os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", script, str(ledger.path)], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert ledger.runs == 3
    ledger.balance((), ()).check()
