"""What a plan would do that hardly anybody wants, and what will not work once it is done. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.config.objects import ConsumerConfig, too_few_pending
from eventbus_runtime.provisioning.advisories import advisory_subject_of
from eventbus_runtime.provisioning.dead_letters import doubts, place, problem, unstored
from eventbus_runtime.provisioning.diff import Difference, is_one_way, one_filter_field
from eventbus_runtime.provisioning.findings import Finding, warning
from eventbus_runtime.provisioning.plan import Action, BusPlan, Config, Item
from eventbus_runtime.provisioning.rules import in_units
from eventbus_runtime.provisioning.server import Server, Stored
from eventbus_runtime.provisioning.shown import said
from eventbus_runtime.subjects import any_covers, overlaps

_SECOND: Final = 10**9
_WINDOW: Final = 120 * _SECOND  # the server's own duplicate_window
_ACK_WAIT: Final = 30 * _SECOND


def risks(plan: BusPlan, config: RuntimeConfig, warned: Collection[str], now: datetime) -> Iterator[Finding]:
    """What to know before a plan is done.

    Args:
        plan: of one bus.
        config: complete.
        warned: dotted keys about which the loader has warned already.
        now: the present moment, for what is too old.
    """
    for item in plan.streams:
        stored = plan.server.streams.get(item.name)
        if item.action is Action.UPDATE and stored is not None:
            yield from _of_stream(item, stored, plan.server, now)
    after = plan.streams_after()
    for item in plan.consumers:
        yield from _of_consumer(item, plan, after)
    yield from _too_few(plan, config, warned)
    yield from _given_up(plan, config, after)
    yield from _dead_letters(plan, config, after)


def _of_stream(item: Item, stored: Stored, server: Server, now: datetime) -> Iterator[Finding]:
    after: Config = item.after or {}
    messages = stored.state.get("messages", 0)
    for one in item.differences:
        text = ""
        if is_one_way(one.field) and one.new:
            text = "is for good: no update takes it back"
        elif one.field == "subjects":
            yield from _of_subjects(item, one, stored)
        elif messages and one.new is not None:
            text = _deleted(one, stored, after, server, now)
        if text:
            yield warning(f"{item.key}.{one.field}", text)


def _deleted(one: Difference, stored: Stored, after: Config, server: Server, now: datetime) -> str:
    """What a lower limit deletes at once."""
    messages, size, limit = stored.state.get("messages", 0), stored.state.get("bytes", 0), one.new
    fewer = f"{said(one.field, one.old)} -> {said(one.field, one.new)}"
    # Servers before 2.10 delete the oldest at a lowered limit whatever `discard` says.
    stays = after.get("discard") == "new" and not server.age.is_before("2.10", 0)
    match one.field:
        case "max_msgs" if 0 < limit < messages:
            return f"{fewer} {_full(stays, f'deletes the oldest {messages - limit:,} of {messages:,} messages')}"
        case "max_bytes" if 0 < limit < size:
            return f"{fewer} {_full(stays, f'deletes the oldest {in_units(size - limit)} of {in_units(size)}')}"
        case "max_age" if limit > 0:
            return _too_old(fewer, stored, now - timedelta(microseconds=limit // 1000))
        case "max_msgs_per_subject" if limit > 0 and stored.per_subject:
            surplus = sum(max(0, count - limit) for count in stored.per_subject.values())
            return f"{fewer} deletes {surplus:,} of {messages:,} messages" if surplus else ""
        case "retention" if one.new == "interest":
            return f"{fewer} deletes what no consumer waits for of {messages:,} messages"
    return ""


def _full(stays: bool, deletes: str) -> str:
    return 'is below what is stored: with discard = "new", nothing more is taken' if stays else f"{deletes} now"


def _too_old(fewer: str, stored: Stored, eldest: datetime) -> str:
    first, last, messages = (stored.state.get(key) for key in ("first_ts", "last_ts", "messages"))
    if not first or datetime.fromisoformat(first) >= eldest:
        return ""
    if last and datetime.fromisoformat(last) < eldest:
        return f"{fewer} deletes all {messages:,} messages now"
    since = eldest.astimezone(UTC).isoformat(timespec="seconds")
    return f"{fewer} deletes now what was stored before {since}; the oldest of {messages:,} messages is of {first}"


def _of_subjects(item: Item, one: Difference, stored: Stored) -> Iterator[Finding]:
    now = one.new or ()
    gone = [subject for subject in one.old or () if not any_covers(now, subject)]
    if gone:
        yield warning(f"{item.key}.subjects", f"what is published to {_quoted(gone)} is not stored any more")
    for name, info in stored.consumers.items():
        filters = _filters(info.get("config") or {})
        if filters and gone and not any(overlaps(ours, theirs) for ours in filters for theirs in now):
            yield warning(f"{item.key}.subjects", f"nothing more would come to the consumer {name}, by its filters")


def _of_consumer(item: Item, plan: BusPlan, streams: Mapping[str, Config]) -> Iterator[Finding]:
    assert isinstance(item.config, ConsumerConfig)
    name = item.config.stream
    stream, after = streams.get(name, {}), item.after or {}
    filters, subjects = _filters(after), stream.get("subjects") or ()
    outside = [each for each in filters if not any(overlaps(each, stored) for stored in subjects)]
    if outside and subjects and not (stream.get("subject_transform") or stream.get("sources")):
        yield warning(
            f"{item.key}.filter_subjects",
            f"{_quoted(outside)} is outside the subjects of {name}, {_quoted(subjects)}: nothing would come by it",
        )
    if item.action is not Action.UPDATE:
        return
    stored = plan.server.streams.get(name)
    info = stored.consumers.get(item.name, {}) if stored else {}
    for one in item.differences:
        if text := _of_change(one, stream.get("retention", "limits"), name, info):
            yield warning(f"{item.key}.{one.field}", text)


def _of_change(one: Difference, retention: str, stream: str, info: Mapping[str, Any]) -> str:
    match one.field, retention:
        case "filter_subjects", "workqueue":
            return f"what the workqueue stream {stream} holds for no filter stays in it, and nobody ever gets it"
        case "filter_subjects", "interest":
            return f"what the interest stream {stream} holds for no filter can be deleted unseen"
        case "max_deliver", _ if one.new > 0 and not 0 < one.old <= one.new:
            again, flying = info.get("num_redelivered", 0), info.get("num_ack_pending", 0)
            return (
                f"{one.old} -> {one.new}: what has been delivered so often is given up; of {flying:,} in flight, "
                f"{again:,} came more than once"
            )
        case "priority_policy" | "priority_groups", _:
            return "clients that pull for another group, or for none, are refused from then on"
    return ""


def _too_few(plan: BusPlan, config: RuntimeConfig, warned: Collection[str]) -> Iterator[Finding]:
    """What the loader can't know: limits that the server chose, or that somebody else declares."""
    for item in plan.consumers:
        key = f"{item.key}.max_ack_pending"
        most = (item.after or {}).get("max_ack_pending", 0)
        triggers = [one for one in config.triggers.values() if one.consumer == item.name and one.enabled]
        wanted = config.runtime.workers * sum(one.max_in_flight for one in triggers)
        if key not in warned and 0 < most < wanted:
            yield warning(key, too_few_pending(most, wanted))


