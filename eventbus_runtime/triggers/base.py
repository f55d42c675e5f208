"""What the supervisor knows of a trigger, whatever its type."""

from __future__ import annotations

from typing import Any, Protocol

from eventbus_runtime.counters import TriggerCounters
from eventbus_runtime.events import State


class Trigger(Protocol):
    """Something that fires a pipeline. The supervisor runs it, restarts it, and stops it."""

    name: str
    state: State
    reason: str
    counters: TriggerCounters

    async def run(self) -> None:
        """Run until `stop`; may be called again once it has returned or raised.

        Raises:
            TriggerError: it can't run, and trying again can't help.
            TopologyError: what it needs can't be made as declared.
        """

    def stop(self, timeout: float) -> None:
        """Take nothing new; let `run` return when what runs has ended, cancelled after `timeout` seconds.
        Idempotent, safe before `run`; a later call can only shorten the time."""

    def set_state(self, state: State, reason: str = "") -> None:
        """Tell a change of state; nothing when it is the same."""

    def status(self) -> dict[str, Any]:
        """What `/status` says of it."""
