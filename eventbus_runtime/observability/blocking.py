"""Who blocks the event loop: nothing else runs meanwhile, acks and heartbeats included, and the server delivers again.

A thread asks the loop to answer, and looks at its stack when it does not. That sees the culprit at work, where a timer
on the loop itself would only come late.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Self

from eventbus_runtime.context import Slot
from eventbus_runtime.events import Tell, Warned
from eventbus_runtime.frames import innermost_frame

# Seconds: between two questions; without an answer; and between two warnings of one place.
_ASKS_EVERY, _BLOCKED, _SILENT_FOR = 0.05, 0.1, 60.0


class BlockingWatch:
    """Warns of whatever keeps the running event loop from turning for more than 0.1 s, for as long as it is entered.

    What holds the interpreter's lock all the while can't be looked at, and goes unseen.

    Args:
        tell: takes the warnings, on the event loop, once a minute for each place.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._ended = threading.Event()
        self._warned: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._loop, self._watched = asyncio.get_running_loop(), threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="eventbus blocking watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_ASKS_EVERY) and not self._loop.is_closed():
            answered = threading.Event()
            asked = time.monotonic()
            self._loop.call_soon_threadsafe(answered.set)
            if answered.wait(_BLOCKED):
                continue
            frame = sys._current_frames().get(self._watched)
            if frame is None or answered.is_set() or _waits(frame):
                continue
            who, where = _handler(frame), innermost_frame(frame)
            del frame  # it would keep what its variables hold
            while not answered.wait(_ASKS_EVERY):
                if self._ended.is_set():
                    return
            self._warn(who, where, time.monotonic() - asked)

    def _warn(self, who: str, where: str, seconds: float) -> None:
        now = time.monotonic()
        if now - self._warned.get(where, -_SILENT_FOR) < _SILENT_FOR:
            return
        self._warned[where] = now
        text = (
            f"{who} has blocked the event loop for {seconds:.2f} s in {where}: nothing else runs meanwhile; "
            "await what waits, or make the handler `def`, so that it runs in a thread"
        )
        self._loop.call_soon_threadsafe(self._tell, Warned(who, text, {"where": where, "seconds": round(seconds, 3)}))


def _waits(frame: FrameType) -> bool:
    """Whether the loop itself waits for something to do: late for want of processor time, and blocked by nobody."""
    turn = frame.f_back
    return frame.f_code.co_name == "select" and turn is not None and turn.f_code.co_name == "_run_once"


def _handler(frame: FrameType | None) -> str:
    """Whose code it is that runs in this frame, by the worker that has called it."""
    while frame is not None:
        slot = frame.f_locals.get("slot") if frame.f_code.co_qualname == "WorkerPool._work" else None
        if isinstance(slot, Slot):
            return f"handler {slot.pipeline} of trigger {slot.trigger}"
        frame = frame.f_back
    return "something other than a handler"
