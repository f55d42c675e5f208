"""`eventbus-run` once its configuration is read: a `Runtime`, signals, a summary, and an exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from eventbus_runtime.config.loader import Loaded
from eventbus_runtime.errors import EventbusError
from eventbus_runtime.observability.logging import configure, get_logger
from eventbus_runtime.runtime import Runtime
from eventbus_runtime.signals import on_stop_signals

CANCELLED = 3
Result = TypeVar("Result")
_LAST_GRACE = 8.0


def serve(loaded: Loaded, *, stop_when_idle: float | None = None) -> int:
    """Run a configuration until it is stopped by a signal, is idle, or fails.

    Args:
        loaded: a checked configuration.
        stop_when_idle: end once idle for so many seconds; None: never.

    Returns:
        0 after a clean drain, 1 on a fatal error, 2 on a configuration error, 3 if deliveries had to be cancelled or
        left behind in threads; in the last case the process ends here, since such a thread can't be ended.
    """
    section = loaded.config.runtime
    configure(section.log_level, section.log_format)
    code = run(lambda: _serve(loaded, stop_when_idle))
    if any(thread is not threading.current_thread() and not thread.daemon for thread in threading.enumerate()):
        _leave(code)
    return code


def run(main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run an event loop, the fast one where there is one, until `main` is done; its result."""
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.run(main())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


async def _serve(loaded: Loaded, stop_when_idle: float | None) -> int:
    log = get_logger()
    for problem in loaded.warnings:
        log.warning(str(problem))
    runtime = Runtime(loaded)
    # Modules, configuration and handlers live as long as we do: a collector that walks them again and again would cost
    # whoever makes many objects, as a batch of a thousand messages, up to a quarter of its time.
    gc.freeze()
    watchdog = _Watchdog()
    timeout = loaded.config.runtime.shutdown_timeout

    def first() -> None:
        log.info("stopping: running handlers get their time; a second signal stops at once", timeout=timeout)
        watchdog.start(timeout + _LAST_GRACE)
        runtime.stop()

    def again() -> None:
        log.warning("stopping at once")
        watchdog.start(_LAST_GRACE)
        runtime.stop(0.0)

    try:
        with on_stop_signals(first, again):
            try:
                async with runtime:
                    try:
                        await (runtime.wait() if stop_when_idle is None else runtime.wait_idle(stop_when_idle))
                    finally:
                        watchdog.start(timeout + _LAST_GRACE)
            finally:
                _summarise(runtime)
    except EventbusError as error:
        if error is not runtime.failure:
            log.error(str(error))
        return error.exit_code
    finally:
        watchdog.cancel()
    return runtime.exit_code


def _summarise(runtime: Runtime) -> None:
    for name, (state, counters) in runtime.trigger_counters().items():
        get_logger().info(
            f"summary of trigger {name}",
            state=str(state),
            received=counters.received,
            acked=counters.acked,
            retried=counters.retried,
            dead_lettered=counters.dead_lettered,
            terminated=counters.terminated,
            filtered=counters.filtered,
            handed_back=counters.nakked - counters.retried,
            left=counters.left,
        )


class _Watchdog:
    """Ends the process when the drain itself hangs: a handler that ignores its cancellation, or blocks the loop."""

    def __init__(self) -> None:
        self._timers: list[threading.Timer] = []

    def start(self, seconds: float) -> None:
        """Leave in `seconds`, unless `cancel` comes first; a later call can only shorten it."""
        timer = threading.Timer(seconds, self._bite)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def cancel(self) -> None:
        """The drain is done."""
        for timer in self._timers:
            timer.cancel()

    @staticmethod
    def _bite() -> None:
        get_logger().error("the drain hangs: a handler can't be cancelled; leaving without it")
        _leave(CANCELLED)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
