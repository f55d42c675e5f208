"""Values of the server's JSON as a file says them: "30s", "10GiB". Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eventbus_runtime.config.toml import toml_value
from eventbus_runtime.config.units import duration_text, size_text

DURATIONS: Final = frozenset(
    {
        "max_age",
        "duplicate_window",
        "subject_delete_marker_ttl",
        "inactive_threshold",
        "ack_wait",
        "backoff",
        "max_expires",
        "priority_timeout",
    }
)
"""Fields in nanoseconds, of streams, consumers and the tables in them."""

SIZES: Final = frozenset({"max_bytes", "max_msg_size"})
"""Fields in bytes."""


def file_value(field: str, value: Any) -> Any:
    """A field's value as a file would hold it, tables and lists in it too."""
    match value:
        case Mapping():
            return {key: file_value(key, item) for key, item in value.items()}
        case list() | tuple():
            return [file_value(field, item) for item in value]
        case int() if not isinstance(value, bool) and value >= 0 and field in DURATIONS:
            return duration_text(value)
        case int() if not isinstance(value, bool) and field in SIZES:
            return size_text(value)
    return value


def said(field: str, value: Any) -> str:
    """A field's value as a file would say it; `unset` for none."""
    return "unset" if value is None else toml_value(file_value(field, value))
