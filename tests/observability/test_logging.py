"""Log lines: one format for structlog and the standard library, their fields, and which line a fact becomes."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.context import Slot, current
from eventbus_runtime.errors import DecodeError
from eventbus_runtime.events import DeliveryFailed, State, StateChanged, Warned
from eventbus_runtime.message import Message
from eventbus_runtime.observability.logging import Format, Level, LogListener, configure
from eventbus_runtime.pipelines.outcome import Reject, Retry

MESSAGE = Message.build("orders.created", stream="ORDERS", consumer="billing", sequence=7)
DELIVERY = {"trigger": "billing", "pipeline": "bill", "stream": "ORDERS", "consumer": "billing", "sequence": 7}


class Log(io.StringIO):
    """A stream that log lines go to."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal

    def lines(self) -> list[dict[str, Any]]:
        """What was logged since the last call."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    for name in ("nats", "uvicorn"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


def configured(level: Level = "info", format: Format = "json") -> Log:  # noqa: A002 - as in configure
    log = Log()
    configure(level, format, log)
    return log


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - any error, with a traceback
        return caught


def failed(
    error: BaseException | None = None,
    *,
    reason: str = "error",
    settlement: str = "nak",
    text: str = "",
    delay: float | None = None,
    trigger: str = "billing",
    stuck: bool = False,
) -> DeliveryFailed:
    return DeliveryFailed(trigger, "bill", MESSAGE, 2, reason, text, settlement, delay, error, stuck)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


# Formats and levels.


def test_a_line_is_one_json_object_that_begins_with_time_level_and_event() -> None:
    log = configured()
    structlog.get_logger().info("hello", total=9.5)
    [line] = log.lines()
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["timestamp"].endswith("Z")
    assert (line["level"], line["event"], line["total"]) == ("info", "hello", 9.5)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_filters_both_libraries(level: Level) -> None:
    log = configured(level)
    expected = ["debug", "info", "warning", "error"]
    for name in expected:
        getattr(structlog.get_logger(), name)("by structlog")
        getattr(logging.getLogger("handlers"), name)("by logging")
    kept = expected[expected.index(level) :]
    assert [line["level"] for line in log.lines()] == [name for name in kept for _ in range(2)]


@pytest.mark.parametrize(("terminal", "is_json"), [(True, False), (False, True)])
def test_auto_is_console_on_a_terminal_else_json(terminal: bool, is_json: bool) -> None:
    log = Log()
    log.terminal = terminal
    configure("info", "auto", log)
    structlog.get_logger().info("hello")
    assert log.getvalue().startswith("{") is is_json


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colours_are_for_terminals_that_want_them(
    terminal: bool, no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    log = Log()
    log.terminal = terminal
    configure("info", "console", log)
    structlog.get_logger().info("hello")
    assert ("\x1b[" in log.getvalue()) is coloured


def test_logs_go_to_standard_error_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    structlog.get_logger().info("hello")
    captured = capsys.readouterr()
    assert '"hello"' in captured.err
    assert captured.out == ""


def test_configured_twice_a_line_comes_once_and_other_handlers_stay() -> None:
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    configured()
    log = configured()
    logging.getLogger("handlers").warning("once")
    assert len(log.lines()) == 1
    assert other in logging.getLogger().handlers


def test_what_nats_py_logs_is_silenced() -> None:
    log = configured("debug")
    logging.getLogger("nats.aio.client").error("nats: encountered error")
    assert log.lines() == []


# Fields.


async def test_lines_logged_inside_a_handler_carry_their_delivery() -> None:
    log = configured()
    slot = Slot("billing", "bill")
    current.set(slot)
    structlog.get_logger().info("before")
    slot.message = MESSAGE
    structlog.get_logger().info("inside", sequence="mine")
    logging.getLogger("handlers").warning("in a thread %s", 1)
    await asyncio.to_thread(logging.getLogger("handlers").warning, "in a thread %s", 2)
    before, inside, *by_logging = log.lines()
    assert "trigger" not in before
    assert inside.items() >= (DELIVERY | {"sequence": "mine"}).items()
    for line in by_logging:
        assert line.items() >= (DELIVERY | {"logger": "handlers"}).items()


def test_extra_fields_of_the_standard_library_are_kept() -> None:
    log = configured()
    logging.getLogger("handlers").info("paid", extra={"total": 9.5})
    assert log.lines()[0]["total"] == 9.5


def test_a_message_with_bytes_that_are_not_utf8_is_logged() -> None:
    log = configured()
    LogListener().on_fact(
        DeliveryFailed("t", "p", Message((b"orders.\xff", b"$JS.ACK.S.c.1.2.3.4.5", b"", None)), 1, "error", "", "nak")
    )
    assert log.lines()[0]["subject"] == "orders.\\udcff"


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("value", [Hostile(), {(1, 2): Hostile()}, float("nan"), {1: {(1,): 2}}], ids=type)
def test_a_value_that_cannot_be_written_does_not_fail_the_handler_that_logs_it(format: Format, value: object) -> None:  # noqa: A002
    log = configured(format=format)
    structlog.get_logger().info("hello", value=value)
    logging.getLogger("handlers").info("hello", extra={"value": value})
    assert log.getvalue().count("hello") == 2
    if format == "json":
        assert len(log.lines()) == 2


def test_a_closed_stream_does_not_fail_the_handler_that_logs() -> None:
    log = configured()
    log.close()
    structlog.get_logger().info("hello")


def test_importing_the_module_brings_neither_rich_nor_anything_of_http() -> None:
    unwanted = {"rich", "starlette", "uvicorn", "prometheus_client", "typer"}
    code = (
        "import sys, eventbus_runtime.observability.logging as log; log.configure('info', 'console'); "
        f"print(sorted({unwanted!r} & {{name.partition('.')[0] for name in sys.modules}})); import rich.console"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


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
    assert frame.startswith(" (test_logging.py:")
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


def test_a_text_that_names_the_frame_is_logged_as_it_is() -> None:
    log = configured()
    error = raised(ValueError("no total"))
    LogListener().on_fact(failed(error))
    text = log.lines()[0]["error"]
    LogListener().on_fact(failed(error, text=text))
    assert log.lines()[0]["error"] == text


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


def test_a_payload_that_does_not_decode_shows_no_frame_of_ours() -> None:
    log = configured()
    LogListener().on_fact(failed(raised(DecodeError("not an Order")), reason="undecodable"))
    assert log.lines()[0]["error"] == "DecodeError: not an Order"


@pytest.mark.parametrize(
    ("reason", "settlement", "level"),
    [
        ("cancelled", "nak", "info"),
        ("cancelled", "left", "info"),
        ("retry", "nak", "info"),
        ("timeout", "nak", "warning"),
        ("dead_letter_unconfirmed", "nak", "warning"),
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
