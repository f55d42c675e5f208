"""SIGTERM and SIGINT: the first asks, the second insists."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_stop_signals(first: Callable[[], None], again: Callable[[], None]) -> Iterator[None]:
    """Call `first` on the event loop at the first signal, `again` at each further one; the old handlers come back."""
    loop = asyncio.get_running_loop()
    asked = False

    def received() -> None:
        nonlocal asked
        asked, before = True, asked
        (again if before else first)()

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        try:
            loop.add_signal_handler(number, received)
        except NotImplementedError:  # Windows: the loop has no signal handlers
            signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(received))
    try:
        yield
    finally:
        for number in _SIGNALS:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, before[number])