def _given_up(plan: BusPlan, config: RuntimeConfig, streams: Mapping[str, Config]) -> Iterator[Finding]:
    for item in plan.consumers:
        assert isinstance(item.config, ConsumerConfig)
        if (item.after or {}).get("max_deliver", -1) <= 0:
            continue
        subject = advisory_subject_of(item.config.stream, item.name)
        fed = any(one.consumer == item.name and one.enabled for one in config.triggers.values())
        if fed and not _storing(streams, subject):
            yield warning(
                f"{item.key}.max_deliver",
                f"no stream stores {subject}, so that what is given up would be lost in silence, and its trigger "
                "does not start: leave max_deliver out, or declare such a stream",
            )


def _dead_letters(plan: BusPlan, config: RuntimeConfig, streams: Mapping[str, Config]) -> Iterator[Finding]:
    consumers = {item.name: item.after or {} for item in plan.consumers}
    for name, trigger in config.triggers.items():
        if trigger.bus != plan.bus or not trigger.enabled or not trigger.dead_letter:
            continue
        key, where, stream = f"triggers.{name}.dead_letter", place(name, trigger.dead_letter), None
        stream = _storing(streams, trigger.dead_letter)
        if stream is None:
            yield warning(key, unstored(where))
            continue
        consumer, after = consumers.get(trigger.consumer, {}), _with_defaults(streams[stream])
        looping = stream == trigger.stream and any_covers(_filters(consumer) or (">",), trigger.dead_letter)
        text = problem(after, where, stream, looping=looping)
        waits = consumer.get("backoff") or (consumer.get("ack_wait") or _ACK_WAIT,)
        for each in [text] if text else doubts(after, where, stream, max(waits) / _SECOND, max(trigger.retry.delays)):
            yield warning(key, each)


def _storing(streams: Mapping[str, Config], subject: str) -> str | None:
    return next((name for name, one in streams.items() if any_covers(one.get("subjects") or (), subject)), None)


def _with_defaults(stream: Config) -> Config:
    window = stream.get("duplicate_window") or min(_WINDOW, stream.get("max_age") or _WINDOW)
    return {"retention": "limits", "discard": "old", **stream, "duplicate_window": window}


def _filters(consumer: Config) -> list[str]:
    return one_filter_field(consumer).get("filter_subjects") or []


def _quoted(subjects: Collection[str]) -> str:
    return ", ".join(f'"{subject}"' for subject in subjects)
