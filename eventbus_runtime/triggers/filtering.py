"""`filter` of a trigger: which deliveries its pipeline sees."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from eventbus_runtime.message import Message

_BAD_ESCAPE = re.compile("~(?![01])")
_INDEX = re.compile("0|[1-9][0-9]*")
_HOW = 'write "header:Name", "subject:2" (a token, from 1) or "payload:/json/pointer"'


def compile_selector(selector: str) -> Callable[[Message], str | None]:
    """Read one part of a message as text; None where it has no such part.

    Args:
        selector: `header:Name`, `subject:N` (the Nth token, from 1), or `payload:/a/b` (JSON pointer, RFC 6901).

    Raises:
        ValueError: it is none of these.
    """
    kind, _, what = selector.partition(":")
    if kind == "header" and what:
        return lambda message: message.headers.get(what)
    if kind == "subject" and what.isdecimal() and int(what) >= 1:
        index = int(what) - 1
        return lambda message: _at(message.subject.split("."), index)
    if kind == "payload" and (what.startswith("/") or not what) and not _BAD_ESCAPE.search(what):
        steps = [step.replace("~1", "/").replace("~0", "~") for step in what.split("/")[1:]]
        return lambda message: _pointer(message.payload, steps)
    raise ValueError(f"{selector!r} names no part of a message; {_HOW}")


def compile_filter(wanted: Mapping[str, str]) -> Callable[[Message], bool] | None:
    """A test that a message passes when each selector gives the wanted text; None when there is nothing to test.

    Raises:
        ValueError: a selector is none.
    """
    if not wanted:
        return None
    tests = [(compile_selector(selector), value) for selector, value in wanted.items()]
    return lambda message: all(read(message) == value for read, value in tests)


def _at(parts: list[str], index: int) -> str | None:
    return parts[index] if index < len(parts) else None


def _pointer(payload: bytes, steps: list[str]) -> str | None:
    try:
        value: Any = json.loads(payload)
        for step in steps:
            if not isinstance(value, list):
                value = value[step]
            elif _INDEX.fullmatch(step):
                value = value[int(step)]
            else:
                return None
        return value if isinstance(value, str) else json.dumps(value)
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
