"""The effective configuration as TOML: what a file would have to say for the same run without any other source."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.config.report import dotted
from eventbus_runtime.config.toml import toml_key, toml_value

_MARK = "  # filled in"


def effective(config: RuntimeConfig, filled: Collection[str]) -> str:
    """The whole configuration; secrets are masked, and what the short form left out is marked.

    Args:
        config: the configuration.
        filled: the dotted keys of what was filled in.
    """
    data = config.model_dump(mode="json", exclude_none=True)
    for section, objects in (("streams", config.streams), ("consumers", config.consumers)):
        # Only what is set goes to the server: the rest is the server's to choose, so that it is not said here.
        data[section] = {
            name: each.model_dump(mode="json", exclude_unset=True, exclude_none=True) for name, each in objects.items()
        }
    return "\n".join(_lines(data, (), filled)).lstrip("\n") + "\n"


def _lines(table: dict[str, Any], keys: tuple[str, ...], filled: Collection[str]) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, dict) and value not in ("", [])}
    # A table of tables needs no header of its own, unless it is one that a name declares.
    if plain or len(keys) == 2:
        yield ""
        yield f"[{'.'.join(map(toml_key, keys))}]" + _mark(keys, filled)
    for key, value in plain.items():
        yield f"{toml_key(key)} = {toml_value(value)}" + _mark((*keys, key), filled)
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _lines(value, (*keys, key), filled)


def _mark(keys: tuple[str, ...], filled: Collection[str]) -> str:
    return _MARK if dotted(keys) in filled else ""
