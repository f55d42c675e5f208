"""Collects every mistake with the place of its value, so that one look at the output mends the whole file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from eventbus_runtime.config.tables import Keys, Origin
from eventbus_runtime.errors import ConfigError, Problem


class Report:
    """What is wrong with one configuration.

    Args:
        name: what the text is called in `file:line`.
        text: the file's text, for the lines.
        origins: where a value came from that is not the file's (see `Tables.origins`).
    """

    def __init__(self, name: str, text: str, origins: Mapping[Keys, Origin]) -> None:
        self.name, self._text, self._origins = name, text, origins
        self._errors: list[tuple[Keys, str, str]] = []
        self._warnings: list[tuple[Keys, str, str]] = []
        self._lines: dict[Keys, int] | None = None

    def error(self, keys: Keys, text: str, *, where: str = "") -> None:
        """Something that can't work. `where` is for what stands in no table."""
        self._errors.append((keys, text, where))

    def warning(self, keys: Keys, text: str) -> None:
        """Something that will work, but hardly as meant."""
        self._warnings.append((keys, text, ""))

    def add(self, problem: Problem) -> None:
        """A mistake that another part found, with its own place."""
        self._errors.append(((problem.key,) if problem.key else (), problem.text, problem.where))

    def raise_if_any(self) -> None:
        """End here if anything can't work.

        Raises:
            ConfigError: all of it, in file order.
        """
        if self._errors:
            raise ConfigError(self._in_order(self._errors))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is not as it should be, and no reason to stop; in file order."""
        return tuple(self._in_order(self._warnings))

    def where(self, keys: Keys) -> str:
        """The place of a value, or of the table around it: `file:line`, a variable, `--set key`, `handlers.py:12`."""
        origin, line, _ = self._place(keys)
        return origin or (f"{self.name}:{line}" if line else self.name)

    def _place(self, keys: Keys) -> tuple[str, int, Keys]:
        """The origin that is not the file, or the line; and the keys by which the user knows the value."""
        for length in range(len(keys), 0, -1):
            origin = self._origins.get(keys[:length])
            if isinstance(origin, tuple):
                place, line, known = self._place(origin)
                return place, line, known if length == len(keys) else keys
            if origin:
                return origin, 0, keys
        if self._lines is None:
            from eventbus_runtime.config.positions import positions  # costs time that only a mistake may take

            self._lines = positions(self._text)
        lines = (self._lines.get(keys[:length], 0) for length in range(len(keys), 0, -1))
        return "", next(filter(None, lines), 0), keys

    def _in_order(self, found: Iterable[tuple[Keys, str, str]]) -> list[Problem]:
        placed: dict[Problem, tuple[bool, int]] = {}
        for keys, text, where in found:
            origin, line, known = (where, 0, keys) if where else self._place(keys)
            key = "" if origin == f"--set {dotted(known)}" else dotted(known)
            problem = Problem(origin or (f"{self.name}:{line}" if line else self.name), key, text)
            placed[problem] = (bool(origin), line)
        return sorted(placed, key=placed.__getitem__)


def dotted(keys: Keys) -> str:
    """Keys as one text: `triggers.billing.retry.delays[0]`."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` for the nearest of the known words, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def listed(names: Iterable[str]) -> str:
    """Names for a sentence: `a, b and c`; `none` if there are none."""
    *head, last = list(names) or ["none"]
    return f"{', '.join(head)} and {last}" if head else last


def shown(value: Any) -> str:
    """A value as the file would say it, with its kind, cut to a line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            text = f'"{value}"' if len(value) <= 60 else f'"{value[:60]}…"'
            return f"the text {text}"
        case int() | float():
            return f"the number {value}"
        case list() | tuple():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"{type(value).__name__} {value}"
