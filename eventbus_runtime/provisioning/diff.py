"""Declared against what the server has: which fields differ, and which of these may change. Pure.

Both sides come in the server's JSON (`to_server` of the configuration, `config` of STREAM.INFO and CONSUMER.INFO).
Only declared fields are compared. What an absent field means, what may change and what counts at creation only is from
nats-server 2.9 to 2.15: `checkStreamCfg`, `configUpdateCheck`, `setConsumerConfigDefaults`, `checkNewConsumerConfig`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

_STREAM_DEFAULTS: Final[Mapping[str, Any]] = {
    "retention": "limits",
    "storage": "file",
    "discard": "old",
    "compression": "none",
    "persist_mode": "default",
    "num_replicas": 1,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "max_consumers": -1,
}
_CONSUMER_DEFAULTS: Final[Mapping[str, Any]] = {
    "ack_policy": "none",
    "replay_policy": "instant",
    "priority_policy": "none",
    "max_deliver": -1,
}
_STREAM_FIXED: Final = frozenset({"storage", "mirror", "persist_mode", "allow_msg_counter", "first_seq"})
_ONE_WAY: Final = frozenset({"sealed", "deny_delete", "deny_purge", "allow_msg_ttl", "allow_msg_schedules"})
_CONSUMER_FIXED: Final = frozenset({"ack_policy", "replay_policy", "max_waiting", "mem_storage"})
_CREATION_ONLY: Final = frozenset({"deliver_policy", "opt_start_seq", "opt_start_time"})
_NAMES: Final = frozenset({"name", "durable_name"})
_UNORDERED: Final = frozenset({"subjects", "filter_subjects", "sources"})
# A declared 0 leaves these to the server, so that whatever it has is right.
_SERVERS_CHOICE: Final = frozenset(
    {"duplicate_window", "ack_wait", "max_ack_pending", "max_waiting", "max_batch", "priority_timeout"}
)


class Difference(NamedTuple):
    """One field that the server has otherwise than declared.

    Args:
        field: the server's name of the field.
        old: what the server has, as it would say it in full.
        new: what is declared, likewise.
        editable: whether an update may change it.
    """

    field: str
    old: Any
    new: Any
    editable: bool


def diff_stream(declared: Mapping[str, Any], server: Mapping[str, Any]) -> list[Difference]:
    """What differs between a declared stream and the server's, in the order of the declaration."""
    found = _compare(declared, server, _STREAM_DEFAULTS)
    mirror = server.get("mirror")
    return [
        # What a mirror stores is what it copies: with subjects or sources it would be another stream.
        *([Difference("mirror", mirror, None, False)] if mirror and _is_no_mirror(declared) else []),
        *(Difference(field, old, new, _stream_may_change(field, old, new)) for field, old, new in found),
    ]


def diff_consumer(declared: Mapping[str, Any], server: Mapping[str, Any]) -> list[Difference]:
    """What differs between a declared pull consumer and the server's, in the order of the declaration.

    `deliver_policy` and `opt_start_*` count at creation only and are left out. A declared `ack_wait` without `backoff`
    means that there is none, because the server would put the first step of `backoff` in its place.
    """
    wanted = one_filter_field({key: value for key, value in declared.items() if key not in _CREATION_ONLY})
    if "ack_wait" in wanted:
        wanted.setdefault("backoff", [])
    found = _compare(wanted, one_filter_field(server), _CONSUMER_DEFAULTS)
    push = server.get("deliver_subject")
    return [
        *([Difference("deliver_subject", push, "", False)] if push else []),
        *(Difference(field, old, new, field not in _CONSUMER_FIXED) for field, old, new in found),
    ]


def diff_start(declared: Mapping[str, Any], server: Mapping[str, Any]) -> list[Difference]:
    """Where a consumer was to start, and where it did: what counts at creation only, so that nothing changes it."""
    wanted = {field: declared[field] for field in declared if field in _CREATION_ONLY}
    found = _compare(wanted, server, {"deliver_policy": "all"})
    return [Difference(field, old, new, False) for field, old, new in found]


def one_filter_field(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with `filter_subject`, where it is set, written as a `filter_subjects` of one."""
    merged = dict(config)
    one = merged.pop("filter_subject", None)
    return merged | {"filter_subjects": [one]} if one else merged


def own_metadata(config: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of `config` without what the server itself writes there (`_nats.*`, from 2.11)."""
    return {key: value for key, value in (config.get("metadata") or {}).items() if not key.startswith("_nats.")}


def is_one_way(field: str) -> bool:
    """Whether a stream's field, once set, is set for good."""
    return field in _ONE_WAY


def _compare(
    declared: Mapping[str, Any], server: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    found = []
    for field, value in declared.items():
        if field in _NAMES or (not value and field in _SERVERS_CHOICE):
            continue
        new, old = (_canonical(field, side, defaults) for side in (value, server.get(field)))
        if new != old:
            found.append((field, old, new))
    return found


def _canonical(field: str, value: Any, defaults: Mapping[str, Any]) -> Any:
    if not value:
        value = defaults.get(field)
    if field == "metadata":
        return own_metadata({"metadata": value}) or None
    if field == "republish" and value:
        value = {**value, "src": value.get("src") or ">"}
    if field == "sample_freq" and value:
        value = str(value).removesuffix("%")
    value = _full(field, value)
    return sorted(value, key=json.dumps) if field in _UNORDERED and value else value


def _full(field: str, value: Any) -> Any:
    """Without what says nothing (an absent, an empty and a zero field are one), moments in UTC."""
    if isinstance(value, Mapping):
        members = {key: _full(key, item) for key, item in sorted(value.items())}
        return {key: item for key, item in members.items() if item} or None
    if isinstance(value, list | tuple):
        return [_full(field, item) for item in value] or None
    if isinstance(value, str) and field in ("opt_start_time", "pause_until"):
        return datetime.fromisoformat(value).astimezone(UTC).isoformat()
    return value or None


def _is_no_mirror(declared: Mapping[str, Any]) -> bool:
    return not declared.get("mirror") and bool(declared.get("subjects") or declared.get("sources"))


def _stream_may_change(field: str, old: Any, new: Any) -> bool:
    if field == "retention":
        return "workqueue" not in (old, new)
    return field not in _STREAM_FIXED and not (field in _ONE_WAY and old)
