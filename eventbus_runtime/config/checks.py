"""References that must hold, and combinations that can't work, found before anything starts.

All of it on the raw tables: the models skip their validators once a field failed, and one run must show every mistake.
A value of a wrong type is passed over here; the models report it.
"""

from __future__ import annotations

from collections.abc import Mapping

from eventbus_runtime.config.objects import check_name, too_few_pending
from eventbus_runtime.config.report import Report, did_you_mean, listed
from eventbus_runtime.config.tables import Keys, Table, Tables, texts, whole
from eventbus_runtime.pipelines.registry import Registry
from eventbus_runtime.subjects import overlaps
from eventbus_runtime.triggers.filtering import compile_selector

_DEFAULT_MAX_ACK_PENDING = 1000


def check_references(tables: Tables, registry: Registry | None, report: Report) -> None:
    """Report names that nothing bears. `registry` is None when user code did not import: then it knows too little."""
    buses, streams = tables.section("buses"), tables.section("streams")
    for section in ("streams", "consumers"):
        for name in tables.section(section):
            _check_object_name((section, name), report)
    for name, stream in streams.items():
        _check_name(tables, ("streams", name, "bus"), stream, buses, report)
    for name, consumer in tables.section("consumers").items():
        _check_name(tables, ("consumers", name, "stream"), consumer, streams, report)
    for name, trigger in tables.section("triggers").items():
        _check_name(tables, ("triggers", name, "stream"), trigger, streams, report)
        _check_name(tables, ("triggers", name, "bus"), trigger, buses, report)
        if registry is not None:
            _check_pipeline(tables, name, trigger, registry, report)


def _check_object_name(keys: tuple[str, str], report: Report) -> None:
    try:
        check_name(keys[1])
    except ValueError as error:
        report.error(keys, str(error))


def _check_name(
    tables: Tables, keys: tuple[str, str, str], table: Table, known: Mapping[str, object], report: Report
) -> None:
    wanted, kind = table.get(keys[-1]), keys[-1]
    if isinstance(wanted, str) and wanted not in known and keys not in tables.filled:
        hint = did_you_mean(wanted, known) or f"; declared: {listed(known)}"
        report.error(keys, f'there is no {kind} "{wanted}"{hint}')


def _check_pipeline(tables: Tables, name: str, trigger: Table, registry: Registry, report: Report) -> None:
    wanted = trigger.get("pipeline")
    if not isinstance(wanted, str) or wanted in registry.pipelines:
        return
    is_filled = ("triggers", name, "pipeline") in tables.filled
    keys: Keys = ("triggers", name) if is_filled else ("triggers", name, "pipeline")
    hint = did_you_mean(wanted, registry.pipelines) or f"; registered: {listed(registry.pipelines)}"
    cure = (
        ""
        if registry.pipelines
        else "; decorate its handler with @pipeline in handlers.py, or name its module in imports"
    )
    report.error(keys, f'no pipeline is named "{wanted}"{hint}{cure}')


def check_streams(tables: Tables, report: Report) -> None:
    """Report streams that the server would refuse."""
    streams = list(tables.section("streams").items())
    for at, (name, stream) in enumerate(streams):
        keys, subjects = ("streams", name, "subjects"), texts(stream.get("subjects"))
        for other, table in streams[:at]:
            if table.get("bus") != stream.get("bus"):
                continue
            for one, two in ((one, two) for one in subjects for two in texts(table.get("subjects"))):
                if overlaps(one, two):
                    report.error(keys, f'"{one}" overlaps "{two}" of the stream {other}; a subject has one stream')


def check_consumers(tables: Tables, report: Report) -> None:
    """Report consumers that the server would refuse, or that would never see what they are for."""
    exclusive: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, consumer in tables.section("consumers").items():
        stream = tables.section("streams").get(str(consumer.get("stream")), {})
        key = "filter_subject" if "filter_subject" in consumer else "filter_subjects"
        keys, filters = ("consumers", name, key), texts(consumer.get(key))
        stored = () if "subject_transform" in stream else texts(stream.get("subjects"))
        for subject in filters if stored else ():
            if not any(overlaps(subject, each) for each in stored):
                text = f'"{subject}" is outside the subjects of {consumer["stream"]}, {listed(stored)}'
                report.error(keys, f"{text}; nothing would ever come")
        if stream.get("retention") == "workqueue":
            _check_workqueue(name, consumer, filters or (">",), exclusive, report)


