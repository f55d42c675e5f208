"""Values from `--set`: a dotted key and what stands behind the `=`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from eventbus_runtime.config.fields import annotation_at, takes_text, value_of
from eventbus_runtime.config.report import Report, dotted
from eventbus_runtime.config.tables import Rank, Tables


def apply_set(tables: Tables, overrides: Sequence[str], report: Report) -> None:
    """Put `a.b.c=value` texts into the tables; the key is a TOML key, so that parts of it may be quoted."""
    for text in overrides:
        name, equals, value = text.partition("=")
        where = f"--set {name.strip()}"
        try:
            keys = _keys(name)
        except tomllib.TOMLDecodeError:
            keys = ()
        if not equals or not keys:
            report.error((), "expected key=value, as triggers.billing.max_in_flight=32", where=f"--set {name}")
        else:
            found = read_value(keys, value.strip())
            tables.override(keys, found, where, Rank.SET)
            if tables.get(*keys) is not found:
                report.error((), f"{dotted(keys[:-1])} is no table, so that nothing in it can be set", where=where)


def read_value(keys: tuple[str, ...], text: str) -> Any:
    """Read a text from outside the file: as TOML, else as the text that it is.

    Where the models want text it is taken as it stands, so that a password of digits stays one; only TOML's own
    quotes are taken off.
    """
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = found["value"]
    if len(found) > 1:  # the text went on with lines of its own
        return text
    annotation = annotation_at(keys)
    wants_text = takes_text(annotation) or value_of(annotation) is not None
    return text if wants_text and isinstance(value, bool | int | float) else value


def _keys(name: str) -> tuple[str, ...]:
    """`a."b.c".d` as keys.

    Raises:
        tomllib.TOMLDecodeError: it is no key.
    """
    table: Any = tomllib.loads(f"{name} = 0")
    keys = []
    while isinstance(table, dict) and len(table) == 1:
        key, table = next(iter(table.items()))
        keys.append(key)
    return tuple(keys) if table == 0 else ()
