"""From file, environment, secrets, `--set` and decorators to one complete configuration, or to all mistakes at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from eventbus_runtime.config.checks import check_consumers, check_references, check_streams, check_triggers
from eventbus_runtime.config.connections import Variables, apply_addresses, check_connections
from eventbus_runtime.config.dead_letters import complete_dead_letters, fill_dead_letters
from eventbus_runtime.config.explain import explain
from eventbus_runtime.config.imports import import_listeners, import_user_code
from eventbus_runtime.config.model import BusConfig, RuntimeConfig
from eventbus_runtime.config.not_yet import refuse_not_yet
from eventbus_runtime.config.overrides import apply_set
from eventbus_runtime.config.report import Report, did_you_mean, dotted
from eventbus_runtime.config.resolve import fill_bus, fill_triggers, merge_decorators
from eventbus_runtime.config.tables import Rank, Tables
from eventbus_runtime.errors import ConfigError, Problem
from eventbus_runtime.events import Listener
from eventbus_runtime.pipelines.binding import check
from eventbus_runtime.pipelines.registry import Registry

CONFIG_VARIABLE = "EVENTBUS_CONFIG"
SECRETS_VARIABLE = "EVENTBUS_SECRETS_DIR"
_PREFIX = "EVENTBUS__"


@dataclass(frozen=True)
class Loaded:
    """A configuration that can be run.

    Args:
        config: complete: every name that the short form leaves out is filled in, and every reference holds.
        path: the file, as it was named; for a text in EVENTBUS_CONFIG, that name in the working directory.
        registry: what the user's code registered.
        filled: what the short form left out: dotted key and value.
        warnings: what will hardly work as meant.
        dead_letter_streams: by trigger, the streams that were filled in for dead letters. One is needed only if no
            stream at the server stores the subject already.
        listeners: the objects that `runtime.listeners` names.
    """

    config: RuntimeConfig
    path: Path
    registry: Registry
    filled: tuple[tuple[str, object], ...] = ()
    warnings: tuple[Problem, ...] = ()
    dead_letter_streams: Mapping[str, str] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()


def load(
    path: Path | None,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    secrets_dir: Path | None = None,
    only: Sequence[str] = (),
) -> Loaded:
    """Read a configuration, import the user's code that it names, and check all of it; connects to nothing.

    Args:
        path: the file; None: what EVENTBUS_CONFIG holds, a path or the whole text.
        overrides: `a.b.c=value`, stronger than all else; values are read as TOML, else as text.
        environ: variables; `EVENTBUS__…` beats secrets and the file.
        secrets_dir: folder of files named like variables; None: what EVENTBUS_SECRETS_DIR names.
        only: the triggers to enable; empty: as the file says.

    Raises:
        ConfigError: every mistake that was found, each with its place.
    """
    name, text, folder = _read(path, environ)
    tables = Tables(_parse(name, text))
    report = Report(name, text, tables.origins)
    secrets = _read_secrets(secrets_dir, environ, report)
    sources = (Variables(environ, Rank.ENVIRONMENT), Variables(secrets, Rank.SECRETS, "secret "))

    apply_set(tables, overrides, report)
    variables = _Sources(sources, tables)
    variables.apply()
    imported = import_user_code(tables, folder, report)
    listeners = import_listeners(tables, folder, imported.modules, report)
    registry = imported.registry or Registry(())
    merge_decorators(tables, registry, report)
    fill_bus(tables)
    apply_addresses(tables, sources)
    variables.apply()
    _enable_only(tables, only, report)
    fill_triggers(tables, report)
    dead_letter_streams = fill_dead_letters(tables, report)
    variables.apply()
    variables.refuse_unknown(report)

    refuse_not_yet(tables, report)
    check_connections(tables, folder, report)
    check_references(tables, imported.registry, report)
    check_streams(tables, report)
    check_consumers(tables, report)
    check_triggers(tables, report)
    _check_bindings(registry, report)
    config = _validate(tables, report)
    return Loaded(
        config=complete_dead_letters(config, dead_letter_streams),
        path=Path(name),
        registry=registry,
        filled=tuple((dotted(keys), value) for keys, value in tables.filled.items()),
        warnings=report.warnings,
        dead_letter_streams=MappingProxyType(dead_letter_streams),
        listeners=listeners,
    )


def load_buses(
    path: Path | None, *, environ: Mapping[str, str] = os.environ, secrets_dir: Path | None = None
) -> Mapping[str, BusConfig]:
    """Read only the buses of a configuration, for commands that talk to them and run nothing: the user's code is not
    imported, and mistakes in other tables do not matter. An address may be missing (`require_addresses`).

    Args:
        path, environ, secrets_dir: as in `load`.

    Raises:
        ConfigError: every mistake that was found in the buses, each with its place.
    """
    name, text, folder = _read(path, environ)
    tables = Tables({key: table for key, table in _parse(name, text).items() if key == "buses"})
    report = Report(name, text, tables.origins)
    secrets = _read_secrets(secrets_dir, environ, report)
    sources = (Variables(environ, Rank.ENVIRONMENT), Variables(secrets, Rank.SECRETS, "secret "))
    fill_bus(tables)
    _Sources(sources, tables).apply()
    apply_addresses(tables, sources)
    check_connections(tables, folder, report)
    return _validate(tables, report).buses


def _read(path: Path | None, environ: Mapping[str, str]) -> tuple[str, str, Path]:
    """What the text is called in errors, the text, and the folder that its paths are relative to."""
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


def _parse(name: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The place stands only in the text of the error.
        message, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+), column (\d+)", place)
        line, column = found.groups() if found else (str(text.count("\n") + 1), "")
        where = f"{name}:{line}" + (f":{column}" if column else "")
        raise ConfigError([Problem(where, "", f"is not TOML: {message[:1].lower()}{message[1:]}")]) from None


def _read_secrets(folder: Path | None, environ: Mapping[str, str], report: Report) -> dict[str, str]:
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


class _Sources:
    """The variables of environment and secrets, applied as the tables grow: a decorator or the short form may declare
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
        for source, variables in self._sources:
            for keys, found in variables().items():
                self._tables.override(keys, found.value, source.where + found.name, source.rank)

    def refuse_unknown(self, report: Report) -> None:
        for source, variables in self._sources:
            for name in variables.pending:
                hint = did_you_mean(name.upper(), variables.known()) or "; it names no table and key of the file"
                report.error((), f"unknown variable{hint}", where=source.where + name)


def _enable_only(tables: Tables, only: Sequence[str], report: Report) -> None:
    triggers = tables.section("triggers")
    for name in only:
        if name not in triggers:
            hint = did_you_mean(name, triggers) or f"; declared: {', '.join(triggers) or 'none'}"
            report.error((), f'there is no trigger "{name}"{hint}', where="--only")
        elif triggers[name].get("enabled") is False:
            report.error(("triggers", name, "enabled"), "false, so that --only can't run it; take enabled out")
    for name in triggers if only else ():
        if name not in only:
            tables.override(("triggers", name, "enabled"), False, "--only", Rank.SET)


def _check_bindings(registry: Registry, report: Report) -> None:
    for group in (registry.pipelines, registry.resources, registry.backgrounds):
        for registration in group.values():
            for problem in check(registration, registry):
                report.add(problem)


def _validate(tables: Tables, report: Report) -> RuntimeConfig:
    try:
        config = RuntimeConfig.model_validate(tables.data)
    except ValidationError as error:
        explain(error, tables.data, report)
        report.raise_if_any()
        raise
    report.raise_if_any()
    return config