def _check_workqueue(
    name: str,
    consumer: Table,
    filters: tuple[str, ...],
    exclusive: dict[str, list[tuple[str, tuple[str, ...]]]],
    report: Report,
) -> None:
    stream = str(consumer["stream"])
    if isinstance(policy := consumer.get("deliver_policy", "all"), str) and policy != "all":
        text = f'"{policy}" can\'t be on the workqueue stream {stream}; leave it out (all)'
        report.error(("consumers", name, "deliver_policy"), text)
    for other, theirs in exclusive.setdefault(stream, []):
        if any(overlaps(one, two) for one in filters for two in theirs):
            text = f"its messages are those of {other} too, and on the workqueue stream {stream} each has one consumer"
            report.error(("consumers", name), f"{text}; give them filters that do not overlap")
    exclusive[stream].append((name, filters))


def check_triggers(tables: Tables, report: Report) -> None:
    """Report what a trigger can't do with the consumer and the stream that it has."""
    triggers, consumers = tables.section("triggers"), tables.section("consumers")
    fed: dict[str, list[str]] = {}
    for name, trigger in triggers.items():
        fed.setdefault(str(trigger.get("consumer")), []).append(name)
    for name, trigger in triggers.items():
        consumer = consumers.get(str(trigger.get("consumer")))
        if consumer is not None:
            _check_consumer(name, trigger, consumer, report)
            _check_filter(tables, name, trigger, fed[str(trigger["consumer"])], report)
    workers = whole(tables.get("runtime", "workers"), 1)
    for name, names in fed.items():
        if name not in consumers or consumers[name].get("declare") is False:
            continue
        most = whole(consumers[name].get("max_ack_pending"), _DEFAULT_MAX_ACK_PENDING)
        wanted = workers * sum(whole(triggers[each].get("max_in_flight"), 256) for each in names)
        if 0 < most < wanted:
            report.warning(("consumers", name, "max_ack_pending"), too_few_pending(most, wanted))


def _check_consumer(name: str, trigger: Table, consumer: Table, report: Report) -> None:
    at = ("consumers", str(trigger["consumer"]))
    policy = consumer.get("ack_policy", "explicit")
    if policy in ("none", "all"):
        report.error((*at, "ack_policy"), f'"{policy}" can\'t be under a trigger ({name}); leave it out (explicit)')
    most, attempts = whole(consumer.get("max_deliver"), -1), whole(trigger.get("attempts"), 0)
    if 0 < most < attempts:
        report.error(
            ("triggers", name, "attempts"),
            f"{attempts} is more than the {most} deliveries of its consumer (max_deliver); "
            "leave max_deliver out, or lower attempts",
        )
    if most > 0 and not trigger.get("dead_letter") and trigger.get("on_exhausted") != "terminate":
        report.error(
            (*at, "max_deliver"),
            f"after {most} deliveries a message would be lost in silence, since the trigger {name} has no end for it; "
            f"leave max_deliver out, or give [triggers.{name}] a dead_letter",
        )


def _check_filter(tables: Tables, name: str, trigger: Table, fed: list[str], report: Report) -> None:
    keys, wanted = ("triggers", name, "filter"), trigger.get("filter")
    for selector in wanted if isinstance(wanted, dict) else ():
        try:
            compile_selector(selector)
        except ValueError as error:
            report.error((*keys, selector), str(error))
    if not wanted or trigger.get("filter_discards") is True:
        return
    stream = tables.section("streams").get(str(trigger.get("stream")), {})
    retention = stream.get("retention", "limits")
    reason = ""
    if retention in ("interest", "workqueue"):
        reason = f"its stream's retention is {retention}"
    elif len(fed) > 1:
        reason = f"its consumer feeds {listed(fed)}"
    if reason:
        text = f"acknowledging unseen would delete for others, since {reason}"
        report.error(keys, f"{text}; set filter_discards = true if that is meant")
