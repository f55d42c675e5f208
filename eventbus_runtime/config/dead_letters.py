"""Where dead letters go: each subject needs a stream that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.config.objects import safe_name
from eventbus_runtime.config.report import Report, did_you_mean
from eventbus_runtime.config.tables import Table, Tables, texts, whole
from eventbus_runtime.provisioning.dead_letters import dead_letter_stream
from eventbus_runtime.subjects import any_covers, is_subject

_NO_SUBJECT = '"{}" is no subject to publish to: no empty parts, no white space, no * or >'
_OF_ORIGIN = ("stream", "consumer")


class DeadLetterRoute(NamedTuple):
    """Where the dead letters of a trigger go, and what they say of their origin.

    Args:
        trigger: its name.
        bus: the bus's name.
        subject: of its dead letters; empty: it has none.
        stream, consumer: what it consumes; empty where the file alone does not tell.
    """

    trigger: str
    bus: str
    subject: str
    stream: str
    consumer: str


def dead_letter_routes(config: RuntimeConfig) -> tuple[DeadLetterRoute, ...]:
    """The route of each trigger of a complete configuration."""
    return tuple(
        DeadLetterRoute(name, trigger.bus, trigger.dead_letter or "", trigger.stream, trigger.consumer)
        for name, trigger in config.triggers.items()
    )


def read_dead_letter_routes(tables: Tables, report: Report) -> tuple[DeadLetterRoute, ...]:
    """The same, of a file without the code that it names; a mistake is reported only where it hides a route."""
    buses, routes = tables.section("buses"), []
    for name, trigger in tables.section("triggers").items():
        keys, subject = ("triggers", name), trigger.get("dead_letter", "")
        bus = trigger.get("bus") or (next(iter(buses)) if len(buses) == 1 else "")
        if not isinstance(subject, str) or (subject and not is_subject(subject, wildcards=False)):
            report.error((*keys, "dead_letter"), _NO_SUBJECT.format(subject))
        elif subject and bus not in buses:
            hint = did_you_mean(str(bus), buses) or '; add bus = "…"'
            report.error((*keys, "bus"), f"the bus of its dead letters can't be told{hint}")
        else:
            stream, consumer = (trigger[key] if isinstance(trigger.get(key), str) else "" for key in _OF_ORIGIN)
            routes.append(DeadLetterRoute(name, str(bus), subject, stream, consumer))
    return tuple(routes)


def fill_dead_letters(tables: Tables, report: Report) -> dict[str, str]:
    """Give each dead-letter subject that no declared stream stores a stream of its own, DEAD_<TRIGGER>.

    Returns:
        The streams that were filled in, by trigger. One whose subject a stream at the server stores already is not
        to be created: only the server knows.
    """
    filled: dict[str, str] = {}
    for name, trigger in tables.section("triggers").items():
        keys, subject = ("triggers", name, "dead_letter"), trigger.get("dead_letter")
        if not isinstance(subject, str):
            continue
        if not is_subject(subject, wildcards=False):
            report.error(keys, _NO_SUBJECT.format(subject))
            continue
        _check_own_filter(tables, name, trigger, subject, report)
        stream = _stream_of(tables, trigger, subject)
        if stream is not None:
            _check_keeps(stream, tables.section("streams")[stream], name, subject, report)
        elif trigger.get("declare_dead_letter") is not False:
            stream = f"DEAD_{safe_name(name).upper()}"
            if tables.get("streams", stream) is not None:
                report.error(keys, f'the stream {stream} does not store "{subject}"; add it to its subjects')
                continue
            tables.fill(("streams", stream), {}, keys)
            tables.fill(("streams", stream, "bus"), trigger.get("bus", ""), keys)
            tables.fill(("streams", stream, "subjects"), [subject], keys)
            filled[name] = stream
    return filled


def complete_dead_letters(config: RuntimeConfig, filled: Mapping[str, str]) -> RuntimeConfig:
    """Give the streams that were filled in what a stream of dead letters needs besides its subject."""
    streams = dict(config.streams)
    for name, stream in filled.items():
        trigger = config.triggers[name]
        _, declared = dead_letter_stream(
            name,
            trigger.dead_letter or "",
            config.consumers[trigger.consumer].ack_wait / 10**9,
            max(trigger.retry.delays),
        )
        streams[stream] = declared.model_copy(update={"bus": trigger.bus})
    return config.model_copy(update={"streams": streams})


def _stream_of(tables: Tables, trigger: Table, subject: str) -> str | None:
    streams = tables.section("streams").items()
    return next(
        (
            name
            for name, stream in streams
            if stream.get("bus") == trigger.get("bus") and any_covers(texts(stream.get("subjects")), subject)
        ),
        None,
    )


def _check_own_filter(tables: Tables, name: str, trigger: Table, subject: str, report: Report) -> None:
    consumer = tables.get("consumers", str(trigger.get("consumer")))
    stream = tables.get("streams", str(trigger.get("stream")))
    if not isinstance(consumer, dict) or not isinstance(stream, dict):
        return
    filters = texts(consumer.get("filter_subjects")) or texts(consumer.get("filter_subject"))
    is_stored = any_covers(texts(stream.get("subjects")), subject)
    if is_stored and (not filters or any_covers(filters, subject)):
        report.error(
            ("triggers", name, "dead_letter"),
            f'"{subject}" comes back to this trigger by its own filter; use a subject outside of it, as "dead.{name}"',
        )


def _check_keeps(stream: str, table: Table, name: str, subject: str, report: Report) -> None:
    """What makes a stream lose dead letters is refused before anything starts."""
    reasons = {
        'retention = "interest" drops what nobody consumes': table.get("retention") == "interest",
        "no_ack confirms nothing": table.get("no_ack") is True,
        "max_msgs_per_subject deletes the older ones": whole(table.get("max_msgs_per_subject"), -1) > 0,
    }
    for reason in (text for text, holds in reasons.items() if holds):
        report.error(
            ("triggers", name, "dead_letter"),
            f'the stream {stream}, which stores "{subject}", can\'t keep dead letters: {reason}; '
            "give them a stream of their own",
        )
