"""Completes the tables: what `@subscribe` declares, and what the short form leaves out.

Works on the raw tables, so that each mistake is reported at the value that it stands in.
"""

from __future__ import annotations

from eventbus_runtime.config.report import Report, did_you_mean, listed
from eventbus_runtime.config.tables import Keys, Table, Tables, texts
from eventbus_runtime.pipelines.registry import Registration, Registry
from eventbus_runtime.subjects import any_covers

DEFAULT_BUS = "main"
DEFAULT_ATTEMPTS = 5
"""Deliveries before the dead letter, where the file does not say."""


def merge_decorators(tables: Tables, registry: Registry, report: Report) -> None:
    """Add the triggers and consumers that `@subscribe` declares. The file's trigger of the same name overrides its
    settings; only stream and consumer must be the same, since the handler's author counts on them."""
    for name, registration in registry.subscriptions.items():
        trigger = tables.section("triggers").get(name)
        if trigger is None:
            if tables.get("triggers", name) is not None:
                continue
            tables.put(("triggers", name), {}, registration.where)
            trigger = tables.section("triggers")[name]
        for key, value in registration.settings.items():
            keys = ("triggers", name, key)
            if key not in trigger:
                tables.put(keys, value, registration.where)
            elif key in ("stream", "consumer") and trigger[key] != value:
                report.error(
                    keys,
                    f'"{trigger[key]}" here, "{value}" at {registration.where}; '
                    f"a trigger has one {key}: take it out of either place",
                )
        _declare_consumer(tables, trigger, registration)


def _declare_consumer(tables: Tables, trigger: Table, registration: Registration) -> None:
    consumer = registration.settings.get("consumer")
    if isinstance(consumer, str) and trigger.get("consumer") == consumer and not tables.get("consumers", consumer):
        tables.fill(("consumers", consumer), {}, ("triggers", registration.name))


def fill_bus(tables: Tables) -> None:
    """No `[buses]`: one bus, `main`, whose address variables give."""
    if not tables.get("buses"):
        tables.fill(("buses", DEFAULT_BUS), {}, ())


def fill_triggers(tables: Tables, report: Report) -> None:
    """Give each trigger its pipeline, consumer, stream and bus, and each stream its bus."""
    for name, stream in tables.section("streams").items():
        _fill_stream_bus(tables, ("streams", name), stream, report)
    for name, trigger in tables.section("triggers").items():
        keys = ("triggers", name)
        if "pipeline" not in trigger:
            tables.fill((*keys, "pipeline"), name, keys)
        if "consumer" not in trigger:
            tables.fill((*keys, "consumer"), name, keys)
            if tables.get("consumers", name) is None:
                tables.fill(("consumers", name), {}, keys)
        if _fill_consumer(tables, name, trigger, report):
            _fill_from_consumer(tables, name, trigger, report)
    for name, consumer in tables.section("consumers").items():
        if "stream" not in consumer:
            _tell_stream(tables, ("consumers", name), texts(consumer.get("filter_subjects")), "", report)
    for name, trigger in tables.section("triggers").items():
        _fill_attempts(tables, name, trigger, report)


def _fill_stream_bus(tables: Tables, keys: tuple[str, ...], stream: Table, report: Report) -> None:
    buses = tables.section("buses")
    if "bus" in stream:
        return
    if len(buses) == 1:
        tables.fill((*keys, "bus"), next(iter(buses)), keys)
    elif buses:
        report.error(keys, f'names no bus, and there are {listed(buses)}; add bus = "…"')


def _fill_consumer(tables: Tables, name: str, trigger: Table, report: Report) -> bool:
    """What the trigger says of its consumer goes into the consumer. False: there is none."""
    consumers, wanted = tables.section("consumers"), trigger["consumer"]
    if not isinstance(wanted, str):
        return False
    if wanted not in consumers:
        if tables.get("consumers", wanted) is None:
            hint = did_you_mean(wanted, consumers) or f"; declare [consumers.{wanted}], or leave consumer out"
            report.error(("triggers", name, "consumer"), f'there is no consumer "{wanted}"{hint}')
        return False
    consumer = consumers[wanted]
    for key in ("stream", "filter_subjects"):
        _hand_over(tables, name, trigger, wanted, consumer, key, report)
    return True


