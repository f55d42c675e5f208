"""Plain integers that the hot path adds to and that are read when somebody asks: metrics, `/status`, the summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from eventbus_runtime.events import State


@dataclass(slots=True)
class TriggerCounters:
    """What one trigger did since the process began; `in_flight` and `stuck` say what is now."""

    received: int = 0  # deliveries taken from the server
    redelivered: int = 0  # of these, with a delivery count above 1
    in_flight: int = 0  # unsettled now
    acked: int = 0
    nakked: int = 0
    terminated: int = 0  # without a dead letter
    dead_lettered: int = 0  # confirmed, then terminated
    left: int = 0  # not settled: lost connection, or still in a thread at the end
    retried: int = 0  # nakked because of an error, a time-out or a Retry
    filtered: int = 0  # acknowledged unseen
    recalled: int = 0  # received though they ran here, or were done here, already; not run again
    abandoned: int = 0  # manual ack: lease over before the user settled
    stuck: int = 0  # messages that are retried for ever
    handled: int = 0  # handler runs that ended
    handler_seconds: float = 0.0  # time in handlers, summed
    pulls: int = 0  # pull requests sent
    pull_restarts: int = 0  # inboxes given up: silence, lost credit
    restarts: int = 0  # by the supervisor, after a crash


@dataclass(slots=True)
class BusCounters:
    """What one bus did since the process began."""

    published: int = 0  # confirmed publishes
    reconnects: int = 0


class RuntimeView(Protocol):
    """What HTTP, metrics and the summary may see of a running runtime."""

    def status(self) -> dict[str, Any]:
        """All there is to know, as JSON-able values: state, buses and triggers with state, reason and counters."""

    def unready(self) -> list[str]:
        """Why it is not ready, one sentence each; empty when it is."""

    def trigger_counters(self) -> Mapping[str, tuple[State, TriggerCounters]]:
        """State and counters of each trigger, by name."""

    def bus_counters(self) -> Mapping[str, tuple[State, BusCounters]]:
        """State and counters of each bus, by name."""
