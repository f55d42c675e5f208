"""The values of a step, read from the message when it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from eventbus_runtime.config.steps import HEADERS, Part, tokens
from eventbus_runtime.errors import DecodeError
from eventbus_runtime.message import Message, rfc3339
from eventbus_runtime.pipelines.steps.publish import CORRELATION

if TYPE_CHECKING:
    from eventbus_runtime.pipelines.steps.pipeline import Passage

Read: TypeAlias = Callable[["Passage"], str]
"""Reads a text; raises `DecodeError` where there is none, since the same message never has one."""

_INDEX = re.compile("0|[1-9][0-9]*")
_MOST_SHOWN = 100


def text(value: str | Part, where: str) -> Read:
    """The reader of a value that must be a text.

    Args:
        value: as it is configured.
        where: how an error begins.
    """
    if isinstance(value, str):
        return lambda passage: value
    part = value.from_
    if part == "payload":
        return lambda passage: _utf8(passage.payload, where)
    if part.startswith("/"):
        path = tokens(part)
        return lambda passage: _as_text(_find(passage, path, part, where), f"{where}: {part}")
    return _of_message(part, where)


def line(value: str | Part, where: str) -> Read:
    """The reader of a header's value. Arguments as for `text`."""
    read = text(value, where)
    if isinstance(value, str):  # it was looked at when it was declared
        return read

    def one_line(passage: Passage) -> str:
        found = read(passage)
        if "\r" in found or "\n" in found:
            raise DecodeError(f"{where}: it holds a line end; headers are one line each: {found[:_MOST_SHOWN]!r}")
        return found

    return one_line


def payload(value: str | Part | None, where: str) -> Callable[[Passage], bytes]:
    """The reader of a value that becomes a payload: of a pointer to what is no text, its JSON. Arguments as for `text`;
    None: the payload as the steps before have left it."""
    if value is None or (isinstance(value, Part) and value.from_ == "payload"):
        return lambda passage: passage.payload
    if isinstance(value, Part) and value.from_.startswith("/"):
        part, path = value.from_, tokens(value.from_)
        return lambda passage: _as_payload(_find(passage, path, part, where), f"{where}: {part}")
    read = text(value, where)
    return lambda passage: read(passage).encode("utf-8", "surrogateescape")


def _of_message(part: str, where: str) -> Read:
    name = CORRELATION if part == "correlation_id" else part.removeprefix(HEADERS) if part.startswith(HEADERS) else ""
    if name:
        return lambda passage: _header(passage.message, name, where)
    if part == "published_at":
        return lambda passage: rfc3339(passage.message.timestamp_ns)
    return lambda passage: str(getattr(passage.message, part))


def _header(message: Message, name: str, where: str) -> str:
    found = message.headers.get(name)
    if found is None:
        raise DecodeError(f"{where}: the message has no header {name}")
    return found


def _utf8(body: bytes, where: str) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"{where}: the payload is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _find(passage: Passage, path: tuple[str, ...], pointer: str, where: str) -> Any:
    """What a JSON pointer leads to (RFC 6901)."""
    value = passage.json(where)
    for token in path:
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and _INDEX.fullmatch(token) and len(token) < 20 and int(token) < len(value):
            value = value[int(token)]
        else:
            raise DecodeError(f"{where}: the payload has nothing at {pointer}")
    return value


def _as_text(value: Any, where: str) -> str:
    if isinstance(value, str):
        _utf8_text(value, where)
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    shown = json.dumps(value)
    shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"
    raise DecodeError(f"{where} is neither a text nor a whole number: {shown}")


def _as_payload(value: Any, where: str) -> bytes:
    if isinstance(value, str):
        return _utf8_text(value, where)
    try:
        dumped = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise DecodeError(f"{where} holds a number that is too large") from None
    try:
        return dumped.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: JSON can hold it, by an escape
        return json.dumps(value, separators=(",", ":")).encode()


def _utf8_text(value: str, where: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise DecodeError(f"{where} is no text that UTF-8 can hold: {value[:_MOST_SHOWN]!r}") from None
