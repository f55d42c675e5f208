"""From file, environment, secrets, `--set` and decorators to one complete configuration, or to all mistakes at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from eventbus_runtime.config.calls import check_pipelines, declare_pipelines
from eventbus_runtime.config.checks import check_consumers, check_references, check_streams, check_triggers
from eventbus_runtime.config.connections import Variables, apply_addresses, check_connections
from eventbus_runtime.config.dead_letters import (
    DeadLetterRoute,
    complete_dead_letters,
    fill_dead_letters,
    read_dead_letter_routes,
)
from eventbus_runtime.config.explain import explain
from eventbus_runtime.config.imports import import_listeners, import_user_code
from eventbus_runtime.config.model import BusConfig, RuntimeConfig
from eventbus_runtime.config.not_yet import refuse_not_yet
from eventbus_runtime.config.overrides import apply_set
from eventbus_runtime.config.report import Report, did_you_mean, dotted
from eventbus_runtime.config.resolve import fill_bus, fill_triggers, merge_decorators
from eventbus_runtime.config.sources import Overrides, parse, read_secrets, read_text
from eventbus_runtime.config.tables import Keys, Rank, Tables
from eventbus_runtime.errors import Problem
from eventbus_runtime.events import Listener
from eventbus_runtime.pipelines.binding import check
from eventbus_runtime.pipelines.registry import Registry


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
        where: the place of a value, by its keys: `file:line`, a variable, `--set key`.
        arguments: those of `load`, as JSON holds them, so that another process can load the same; None: it was made in
            another way.
    """

    config: RuntimeConfig
    path: Path
    registry: Registry
    filled: tuple[tuple[str, object], ...] = ()
    warnings: tuple[Problem, ...] = ()
    dead_letter_streams: Mapping[str, str] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    where: Callable[[Keys], str] = field(default=lambda keys: "", repr=False)
    arguments: Mapping[str, Any] | None = field(default=None, repr=False)


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
    draft = _open(path, environ, secrets_dir)
    tables, report = draft.tables, draft.report
    apply_set(tables, overrides, report)
    draft.variables.apply()
    imported = import_user_code(tables, draft.folder, report)
    listeners = import_listeners(tables, draft.folder, imported.modules, report)
    declare_pipelines(tables, imported, draft.folder, report)
    registry = imported.registry or Registry(())
    dead_letter_streams = _complete(draft, registry, only)
    check_references(tables, imported.registry, report)
    _check(draft, registry)
    config = _validate(tables, report)
    return Loaded(
        config=complete_dead_letters(config, dead_letter_streams),
        path=Path(draft.name),
        registry=registry,
        filled=tuple((dotted(keys), value) for keys, value in tables.filled.items()),
        warnings=report.warnings,
        dead_letter_streams=MappingProxyType(dead_letter_streams),
        listeners=listeners,
        where=report.where,
        arguments={
            "path": path and str(path.absolute()),
            "overrides": list(overrides),
            "environ": dict(environ),
            "secrets_dir": secrets_dir and str(secrets_dir.absolute()),
            "only": list(only),
        },
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
    draft = _open(path, environ, secrets_dir, sections=("buses",))
    _complete_buses(draft)
    return _validate(draft.tables, draft.report).buses


def load_dead_letters(
    path: Path | None, *, environ: Mapping[str, str] = os.environ, secrets_dir: Path | None = None
) -> tuple[Mapping[str, BusConfig], tuple[DeadLetterRoute, ...]]:
    """Read the buses, and where the triggers' dead letters go; as `load_buses`, for who has not the user's code. Of a
    trigger that only `@subscribe` declares, nothing is known then.

    Args:
        path, environ, secrets_dir: as in `load`.

    Raises:
        ConfigError: every mistake that was found in the buses, and in what tells where dead letters go.
    """
    sections = ("streams", "consumers", "triggers")
    draft = _open(path, environ, secrets_dir, sections=("buses", *sections))
    _complete_buses(draft)
    # What is not complete without the code is no mistake here.
    fill_triggers(draft.tables, Report(draft.name, "", {}))
    draft.variables.apply()
    routes = read_dead_letter_routes(draft.tables, draft.report)
    for section in sections:
        draft.tables.data.pop(section, None)
    return _validate(draft.tables, draft.report).buses, routes


def load_consumers(
    path: Path | None, *, environ: Mapping[str, str] = os.environ, secrets_dir: Path | None = None
) -> tuple[Mapping[str, BusConfig], Mapping[str, tuple[str, str]]]:
    """Read the buses, and of each declared consumer the bus and the stream; as `load_buses`, for who has not the user's
    code. What only `@subscribe` declares is not known then.

    Args:
        path, environ, secrets_dir: as in `load`.

    Raises:
        ConfigError: every mistake that was found in the buses.
    """
    sections = ("streams", "consumers", "triggers")
    draft = _open(path, environ, secrets_dir, sections=("buses", *sections))
    _complete_buses(draft)
    tables = draft.tables
    fill_triggers(tables, Report(draft.name, "", {}))  # what is not complete without the code is no mistake here
    draft.variables.apply()
    placed = {}
    for name, consumer in tables.section("consumers").items():
        stream = str(consumer.get("stream"))
        bus = tables.get("streams", stream, "bus")
        if isinstance(bus, str):
            placed[name] = bus, stream
    for section in sections:
        tables.data.pop(section, None)
    return _validate(tables, draft.report).buses, placed


def _complete_buses(draft: _Draft) -> None:
    fill_bus(draft.tables)
    draft.variables.apply()
    apply_addresses(draft.tables, draft.sources)
    check_connections(draft.tables, draft.folder, draft.report)


@dataclass(frozen=True)
class _Draft:
    """A configuration in the making."""

    name: str
    folder: Path
    tables: Tables
    report: Report
    sources: Sequence[Variables]
    variables: Overrides


def _open(
    path: Path | None, environ: Mapping[str, str], secrets_dir: Path | None, sections: Sequence[str] = ()
) -> _Draft:
    """Read all sources. `sections`: the only tables of the file that count; empty: all."""
    name, text, folder = read_text(path, environ)
    data = parse(name, text)
    tables = Tables({key: data[key] for key in data if not sections or key in sections})
    report = Report(name, text, tables.origins)
    secrets = read_secrets(secrets_dir, environ, report)
    sources = (Variables(environ, Rank.ENVIRONMENT), Variables(secrets, Rank.SECRETS, "secret "))
    return _Draft(name, folder, tables, report, sources, Overrides(sources, tables))


def _complete(draft: _Draft, registry: Registry, only: Sequence[str]) -> dict[str, str]:
    """Add what decorators, variables and the short form declare; returns the dead-letter streams filled in."""
    tables, report = draft.tables, draft.report
    merge_decorators(tables, registry, report)
    fill_bus(tables)
    apply_addresses(tables, draft.sources)
    # What decorators declare may be overridden before it is built upon, and what the short form declares after.
    draft.variables.apply()
    _enable_only(tables, only, report)
    fill_triggers(tables, report)
    dead_letter_streams = fill_dead_letters(tables, report)
    draft.variables.apply()
    draft.variables.refuse_unknown(report)
    return dead_letter_streams


def _check(draft: _Draft, registry: Registry) -> None:
    tables, report = draft.tables, draft.report
    refuse_not_yet(tables, report)
    check_connections(tables, draft.folder, report)
    check_streams(tables, report)
    check_consumers(tables, report)
    check_triggers(tables, report)
    check_pipelines(tables, registry, report)
    enabled = [name for name, table in tables.section("triggers").items() if table.get("enabled") is not False]
    if not enabled and not registry.backgrounds:
        report.warning(("triggers",), "none is enabled, so that nothing will run; declare one as [triggers.NAME]")
    for group in (registry.pipelines, registry.resources, registry.backgrounds):
        for registration in group.values():
            for problem in check(registration, registry):
                report.add(problem)


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


def _validate(tables: Tables, report: Report) -> RuntimeConfig:
    try:
        config = RuntimeConfig.model_validate(tables.data)
    except ValidationError as error:
        explain(error, tables.data, report)
        report.raise_if_any()
        raise
    report.raise_if_any()
    return config
