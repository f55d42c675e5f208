"""`eventbus render`: the files that deploy a bus and its worker."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from eventbus_runtime.cli.connect import choose_bus, told_in_one_line
from eventbus_runtime.config.loader import Loaded, load
from eventbus_runtime.config.sources import read_text
from eventbus_runtime.config.targets import MATRIX, cannot_run, target_problem
from eventbus_runtime.errors import ConfigError, Problem
from eventbus_runtime.provisioning.inputs import given
from eventbus_runtime.provisioning.render import render as rendered


def render(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write into; made where it is missing.")],
    target: Annotated[
        str | None, typer.Option(metavar="NAME", help="The deploy target; left out: the bus's deploy_target.")
    ] = None,
    bus: Annotated[str | None, typer.Option(metavar="NAME", help="The bus, where the file has several.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what set each input that is no default.")] = False,
) -> None:
    """Write the files that deploy a bus, and the worker that runs FILE, on a target.

    Nothing is written where anything speaks against it. No file holds a secret: secrets are named.
    """
    with told_in_one_line():
        loaded = load(file)
        name = choose_bus(loaded.config.buses, bus, file)
        wanted = target or loaded.config.buses[name].deploy_target
        if not wanted:
            raise ConfigError(f"{file}: buses.{name}.deploy_target is missing; write it, or give --target")
        _refuse_pair(loaded.config.buses[name].provider, wanted, file, name)
        _, text, _ = read_text(file, os.environ)
        found = rendered(loaded.config, name, wanted, text=text, where=str(file))
        for finding in found.findings:
            typer.echo(str(finding), err=True)
        _write(out, found.files)
        for left in sorted(path for path in out.glob("*.yaml") if path.name not in found.files):
            typer.echo(f"warning: {left} is there, too, and not of this; is it left of an earlier one?", err=True)
    if explain:
        for line in _explained(loaded, name):
            typer.echo(line)


def _refuse_pair(provider: str, target: str, file: Path, bus: str) -> None:
    if why := target_problem(provider, target, MATRIX.get(provider, (target,))):
        raise ConfigError(f"{file}: {why}")
    if why := cannot_run(provider):
        raise ConfigError([Problem(str(file), f"buses.{bus}.provider", why)])


def _write(out: Path, files: Mapping[str, str]) -> None:
    """All of them, or none: each is written beside its place, and only then put there."""
    drafts = {path: path.with_name(f"{path.name}.{os.getpid()}.tmp") for path in (out / name for name in files)}
    try:
        if folders := [str(path) for path in drafts if path.is_dir()]:
            raise ConfigError(f"--out {out}: can't be written: {folders[0]} is a folder")
        for (path, draft), text in zip(drafts.items(), files.values(), strict=True):
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(_with_what_is_there(path, text.encode()))
        for path, draft in drafts.items():
            draft.replace(path)
    except OSError as error:
        raise ConfigError(f"--out {out}: can't be written: {error}") from None
    finally:
        for draft in drafts.values():
            with suppress(OSError):
                draft.unlink()
    for path in drafts:
        typer.echo(str(path))


def _with_what_is_there(path: Path, text: bytes) -> bytes:
    """A .gitignore may be the user's, and keeps its lines; all else is ours."""
    if path.name != ".gitignore" or not path.is_file():
        return text
    there = path.read_bytes()
    missing = [line for line in text.splitlines(keepends=True) if line.strip() not in there.splitlines()]
    return there + (b"" if there.endswith(b"\n") or not there else b"\n") + b"".join(missing)


def _explained(loaded: Loaded, bus: str) -> Iterator[str]:
    for key, value in given(loaded.config, bus):
        yield f"{key} = {json.dumps(value)}  # {loaded.where(tuple(key.split('.')))}"
