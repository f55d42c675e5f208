"""What is to be said of a deployment before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from eventbus_runtime.errors import ConfigError, Problem


class Level(StrEnum):
    """How bad it is."""

    ERROR = "error"  # it can't work, and nothing is rendered
    WARNING = "warning"  # it will work, and hurt some day
    NOTE = "note"  # what to know


class Finding(NamedTuple):
    """One thing.

    Args:
        level: how bad it is.
        key: dotted key of the configuration that it is about, as `buses.main.replicas`; empty: none.
        text: what is wrong, and the way out.
    """

    level: Level
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.key}: {self.text}" if self.key else f"{self.level}: {self.text}"


def error(key: str, text: str) -> Finding:
    """What can't work."""
    return Finding(Level.ERROR, key, text)


def warning(key: str, text: str) -> Finding:
    """What will hurt some day."""
    return Finding(Level.WARNING, key, text)


def note(key: str, text: str) -> Finding:
    """What to know."""
    return Finding(Level.NOTE, key, text)


def refuse(findings: Iterable[Finding], where: str) -> None:
    """End here where something can't work.

    Args:
        findings: all of them.
        where: the file.

    Raises:
        ConfigError: every error among them.
    """
    if problems := [Problem(where, one.key, one.text) for one in findings if one.level is Level.ERROR]:
        raise ConfigError(problems)