def _hand_over(
    tables: Tables, name: str, trigger: Table, wanted: str, consumer: Table, key: str, report: Report
) -> None:
    ours = trigger.get(key)
    theirs = consumer.get(key, consumer.get("filter_subject") if key == "filter_subjects" else None)
    at: Keys = ("triggers", name, key)
    if not ours:
        return
    if theirs is None and key == "filter_subjects" and consumer.get("declare") is False:
        report.error(at, f"the consumer {wanted} is not declared here (declare = false): it keeps the filter it has")
    elif theirs is None:
        tables.fill(("consumers", wanted, key), ours, at)
    elif sorted(texts(ours)) != sorted(texts(theirs)):
        there = report.where(("consumers", wanted, key))
        report.error(at, f"{_quoted(ours)} here, but {_quoted(theirs)} for its consumer {wanted} at {there}")


def _quoted(value: object) -> str:
    return listed(f'"{text}"' for text in texts(value))


def _fill_from_consumer(tables: Tables, name: str, trigger: Table, report: Report) -> None:
    """The consumer's stream and that stream's bus are the trigger's."""
    keys, wanted = ("triggers", name), trigger["consumer"]
    consumer = tables.section("consumers")[wanted]
    if "stream" not in consumer:
        declared_for_us = ("consumers", wanted) in tables.filled
        filters = texts(consumer.get("filter_subjects"))
        at = keys if declared_for_us else ("consumers", wanted)
        bus = trigger.get("bus")
        within = bus if str(bus) in tables.section("buses") else ""
        _tell_stream(tables, ("consumers", wanted), filters, within, report, at=at)
    stream = consumer.get("stream")
    if not isinstance(stream, str):
        return
    if "stream" not in trigger:
        tables.fill((*keys, "stream"), stream, ("consumers", wanted, "stream"))
    bus = tables.get("streams", stream, "bus")
    if not isinstance(bus, str):
        return
    if "bus" not in trigger:
        tables.fill((*keys, "bus"), bus, ("streams", stream, "bus"))
    elif trigger["bus"] != bus and str(trigger["bus"]) in tables.section("buses"):
        report.error((*keys, "bus"), f'its stream {stream} is on the bus "{bus}"; leave bus out')


def _tell_stream(
    tables: Tables, consumer: tuple[str, ...], filters: tuple[str, ...], bus: object, report: Report, at: Keys = ()
) -> None:
    """The only stream declared, or the only one whose subjects cover the filters."""
    at = at or consumer
    streams = {name: each for name, each in tables.section("streams").items() if bus in ("", each.get("bus", ""))}
    covering = [
        name
        for name, stream in streams.items()
        if filters and all(any_covers(texts(stream.get("subjects")), subject) for subject in filters)
    ]
    chosen = list(streams) if len(streams) == 1 else covering
    if len(chosen) == 1:
        tables.fill((*consumer, "stream"), chosen[0], at)
    elif not streams:
        report.error(at, 'names no stream, and none is declared; add [streams.NAME] with subjects = ["…"]')
    else:
        why = f"{listed(covering)} cover its filter_subjects" if covering else f"there are {listed(streams)}"
        report.error(at, f'its stream can\'t be told: {why}; add stream = "…"')


def _fill_attempts(tables: Tables, name: str, trigger: Table, report: Report) -> None:
    keys = ("triggers", name)
    terminates = trigger.get("on_exhausted") == "terminate"
    if "attempts" in trigger:
        if not trigger.get("dead_letter") and not terminates:
            report.error(
                (*keys, "attempts"),
                'needs a place for what used them up: add dead_letter = "…", '
                'or on_exhausted = "terminate" to drop it; with neither, retries never end',
            )
    elif trigger.get("dead_letter") or terminates:
        tables.fill((*keys, "attempts"), DEFAULT_ATTEMPTS, keys)
    if terminates and trigger.get("dead_letter"):
        report.error((*keys, "on_exhausted"), '"terminate" drops what dead_letter would keep; take one of them out')
