"""The metrics of a runtime, read back by Prometheus' own parser."""

from __future__ import annotations

from dataclasses import fields

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from eventbus_runtime.counters import BusCounters, TriggerCounters
from eventbus_runtime.events import State
from eventbus_runtime.observability.metrics import render
from tests.observability.views import View

# Where each counter shows: its sample, and what else labels it.
TRIGGER_SAMPLES = {
    "received": ("eventbus_received_total", {}),
    "redelivered": ("eventbus_redelivered_total", {}),
    "in_flight": ("eventbus_in_flight", {}),
    "acked": ("eventbus_settled_total", {"settlement": "ack"}),
    "nakked": ("eventbus_settled_total", {"settlement": "nak"}),
    "terminated": ("eventbus_settled_total", {"settlement": "term"}),
    "dead_lettered": ("eventbus_settled_total", {"settlement": "dead_letter"}),
    "left": ("eventbus_settled_total", {"settlement": "left"}),
    "retried": ("eventbus_retried_total", {}),
    "filtered": ("eventbus_filtered_total", {}),
    "recalled": ("eventbus_recalled_total", {}),
    "abandoned": ("eventbus_abandoned_total", {}),
    "stuck": ("eventbus_stuck", {}),
    "handled": ("eventbus_handler_seconds_count", {}),
    "handler_seconds": ("eventbus_handler_seconds_sum", {}),
    "pulls": ("eventbus_pulls_total", {}),
    "pull_restarts": ("eventbus_pull_restarts_total", {}),
    "restarts": ("eventbus_restarts_total", {}),
}
BUS_SAMPLES = {"published": "eventbus_published_total", "reconnects": "eventbus_bus_reconnects_total"}


def samples(view: View) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples of one scrape, by name and labels."""
    body, _ = render(view)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


def test_every_counter_of_a_trigger_shows_under_its_name() -> None:
    names = [field.name for field in fields(TriggerCounters)]
    values = {name: float(number) for number, name in enumerate(names, 1)}
    found = samples(View(triggers={"billing": (State.RUNNING, TriggerCounters(**values))}))  # type: ignore[arg-type]
    for name in names:
        sample, labels = TRIGGER_SAMPLES[name]
        assert found[sample, frozenset({"trigger": "billing", **labels}.items())] == values[name], name
    assert found["eventbus_dead_lettered_total", frozenset({("trigger", "billing")})] == values["dead_lettered"]


def test_every_counter_of_a_bus_shows_under_its_name() -> None:
    names = [field.name for field in fields(BusCounters)]
    values = {name: number for number, name in enumerate(names, 1)}
    found = samples(View(buses={"main": (State.RUNNING, BusCounters(**values))}))
    for name in names:
        assert found[BUS_SAMPLES[name], frozenset({("bus", "main")})] == values[name]


def test_exactly_the_present_state_is_1() -> None:
    view = View(
        buses={"main": (State.RUNNING, BusCounters())}, triggers={"billing": (State.BACKING_OFF, TriggerCounters())}
    )
    states = {labels: value for (name, labels), value in samples(view).items() if name == "eventbus_state"}
    assert len(states) == 2 * len(State)
    assert {tuple(sorted(labels)) for labels, value in states.items() if value} == {
        (("kind", "bus"), ("name", "main"), ("state", "running")),
        (("kind", "trigger"), ("name", "billing"), ("state", "backing_off")),
    }


def test_counters_are_read_at_each_scrape() -> None:
    counters = TriggerCounters()
    view = View(triggers={"billing": (State.RUNNING, counters)})
    key = ("eventbus_received_total", frozenset({("trigger", "billing")}))
    assert samples(view)[key] == 0
    counters.received += 3
    assert samples(view)[key] == 3


def test_the_process_and_the_platform_show_too() -> None:
    names = {name for name, _ in samples(View())}
    assert {"process_cpu_seconds_total", "python_info"} <= names


def test_a_scraper_that_asks_for_openmetrics_gets_it() -> None:
    view = View(triggers={"billing": (State.RUNNING, TriggerCounters(received=3))})
    body, content_type = render(view, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert "eventbus_received" in {family.name for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]
    assert render(view)[1].startswith("text/plain; version=0.0.4")
