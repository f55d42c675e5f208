"""Where dead letters go: each subject needs a stream that keeps them."""

from __future__ import annotations

from collections.abc import Mapping

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.config.objects import safe_name
from eventbus_runtime.config.report import Report
from eventbus_runtime.config.tables import Table, Tables, texts, whole
from eventbus_runtime.provisioning.dead_letters import dead_letter_stream
from eventbus_runtime.subjects import any_covers, is_subject


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
            report.error(keys, f'"{subject}" is no subject to publish to: no empty parts, no white space, no * or >')
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
