"""Log lines: one format for structlog and the standard library, and their fields."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
from datetime import datetime, timezone, tzinfo
from types import SimpleNamespace

import pytest
import structlog

from eventbus_runtime.context import Slot, current
from eventbus_runtime.events import DeliveryFailed
from eventbus_runtime.message import Message
from eventbus_runtime.observability.logging import Format, Level, LogListener, configure
from tests.observability.logs import DELIVERY, MESSAGE, Log, configured

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


def test_hclog_keeps_to_what_a_go_plugin_host_can_read() -> None:
    """A key of its own that holds no text ends such a host, and a level that it does not know is a debug line."""
    log = configured("info", "hclog")
    structlog.get_logger().info("hello", **{"@message": 5, "@level": None, "@timestamp": 7})
    logging.getLogger("handlers").log(25, "hello")
    for line in log.lines():
        assert (line["@level"], line["@message"]) == ("info", "hello")
        assert line["@timestamp"].endswith("Z")


def test_a_time_has_microseconds_on_the_full_second_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a go-plugin host takes the line for somebody else's."""

    class OnTheSecond(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> OnTheSecond:
            return cls(2026, 1, 1, tzinfo=tz)

    clock = SimpleNamespace(datetime=OnTheSecond, timezone=timezone)
    monkeypatch.setattr(structlog.processors, "datetime", clock)
    log = configured("info", "hclog")
    structlog.get_logger().info("hello")
    assert log.lines()[0]["@timestamp"] == "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("level", "theirs"), [("debug", "debug"), ("info", "info"), ("warning", "warn"), ("error", "error")]
)
def test_hclog_has_the_keys_and_levels_that_a_go_plugin_host_reads(level: str, theirs: str) -> None:
    log = configured("debug", "hclog")
    getattr(structlog.get_logger(), level)("hello", total=9.5)
    getattr(logging.getLogger("handlers"), level)("hello", extra={"total": 9.5})
    for line in log.lines():
        assert (line["@level"], line["@message"], line["total"]) == (theirs, "hello", 9.5)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["@timestamp"])
        assert not {"timestamp", "level", "event"} & line.keys()


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


@pytest.mark.parametrize("format", ["json", "console", "hclog"])
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
    assert log.closed


def test_importing_the_module_brings_neither_rich_nor_anything_of_http() -> None:
    unwanted = {"rich", "starlette", "uvicorn", "prometheus_client", "typer"}
    code = (
        "import sys, eventbus_runtime.observability.logging as log; log.configure('info', 'console'); "
        f"print(sorted({unwanted!r} & {{name.partition('.')[0] for name in sys.modules}})); import rich.console"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
