"""Which line a fact becomes, and what keeps a flood of them short."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.context import Slot, current
from eventbus_runtime.errors import DecodeError
from eventbus_runtime.events import State, StateChanged, Warned
from eventbus_runtime.message import Message
from eventbus_runtime.observability.logging import Format, LogListener
from eventbus_runtime.pipelines.outcome import Reject, Retry
from tests.observability.logs import DELIVERY, Clock, configured, failed, raised

# Facts as lines.


@pytest.mark.parametrize(
    ("new", "level"),
    [
        (State.RUNNING, "info"),
        (State.BACKING_OFF, "warning"),
        (State.DRAINING, "info"),
        (State.STOPPED, "info"),
        (State.FAILED, "error"),
    ],
)
def test_a_state_change_is_one_line_whose_level_says_whether_to_look(new: State, level: str) -> None:
    log = configured()
    LogListener().on_fact(StateChanged("trigger", "billing", State.STARTING, new, "because"))
    [line] = log.lines()
    del line["timestamp"]
    assert line == {
        "level": level,
        "event": f"trigger billing: {new}",
        "trigger": "billing",
        "state": str(new),
        "was": "starting",
        "reason": "because",
    }


async def test_a_fact_told_from_inside_a_worker_does_not_carry_the_workers_message() -> None:
    log = configured()
    slot = Slot("shipping", "ship")
    slot.message = Message.build("orders.shipped")
    current.set(slot)
    listener = LogListener()
    listener.on_fact(StateChanged("bus", "main", State.RUNNING, State.BACKING_OFF))
    listener.on_fact(failed(ValueError("no total")))
    state, failure = log.lines()
    assert state.keys() == {"timestamp", "level", "event", "bus", "state", "was"}
    assert failure.items() >= DELIVERY.items()


def test_a_warning_is_one_line_with_its_facts() -> None:
    log = configured()
    LogListener().on_fact(Warned("slow_progress", "A progress note came late.", {"seconds": 3}))
    [line] = log.lines()
    assert (line["level"], line["event"]) == ("warning", "A progress note came late.")
    assert (line["name"], line["seconds"]) == ("slow_progress", 3)


def test_a_failure_that_is_tried_again_is_one_line_without_its_traceback() -> None:
    log = configured()
    LogListener().on_fact(failed(raised(ValueError("no\ntotal")), delay=1.23456, stuck=True))
    [line] = log.lines()
    del line["timestamp"]
    frame = line.pop("error").removeprefix("ValueError: no total")
    assert frame.startswith(" (logs.py:")
    assert frame.endswith(" in raised)")
    assert line == DELIVERY | {
        "level": "warning",
        "event": "delivery failed",
        "subject": "orders.created",
        "attempt": 2,
        "reason": "error",
        "settlement": "nak",
        "delay": 1.235,
        "stuck": True,
    }


@pytest.mark.parametrize("settlement", ["dead_letter", "term"])
def test_the_line_that_ends_a_message_is_an_error_with_the_traceback(settlement: str) -> None:
    log = configured()
    LogListener().on_fact(failed(raised(ValueError("no total")), settlement=settlement))
    [line] = log.lines()
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: no total")


def test_at_debug_a_failure_that_is_tried_again_shows_its_traceback() -> None:
    log = configured("debug")
    LogListener().on_fact(failed(raised(ValueError("no total"))))
    line, trace = log.lines()
    assert "exception" not in line
    assert (trace["level"], trace["sequence"]) == ("debug", 7)
    assert trace["exception"].endswith("ValueError: no total")


@pytest.mark.parametrize("settlement", ["nak", "dead_letter", "term"])
@pytest.mark.parametrize("error", [Reject("why"), Retry("later"), DecodeError("not an Order")], ids=type)
def test_what_the_user_or_the_data_decided_has_no_traceback(error: Exception, settlement: str) -> None:
    log = configured("debug")
    LogListener().on_fact(failed(raised(error), settlement=settlement))
    [line] = log.lines()
    assert "exception" not in line


@pytest.mark.parametrize(
    ("reason", "settlement", "level"),
    [
        ("cancelled", "nak", "info"),
        ("cancelled", "left", "info"),
        ("retry", "nak", "info"),
        ("timeout", "nak", "warning"),
        ("dead_letter_unconfirmed", "nak", "error"),
        ("rejected", "term", "error"),
        ("exhausted", "dead_letter", "error"),
    ],
)
def test_the_level_of_a_failure(reason: str, settlement: str, level: str) -> None:
    log = configured()
    LogListener().on_fact(failed(reason=reason, settlement=settlement, text="why"))
    assert [(line["level"], line["error"]) for line in log.lines()] == [(level, "why")]


class Unreadable(Exception):
    """No two parts of it can be read."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class HalfASyntaxError(SyntaxError):
    """The traceback module trips over its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.filename, self.lineno, self.text = object(), "x", object()  # type: ignore[assignment]


errors = st.recursive(
    st.one_of(
        st.builds(ValueError, st.text()),
        st.builds(KeyError, st.binary()),
        st.builds(Unreadable),
        st.builds(HalfASyntaxError, st.text()),
        st.builds(asyncio.CancelledError),
    ),
    lambda inner: st.builds(lambda one: BaseExceptionGroup("group", one), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=4,
)


@pytest.mark.parametrize("format", ["json", "console"])
@given(error=errors, settlement=st.sampled_from(["nak", "dead_letter"]), reason=st.text(), text=st.text())
def test_any_error_makes_a_line(error: BaseException, settlement: str, reason: str, text: str, format: Format) -> None:  # noqa: A002
    log = configured("debug", format)
    fact = failed(raised(error), settlement=settlement, reason=reason, text=text)
    LogListener().on_fact(fact)
    assert "delivery failed" in log.getvalue()
    if format == "json":
        assert all(line["sequence"] == 7 for line in log.lines())


# The flood guard.


def test_a_flood_of_one_kind_is_ten_lines_and_then_its_number() -> None:
    log, clock = configured(), Clock()
    listener = LogListener(clock)
    for number in range(500):
        listener.on_fact(failed(ValueError(f"order {number}")))
    assert len(log.lines()) == 10
    clock.now = 9.9
    listener.on_fact(failed(ValueError("the window is not over")))
    assert log.lines() == []
    clock.now = 10.0
    listener.on_fact(Warned("any", "any fact", {}))
    summary, _ = log.lines()
    del summary["timestamp"]
    assert summary == {
        "level": "warning",
        "event": "more deliveries failed alike",
        "trigger": "billing",
        "reason": "error",
        "error": "ValueError",
        "count": 491,
    }
    listener.on_fact(failed(ValueError("a new window")))
    assert len(log.lines()) == 1


def test_kinds_do_not_hide_each_other() -> None:
    log = configured()
    listener = LogListener(Clock())
    for _ in range(50):
        listener.on_fact(failed(ValueError()))
    log.lines()
    listener.on_fact(failed(KeyError("another error")))
    listener.on_fact(failed(ValueError(), trigger="shipping"))
    listener.on_fact(failed(ValueError(), reason="dead_letter_unconfirmed"))
    assert len(log.lines()) == 3


@pytest.mark.parametrize("settlement", ["dead_letter", "term"])
def test_a_line_that_ends_a_message_is_never_left_out(settlement: str) -> None:
    log = configured()
    listener = LogListener(Clock())
    for _ in range(50):
        listener.on_fact(failed(ValueError()))
        listener.on_fact(failed(ValueError(), settlement=settlement))
    assert [line["settlement"] for line in log.lines()].count(settlement) == 50


@pytest.mark.parametrize("state", [State.DRAINING, State.STOPPED, State.FAILED])
def test_what_was_left_out_is_told_when_the_trigger_ends(state: State) -> None:
    log = configured()
    listener = LogListener(Clock())
    for _ in range(12):
        listener.on_fact(failed(text="timed out", reason="timeout"))
        listener.on_fact(failed(text="timed out", reason="timeout", trigger="shipping"))
    log.lines()
    listener.on_fact(StateChanged("trigger", "billing", State.RUNNING, state))
    summary, _ = log.lines()
    assert (summary["trigger"], summary["count"]) == ("billing", 2)
    assert "error" not in summary
