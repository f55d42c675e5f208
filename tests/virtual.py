"""An event loop whose time goes by at once, so that a test can live through minutes, and the same ones again."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

# Seconds that a turn of the loop takes; without it, who waits in turns for a time would wait for ever.
_TURN = 1e-5


class _Jumping(selectors.DefaultSelector):
    """Where others sleep until the next timer, it sets the clock."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "it would sleep for ever: nothing is ready, and no timer is set"
        self.now += max(_TURN, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Use it with `with`; what goes wrong in its callbacks fails the test."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        self._faults: list[dict[str, Any]] = []
        super().__init__(self._jumping)
        self.set_exception_handler(lambda _, context: self._faults.append(context))

    def __enter__(self) -> VirtualLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def time(self) -> float:
        return self._jumping.now

    def do(self, call: Callable[..., object], *arguments: object) -> None:
        """Call it as the loop calls what a socket brings; then all is done that follows at once."""
        self.call_soon(call, *arguments)
        self.pass_by()

    def pass_by(self, seconds: float = 0.001) -> None:
        """Let so many seconds go by, and all be done that is due in them."""
        self.run_until_complete(asyncio.sleep(seconds))
        assert not self._faults, self._faults

    def block(self, seconds: float) -> None:
        """So many seconds go by in which nobody gets a turn."""
        self._jumping.now += seconds
