"""Prometheus metrics: the plain counters of the runtime, read when somebody scrapes and never before.

Import this module on use: prometheus_client comes with it.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from eventbus_runtime.counters import RuntimeView
from eventbus_runtime.events import State

_COUNTERS = {
    "received": "Deliveries taken from the server.",
    "redelivered": "Of the received ones, those that the server had delivered before.",
    "retried": "Deliveries settled by nak because of an error, a time-out or a Retry.",
    "dead_lettered": "Deliveries whose dead letter was confirmed.",
    "filtered": "Deliveries acknowledged unseen, because of the trigger's filter.",
    "recalled": "Deliveries of what ran here, or was done here, already, and was not run again.",
    "abandoned": "Deliveries under manual ack whose lease was over before the user settled them.",
    "pulls": "Pull requests sent.",
    "pull_restarts": "Inboxes given up for silence or lost credit.",
    "restarts": "Restarts by the supervisor after a crash.",
}
_GAUGES = {
    "in_flight": "Deliveries unsettled now.",
    "stuck": "Messages that are retried for ever, for want of a dead letter.",
}
_SETTLEMENTS = {
    "ack": "acked",
    "nak": "nakked",
    "term": "terminated",
    "dead_letter": "dead_lettered",
    "left": "left",
}


def render(view: RuntimeView, accept: str = "") -> tuple[bytes, str]:
    """All metrics of this process, in the exposition format that `accept` asks for.

    Args:
        view: the running runtime.
        accept: the scraper's Accept header; empty: Prometheus' plain text.

    Returns:
        The body and its content type.
    """
    registry = CollectorRegistry()
    registry.register(RuntimeCollector(view))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class RuntimeCollector:
    """A prometheus_client collector over a runtime, for a registry of the user's own.

    Args:
        view: the running runtime.
    """

    def __init__(self, view: RuntimeView) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """Read the counters; called by the registry at each scrape."""
        yield from self._triggers()
        yield from self._buses()
        yield self._states()

    def _triggers(self) -> Iterator[Metric]:
        triggers = self._view.trigger_counters()
        for field, text in _COUNTERS.items():
            counter = CounterMetricFamily(f"eventbus_{field}", text, labels=["trigger"])
            for name, (_, counters) in triggers.items():
                counter.add_metric([name], getattr(counters, field))
            yield counter
        settled = CounterMetricFamily(
            "eventbus_settled", "Deliveries by their settlement.", labels=["trigger", "settlement"]
        )
        seconds = SummaryMetricFamily("eventbus_handler_seconds", "Time in handlers.", labels=["trigger"])
        for name, (_, counters) in triggers.items():
            for settlement, field in _SETTLEMENTS.items():
                settled.add_metric([name, settlement], getattr(counters, field))
            seconds.add_metric([name], counters.handled, counters.handler_seconds)
        yield settled
        yield seconds
        for field, text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"eventbus_{field}", text, labels=["trigger"])
            for name, (_, counters) in triggers.items():
                gauge.add_metric([name], getattr(counters, field))
            yield gauge

    def _buses(self) -> Iterator[Metric]:
        published = CounterMetricFamily("eventbus_published", "Publishes that a stream confirmed.", labels=["bus"])
        reconnects = CounterMetricFamily("eventbus_bus_reconnects", "Connections made again.", labels=["bus"])
        for name, (_, counters) in self._view.bus_counters().items():
            published.add_metric([name], counters.published)
            reconnects.add_metric([name], counters.reconnects)
        yield published
        yield reconnects

    def _states(self) -> Metric:
        states = GaugeMetricFamily(
            "eventbus_state", "1 for the state that it is in, else 0.", labels=["kind", "name", "state"]
        )
        present = [("bus", name, state) for name, (state, _) in self._view.bus_counters().items()]
        present += [("trigger", name, state) for name, (state, _) in self._view.trigger_counters().items()]
        for kind, name, now in present:
            for state in State:
                states.add_metric([kind, name, state], float(state is now))
        return states
