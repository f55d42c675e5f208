"""What a server is too old for. Servers up to 2.11 drop fields that they do not know without a word; later ones may
refuse the whole request. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple


class ServerAge(NamedTuple):
    """How new a JetStream is.

    Args:
        level: of its API, as `$JS.API.INFO` says; 0 before 2.11, which says none.
        version: of nats-server, as (2, 9); None: not known, as behind a domain.
    """

    level: int
    version: tuple[int, int] | None = None

    def __str__(self) -> str:
        return "nats-server {}.{}".format(*self.version) if self.version else f"API level {self.level}"

    def is_before(self, version: str, level: int) -> bool:
        """Whether it is older than a version, as "2.12", whose API level is given; 0: the version has none. Where that
        can't be told, it is not."""
        if level or self.version is None:
            return self.level < level
        return self.version < _parsed(version)


# The first server that knows a field, and its level; servers before 2.11 say none.
_SINCE: Final[Mapping[str, tuple[str, int]]] = {
    "compression": ("2.10", 0),
    "first_seq": ("2.10", 0),
    "subject_transform": ("2.10", 0),
    "consumer_limits": ("2.10", 0),
    "metadata": ("2.10", 0),
    "filter_subjects": ("2.10", 0),
    "subject_transforms of a source": ("2.10", 0),
    "allow_msg_ttl": ("2.11", 1),
    "subject_delete_marker_ttl": ("2.11", 1),
    "pause_until": ("2.11", 1),
    "priority_groups": ("2.11", 1),
    "allow_msg_counter": ("2.12", 2),
    "allow_atomic": ("2.12", 2),
    "allow_msg_schedules": ("2.12", 2),
    "persist_mode = async": ("2.12", 2),
    "priority_policy = prioritized": ("2.12", 2),
    "allow_batched": ("2.14", 4),
    "consumer of a source": ("2.14", 4),
}

# The first server that can change a field of a stream that is there.
_CHANGES_SINCE: Final[Mapping[str, tuple[str, int]]] = {
    "retention": ("2.10", 0),
    "republish": ("2.10", 0),
    "max_consumers": ("2.12", 2),
}


def since(field: str) -> str:
    """The first server that knows a field, as "2.10"; empty: all do."""
    return _SINCE[field][0] if field in _SINCE else ""


def unknown(config: Mapping[str, Any], age: ServerAge) -> list[tuple[str, str]]:
    """What of a configuration, in the server's JSON, a server does not know, each with the first version that does."""
    found = [(field, *_SINCE[field]) for field in _gated(config)]
    return [(field, version) for field, version, level in found if age.is_before(version, level)]


def changes_since(field: str, age: ServerAge) -> str:
    """The first server that can change a field of a stream that is there, where this one can't; else empty."""
    version, level = _CHANGES_SINCE.get(field, ("", 0))
    return version if version and age.is_before(version, level) else ""


def age_of(level: int, version: str = "") -> ServerAge:
    """How new a server is by its API level and its version, as "2.15.1"; empty: not known."""
    return ServerAge(level, _parsed(version) if re.match(r"\d+\.\d+", version) else None)


def _parsed(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _gated(config: Mapping[str, Any]) -> Iterable[str]:
    for field, value in config.items():
        # A single filter is sent as filter_subject, which all know.
        if field == "filter_subjects" and len(value or ()) < 2:
            continue
        if value and field in _SINCE:
            yield field
        if f"{field} = {value}" in _SINCE:
            yield f"{field} = {value}"
    copies = [*(config.get("sources") or ()), config.get("mirror") or {}]
    for field in ("subject_transforms", "consumer"):
        if any(source.get(field) for source in copies):
            yield f"{field} of a source"
