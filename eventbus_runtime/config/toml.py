"""Keys and values as TOML text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def toml_key(name: str) -> str:
    """One key of a table, quoted where it must be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)


def toml_value(value: Any) -> str:
    """Text, number, truth, list or table, on one line."""
    match value:
        case Mapping():
            members = ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items())
            return f"{{ {members} }}" if members else "{}"
        case list() | tuple():
            return f"[{', '.join(map(toml_value, value))}]"
        case _:
            # JSON's texts are TOML's, but for one control character that JSON lets stand.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
