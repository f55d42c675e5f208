"""Configurations as renderers get them."""

from __future__ import annotations

import tomllib
from typing import Any

import yaml

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.provisioning.findings import Finding, Level
from eventbus_runtime.provisioning.inputs import Inputs, resolve
from eventbus_runtime.provisioning.render import render, renderer
from tests.config.project import Project


def files_of(project: Project, toml: str, target: str, **environ: str) -> dict[str, str]:
    """What is written for a file that is loaded as the command does."""
    config = project.load(toml, environ=environ).config
    (bus,) = config.buses
    return dict(render(config, bus, target, text=toml, where="app.toml").files)


def config_of(toml: str) -> RuntimeConfig:
    """A file that leaves out no names."""
    return RuntimeConfig.model_validate(tomllib.loads(toml))


def inputs_of(toml: str, target: str = "kubernetes") -> Inputs:
    """The inputs of the first bus of a file that leaves out no names."""
    config = config_of(toml)
    bus = next(iter(config.buses))
    return resolve(config, bus, target, text=toml, where="app.toml")


def findings_of(toml: str, target: str = "kubernetes") -> list[Finding]:
    """What a target's renderer says of a file that leaves out no names."""
    return list(renderer(target).findings(inputs_of(toml, target)))


def said_of(toml: str, target: str, level: Level = Level.ERROR) -> list[str]:
    """Key and text of what is said of such a file."""
    return [f"{one.key}: {one.text}" for one in findings_of(toml, target) if one.level is level]


def put(spec: dict[str, Any], path: str, value: Any) -> None:
    """Another value at a path of keys and numbers; None: without it."""
    *folders, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    table: Any = spec
    for key in folders:
        table = table[key]
    if value is None:
        del table[last]
    else:
        table[last] = value


def documents_of(files: dict[str, str]) -> list[dict[str, Any]]:
    """The objects of YAML files."""
    return [one for text in files.values() for one in yaml.safe_load_all(text)]


def only(documents: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    """The object of a kind, and of a name where there are several."""
    (found,) = (one for one in documents if one["kind"] == kind and name in ("", one["metadata"]["name"]))
    return found
