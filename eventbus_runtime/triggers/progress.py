"""One ticker per trigger: it keeps running deliveries alive at the server, and ends those that take too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus_runtime.triggers.delivery import ActiveDelivery


class Progress:
    """Who runs since when. Two timers in all, none per delivery.

    Args:
        timeout: seconds that a handler may take; None for no limit.
        beat: called every third of the server's window with all unsettled deliveries.
        overdue: called once for each delivery whose handler took too long.
        lapsed: called when a beat is so late that the server may have delivered again what ran.
    """

    def __init__(
        self,
        timeout: float | None,
        beat: Callable[[Iterable[ActiveDelivery]], None],
        overdue: Callable[[ActiveDelivery], None],
        lapsed: Callable[[], None],
    ) -> None:
        self.deliveries: dict[ActiveDelivery, None] = {}
        """All that are unsettled, in the order of their start; whoever settles one takes it out."""
        self._timeout, self._beat, self._overdue, self._lapsed = timeout, beat, overdue, lapsed
        self._loop = asyncio.get_running_loop()
        self._period = 10.0
        self._beat_timer: asyncio.TimerHandle | None = None
        self._timeout_timer: asyncio.TimerHandle | None = None

    def set_window(self, window: float) -> None:
        """`window`: the shortest time in seconds after which the server delivers again."""
        if self._period != window / 3:
            self._period = window / 3
            if self._beat_timer is not None:
                self._beat_timer.cancel()
                self._beat_timer = self._loop.call_later(self._period, self._on_beat)

    def start(self, deliveries: Sequence[ActiveDelivery]) -> None:
        """Handlers start, of one delivery at least."""
        self.deliveries.update(dict.fromkeys(deliveries))
        if self._beat_timer is None:
            self._beat_timer = self._loop.call_later(self._period, self._on_beat)
        if self._timeout is not None and self._timeout_timer is None:
            self._timeout_timer = self._loop.call_at(deliveries[0].started + self._timeout, self._on_timeout)

    def look(self, now: float) -> None:
        """See whether a beat should have been long before `now`."""
        # With the period before it, that makes two thirds of a lease.
        if self._beat_timer is not None and now - self._beat_timer.when() > self._period:
            self._lapsed()

    def close(self) -> None:
        """Stop both timers."""
        for timer in (self._beat_timer, self._timeout_timer):
            if timer is not None:
                timer.cancel()
        self._beat_timer = self._timeout_timer = None

    def _on_beat(self) -> None:
        assert self._beat_timer is not None
        if (
            self._loop.time() - self._beat_timer.when() > self._period
        ):  # with the period before it: two thirds of a lease
            self._lapsed()
        self._beat_timer = None
        if self.deliveries:
            self._beat_timer = self._loop.call_later(self._period, self._on_beat)
            self._beat(list(self.deliveries))

    def _on_timeout(self) -> None:
        assert self._timeout is not None
        self._timeout_timer = None
        now = self._loop.time()
        for delivery in list(self.deliveries):
            if delivery.overdue or not delivery.in_handler:
                continue
            # One whose worker has not begun yet, behind a blocked event loop, gets its time from now on.
            due = (delivery.started if delivery.task else now) + self._timeout
            if due > now:
                self._timeout_timer = self._loop.call_at(due, self._on_timeout)
                break
            delivery.overdue = True
            self._overdue(delivery)
