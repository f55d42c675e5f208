"""Reads the sources of a configuration: the file or its text, the environment, the folder of secrets."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from eventbus_runtime.config.connections import Variables
from eventbus_runtime.config.report import Report, did_you_mean
from eventbus_runtime.config.tables import Table, Tables
from eventbus_runtime.errors import ConfigError, Problem

CONFIG_VARIABLE = "EVENTBUS_CONFIG"
SECRETS_VARIABLE = "EVENTBUS_SECRETS_DIR"
_PREFIX = "EVENTBUS__"


def read_text(path: Path | None, environ: Mapping[str, str]) -> tuple[str, str, Path]:
    """What the text is called in errors, the text, and the folder that its paths are relative to.

    Args:
        path: the file; None: what EVENTBUS_CONFIG holds, a path or the whole text.
        environ: the environment.

    Raises:
        ConfigError: there is none, or it can't be read.
    """
    held = environ.get(CONFIG_VARIABLE, "")
    if path is None and not held:
        raise ConfigError(f"no configuration: name a file, or set {CONFIG_VARIABLE} to one or to its whole text")
    if path is None and re.search(r"[\n=\[]", held) and not _is_file(held):
        return CONFIG_VARIABLE, held, Path.cwd()
    path = path or Path(held)
    try:
        return str(path), path.read_bytes().decode("utf-8-sig"), path.absolute().parent
    except FileNotFoundError:
        raise ConfigError([Problem(str(path), "", "there is no such file")]) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(f"{path}:{line}", "", "is not UTF-8 text, which TOML is")]) from None
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"can't be read: {error.strerror}")]) from None


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or no path at all
        return False


def parse(name: str, text: str) -> Table:
    """The tables of a text that is called `name`.

    Raises:
        ConfigError: it is not TOML; with line and column.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The place stands only in the text of the error.
        message, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+), column (\d+)", place)
        line, column = found.groups() if found else (str(text.count("\n") + 1), "")
        where = f"{name}:{line}" + (f":{column}" if column else "")
        raise ConfigError([Problem(where, "", f"is not TOML: {message[:1].lower()}{message[1:]}")]) from None


def read_secrets(folder: Path | None, environ: Mapping[str, str], report: Report) -> dict[str, str]:
    """The files of the secrets folder as variables: name and content, without the line end that editors add."""
    named = folder or (Path(environ[SECRETS_VARIABLE]) if environ.get(SECRETS_VARIABLE) else None)
    if named is None:
        return {}
    try:
        files = [file for file in sorted(named.iterdir()) if file.is_file() and not file.name.startswith(".")]
        return {file.name: file.read_text().rstrip("\r\n") for file in files}
    except (OSError, UnicodeDecodeError) as error:
        where = "--secrets-dir" if folder else SECRETS_VARIABLE
        report.error((), f"{named} can't be read as a folder of secrets: {error}", where=where)
        return {}


class Overrides:
    """What environment and secrets say of the tables. Applied as these grow: a decorator or the short form may declare
    the table that a variable names."""

    def __init__(self, sources: Sequence[Variables], tables: Tables) -> None:
        self._tables = tables
        self._sources = []
        for source in sources:
            if any(name.upper().startswith(_PREFIX) for name in source.values):
                # It costs start-up time that only those who use it pay.
                from eventbus_runtime.config.environment import EnvironmentSource

                self._sources.append((source, EnvironmentSource(source.values, tables)))

    def apply(self) -> None:
        """Put each variable that now has a place into it."""
        for source, variables in self._sources:
            for keys, found in variables().items():
                self._tables.override(keys, found.value, source.where + found.name, source.rank)

    def refuse_unknown(self, report: Report) -> None:
        """Report what never had one."""
        for source, variables in self._sources:
            for name in variables.pending:
                hint = did_you_mean(name.upper(), variables.known()) or "; it names no table and key of the file"
                report.error((), f"unknown variable{hint}", where=source.where + name)
