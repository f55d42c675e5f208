"""One-for-one supervision: one trigger's crash does not touch another, and none is restarted in a hot loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from eventbus_runtime.errors import TopologyError, TriggerError
from eventbus_runtime.events import State, Tell, Warned
from eventbus_runtime.frames import located
from eventbus_runtime.triggers.backoff import Backoff
from eventbus_runtime.triggers.base import Trigger


class RestartBudget:
    """How long to wait after a crash: a little, or long once there are too many. Pure: the caller brings the times.

    Args:
        limit: crashes within `within` seconds that are restarted soon.
        within: that time; a run that lasts longer gives the whole budget back.
        rest: seconds of the first long wait; each further one is twice as long, up to `longest`.
        longest: seconds.
    """

    def __init__(self, limit: int = 5, within: float = 60.0, rest: float = 60.0, longest: float = 600.0) -> None:
        self._limit, self._within, self._first_rest, self._longest = limit, within, rest, longest
        self._crashes: deque[float] = deque()
        self._backoff = Backoff(0.2, 5.0)
        self._rest = rest
        self._used_up = False

    def crashed(self, started: float, now: float) -> tuple[bool, float]:
        """Whether the budget is used up, and the seconds to wait before the next start.

        Args:
            started, now: when the run began and when it crashed, in seconds of one clock.
        """
        if now - started > self._within:
            self._backoff.reset()
            self._rest, self._used_up = self._first_rest, False
        while self._crashes and now - self._crashes[0] > self._within:
            self._crashes.popleft()
        self._crashes.append(now)
        self._used_up = self._used_up or len(self._crashes) > self._limit
        if not self._used_up:
            return False, self._backoff.delay()
        rest, self._rest = self._rest, min(self._longest, 2 * self._rest)
        return True, rest


class Supervisor:
    """Keeps triggers running.

    Args:
        tell: takes facts.
        budget: makes the restart budget of one trigger.
    """

    def __init__(self, tell: Tell, budget: Callable[[], RestartBudget] = RestartBudget) -> None:
        self._tell, self._budget = tell, budget
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Restart nothing from now on."""
        self._stopping.set()

    async def keep(self, trigger: Trigger) -> None:
        """Run a trigger until it is stopped, or until it has failed for good."""
        loop = asyncio.get_running_loop()
        budget = self._budget()
        while not self._stopping.is_set():
            started = loop.time()
            try:
                await trigger.run()
            except asyncio.CancelledError:
                raise
            except (TriggerError, TopologyError) as error:
                trigger.set_state(State.FAILED, str(error))
                return
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - a crash is what we are here for, whatever its class
                used_up, delay = budget.crashed(started, loop.time())
                reason = f"it crashed: {located(innermost(error))}; started again in {delay:.1f} s"
                self._tell(Warned(trigger.name, reason, {"exc_info": error}))
                trigger.counters.restarts += 1
                trigger.set_state(State.FAILED if used_up else State.BACKING_OFF, reason)
                await self._pause(delay)
            else:
                return
        trigger.set_state(State.STOPPED)

    async def keep_background(self, name: str, start: Callable[[], Awaitable[None]]) -> None:
        """Run a background function until it returns; start it again after a crash."""
        loop = asyncio.get_running_loop()
        budget = self._budget()
        while not self._stopping.is_set():
            started = loop.time()
            try:
                await start()
            except Exception as error:  # noqa: BLE001 - the user's function may raise anything
                _, delay = budget.crashed(started, loop.time())
                text = f"background function crashed: {located(error)}; started again in {delay:.1f} s"
                self._tell(Warned(name, text, {"exc_info": error}))
                await self._pause(delay)
            else:
                return

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        except TimeoutError:
            pass


def innermost(error: BaseException) -> BaseException:
    """What a task group wrapped: the only error in it, or the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
