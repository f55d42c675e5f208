"""A runtime's view, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from eventbus_runtime.counters import BusCounters, TriggerCounters
from eventbus_runtime.events import State


@dataclass
class View:
    """A RuntimeView that says what it is given."""

    reasons: list[str] = field(default_factory=list)
    triggers: dict[str, tuple[State, TriggerCounters]] = field(default_factory=dict)
    buses: dict[str, tuple[State, BusCounters]] = field(default_factory=dict)
    all_there_is: dict[str, Any] = field(default_factory=lambda: {"state": "running"})

    def status(self) -> dict[str, Any]:
        return self.all_there_is

    def unready(self) -> list[str]:
        return self.reasons

    def trigger_counters(self) -> dict[str, tuple[State, TriggerCounters]]:
        return self.triggers

    def bus_counters(self) -> dict[str, tuple[State, BusCounters]]:
        return self.buses
