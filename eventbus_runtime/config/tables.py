"""The raw tables of all sources in one, before any model has seen them, and where each value came from."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, TypeAlias

Keys: TypeAlias = tuple[str | int, ...]
"""Where a value stands in the tables: keys, and indices in arrays."""

Origin: TypeAlias = str | Keys
"""A variable, `--set key` or `handlers.py:12`; or the keys of the value that this one was filled in from."""

Table: TypeAlias = dict[str, Any]


class Rank(IntEnum):
    """Which source wins where several give a value."""

    FILE = 0
    SECRETS = 1
    ENVIRONMENT = 2
    SET = 3


class Tables:
    """The merged tables. Nothing in them is trusted to have the right type: only the models say so, at the end.

    Attributes:
        data: the tables as tomllib made them, changed in place.
        origins: where values came from that are not the file's own.
        filled: dotted keys that the short form left out, with the values that they got.
    """

    def __init__(self, data: Table) -> None:
        self.data = data
        self.origins: dict[Keys, Origin] = {}
        self.filled: dict[Keys, Any] = {}
        self._ranks: dict[Keys, Rank] = {}

    def section(self, name: str) -> dict[str, Table]:
        """The well-formed tables `[name.X]`, by X; the others are left to the models."""
        found = self.data.get(name)
        entries = found if isinstance(found, dict) else {}
        return {key: table for key, table in entries.items() if isinstance(table, dict)}

    def get(self, *keys: str) -> Any:
        """The value at `keys`, or None."""
        value: Any = self.data
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def override(self, keys: tuple[str, ...], value: Any, origin: str, rank: Rank) -> None:
        """Put a value of a stronger source into its place, unless a yet stronger one was there before."""
        if self._ranks.get(keys, Rank.FILE) <= rank:
            self._ranks[keys] = rank
            self.filled.pop(keys, None)
            self.put(keys, value, origin)

    def fill(self, keys: tuple[str, ...], value: Any, origin: Origin) -> None:
        """Put what the short form left out into its place, and remember that for `--dry-run`."""
        self.filled[keys] = {} if isinstance(value, dict) else value
        self.put(keys, value, origin)

    def put(self, keys: tuple[str, ...], value: Any, origin: Origin) -> None:
        """Put a value into its place, making the tables on the way; never over a value that should be a table."""
        table = self.data
        for at, key in enumerate(keys[:-1], 1):
            if key not in table:
                table[key] = {}
                self.origins[keys[:at]] = origin
            table = table[key]
            if not isinstance(table, dict):
                return
        table[keys[-1]] = value
        self.origins[keys] = origin


def texts(value: Any) -> tuple[str, ...]:
    """One text or a list of them, as the file may say it; nothing where it is neither."""
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()


def whole(value: Any, default: int) -> int:
    """A whole number, or the default where it is none (which the models will say)."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default
