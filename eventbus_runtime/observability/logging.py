"""Logs: structlog and the standard library's logging through one renderer, and the facts as lines.

A line that is logged inside a handler, by either library, carries its delivery: trigger, pipeline, stream, consumer
and sequence.
"""

from __future__ import annotations

import json
import logging
import os
import reprlib
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO, TypeAlias

from eventbus_runtime.context import current
from eventbus_runtime.errors import DecodeError
from eventbus_runtime.events import DeliveryFailed, Ensured, Fact, State, StateChanged, Warned
from eventbus_runtime.frames import describe, one_line
from eventbus_runtime.pipelines.outcome import Reject, Retry

# structlog imports rich wherever it is installed, and we never use it in logs: a quarter of the time to the first
# delivery. An entry of None makes the import fail, and structlog does without. So our modules take `get_logger` from
# here: whoever imports structlog first decides.
_hide_rich = "rich" not in sys.modules
if _hide_rich:
    sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog
finally:
    if _hide_rich:
        del sys.modules["rich"]

if TYPE_CHECKING:
    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

get_logger = structlog.get_logger
Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Format: TypeAlias = Literal["auto", "console", "json", "hclog"]


def configure(level: Level, format: Format, stream: TextIO | None = None) -> None:  # noqa: A002 - `log_format`'s word
    """Send all log lines of this process to `stream`, in one format. May be called again.

    nats-py's own logger is silenced: what it would say comes to us as an error or a fact, and is logged once.

    Args:
        level: the least level that is logged, for structlog and for the standard library's root logger.
        format: `console` is for people, `json` is one JSON object a line, `auto` is console on a terminal, else JSON;
            `hclog` is JSON with the keys of HashiCorp's go-hclog, which a go-plugin host reads.
        stream: where to; left out: standard error.
    """
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    lines = _Lines(stream)
    console = format == "console" or (format == "auto" and terminal)
    structured = _hclog if format == "hclog" else _json
    renderer = _console(colors=terminal and not os.environ.get("NO_COLOR")) if console else structured
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_delivery,
        structlog.processors.add_log_level,
        # Always with microseconds: a go-plugin host takes a line whose time has none for somebody else's.
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.ExceptionRenderer(_format_exception),
    ]
    structlog.configure(
        processors=[*shared, _unfailing(renderer)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    _configure_standard_library(level, stream, shared, _unfailing(renderer))


def _configure_standard_library(level: Level, stream: TextIO, shared: list[Processor], render: Processor) -> None:
    handler = _RootHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                _drop_formatted,
                *shared,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _RootHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.getLogger("nats").setLevel(logging.CRITICAL + 1)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # its info is a line per probe and scrape


class _RootHandler(logging.StreamHandler[TextIO]):
    """Ours on the root logger, known by its class so that a second `configure` replaces it and nobody else's."""


class _Lines:
    """Writes lines. One that can't be written is lost: a closed pipe must not fail the delivery that logs into it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):  # a closed file raises ValueError
            self._stream.write(line + "\n")  # one write, so that lines of several threads do not mix
            self._stream.flush()

    debug = info = warning = error = critical = msg


def _add_delivery(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    slot = current.get()
    if slot is not None and (message := slot.message) is not None:
        event.setdefault("trigger", slot.trigger)
        event.setdefault("pipeline", slot.pipeline)
        event.setdefault("stream", message.stream)
        event.setdefault("consumer", message.consumer)
        event.setdefault("sequence", message.sequence)
    return event


def _drop_formatted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Left on the record by other handlers' formatters; `extra` can't hold these names, so they are never the user's.
    event.pop("message", None)
    event.pop("asctime", None)
    return event


def _format_exception(exc_info: ExcInfo) -> str:
    try:
        return "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    except Exception:  # noqa: BLE001 - the user's class, with attributes that the traceback module trips over
        return describe(exc_info[1])


def _console(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colors, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )


_encode = json.JSONEncoder(default=str, allow_nan=False).encode


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    return _encode(first | dict(event))


_HCLOG_LEVELS = {"debug": "debug", "info": "info", "warning": "warn", "error": "error", "critical": "error"}


def _hclog(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    time, level, text = (event.pop(key) for key in ("timestamp", "level", "event"))
    first = {"@level": _HCLOG_LEVELS.get(level, "info"), "@message": str(text), "@timestamp": time}
    return _encode(first | {key: value for key, value in event.items() if key not in first})


def _unfailing(render: Processor) -> Processor:
    """Render in any case: a value that can't be written must not fail the handler that logs it."""

    def unfailing(logger: WrappedLogger, method: str, event: EventDict) -> Any:
        try:
            return render(logger, method, dict(event))
        except Exception:  # noqa: BLE001 - the user's value; its __repr__ may raise anything
            return render(logger, method, {str(key): _plain(value) for key, value in event.items()})

    return unfailing


def _plain(value: object) -> object:
    return value if type(value) in (str, int) else reprlib.repr(value)  # whose repr never raises


class LogListener:
    """The `events.Listener` that logs: one line a fact, at the level that says whether somebody should look.

    An error that ends its message (`dead_letter`, `term`) is logged at error, with its traceback; one that is tried
    again at warning; a `Retry` or a cancellation at info. These show their traceback at debug only: it would come again
    with each attempt. What the user's code or its data decided (Reject, Retry, a payload that does not decode) has
    none at any level: it would point into our code.

    Args:
        clock: seconds that never go back, for the flood guard.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = get_logger()
        self._guard = _FloodGuard(clock)

    def on_fact(self, fact: Fact) -> None:
        """Log one fact, with its own fields only.

        It may be told from inside a worker, whose present message has nothing to do with a bus that lost its
        connection: hence the empty context.
        """
        Context().run(self._on_fact, fact)

    def _on_fact(self, fact: Fact) -> None:
        self._log_left_out(self._guard.over())
        match fact:
            case StateChanged():
                self._state_changed(fact)
            case DeliveryFailed():
                self._delivery_failed(fact)
            case Warned():
                self._log.warning(fact.text, name=fact.name, **fact.detail)
            case Ensured():
                self._log.info(f"{fact.what}: {fact.change}", bus=fact.bus)

    def _state_changed(self, fact: StateChanged) -> None:
        if fact.kind == "trigger" and fact.new in _ENDING:
            self._log_left_out(self._guard.close(fact.name))
        fields = {fact.kind: fact.name, "state": str(fact.new), "was": str(fact.old)}
        if fact.reason:
            fields["reason"] = fact.reason
        self._log.log(_STATE_LEVELS.get(fact.new, logging.INFO), f"{fact.kind} {fact.name}: {fact.new}", **fields)

    def _delivery_failed(self, fact: DeliveryFailed) -> None:
        ends = _ends(fact)
        kind = _Kind(fact.trigger, fact.reason, "" if fact.error is None else type(fact.error).__name__)
        if not ends and not self._guard.admits(kind):
            return
        fields = _failure_fields(fact)
        trace = None if isinstance(fact.error, (DecodeError, Reject, Retry)) else fact.error
        if trace is not None and ends:
            self._log.error("delivery failed", **fields, exc_info=trace)
            return
        self._log.log(_level(fact), "delivery failed", **fields)
        if trace is not None:
            self._log.debug("traceback of the failed delivery", **fields, exc_info=trace)

    def _log_left_out(self, kinds: list[tuple[_Kind, int]]) -> None:
        for kind, count in kinds:
            fields = {name: value for name, value in kind._asdict().items() if value}
            self._log.warning("more deliveries failed alike", **fields, count=count)


_ENDING = (State.DRAINING, State.STOPPED, State.FAILED)
_STATE_LEVELS = {State.BACKING_OFF: logging.WARNING, State.FAILED: logging.ERROR}


def _ends(fact: DeliveryFailed) -> bool:
    return fact.settlement in ("dead_letter", "term")


def _level(fact: DeliveryFailed) -> int:
    if _ends(fact) or fact.reason == "dead_letter_unconfirmed":
        return logging.ERROR
    return logging.INFO if fact.reason in ("retry", "cancelled") else logging.WARNING


def _failure_fields(fact: DeliveryFailed) -> dict[str, Any]:
    message = fact.message
    fields: dict[str, Any] = {
        "trigger": fact.trigger,
        "pipeline": fact.pipeline,
        "stream": message.stream,
        "consumer": message.consumer,
        "sequence": message.sequence,
        "subject": one_line(message.subject),
        "attempt": fact.attempt,
        "reason": fact.reason,
        "error": one_line(fact.text),
        "settlement": fact.settlement,
    }
    if fact.delay is not None:
        fields["delay"] = round(fact.delay, 3)
    if fact.stuck:
        fields["stuck"] = True
    return fields


class _Kind(NamedTuple):
    """What makes two failures alike. Not the error's text: it often holds an id, and then no two are equal."""

    trigger: str
    reason: str
    error: str


@dataclass(slots=True)
class _Window:
    ends: float
    lines: int = 0
    left_out: int = 0


class _FloodGuard:
    """At most 10 lines of a kind within 10 s, then their number.

    A handler that fails at once (its database is down) fails as fast as the server delivers: thousands of equal lines a
    second bury every other line, and writing them costs more than the deliveries. The first ten say all there is.

    It has no timer: what was left out is told with the next fact, whichever it is, or when the trigger stops.
    """

    LINES = 10
    SECONDS = 10.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[_Kind, _Window] = {}

    def admits(self, kind: _Kind) -> bool:
        """Whether a line of this kind may be written now; counts it, one way or the other."""
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(self._clock() + self.SECONDS)
        if window.lines == self.LINES:
            window.left_out += 1
            return False
        window.lines += 1
        return True

    def over(self) -> list[tuple[_Kind, int]]:
        """Forget the windows whose time is over; the kinds that left out lines, with their number."""
        now = self._clock()
        return self._take([kind for kind, window in self._windows.items() if window.ends <= now])

    def close(self, trigger: str) -> list[tuple[_Kind, int]]:
        """The same for all windows of a trigger that stops."""
        return self._take([kind for kind in self._windows if kind.trigger == trigger])

    def _take(self, kinds: list[_Kind]) -> list[tuple[_Kind, int]]:
        taken = [(kind, self._windows.pop(kind).left_out) for kind in kinds]
        return [(kind, left_out) for kind, left_out in taken if left_out]
