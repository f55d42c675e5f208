"""Pipelines made of steps: declared beside those that the user's code registers, with the functions that they call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from pydantic import ValidationError

from eventbus_runtime.config.imports import Imported, find_object
from eventbus_runtime.config.report import Report, did_you_mean, listed
from eventbus_runtime.config.steps import AckEntry, CallEntry, ConsumeEntry, Entry, PipelineConfig
from eventbus_runtime.config.tables import Keys, Tables
from eventbus_runtime.pipelines.binding import read_plan
from eventbus_runtime.pipelines.registry import Registration, Registry, origin


def declare_pipelines(tables: Tables, imported: Imported, folder: Path, report: Report) -> None:
    """Add each `[pipelines.NAME]` to the registry's pipelines, with the functions that it calls.

    Args:
        tables: the tables.
        imported: the user's code. Where that did not import, nothing is added.
        folder: what files are relative to.
        report: takes what can't be found. A pipeline that is not well-formed is added without steps; the models tell.
    """
    registry, modules = imported
    if registry is None:
        return
    declared = tables.get("pipelines")
    for name, table in declared.items() if isinstance(declared, dict) else ():
        keys = ("pipelines", name)
        registered = registry.pipelines.get(name)
        if registered is not None:
            report.error(keys, f"a pipeline of this name is registered at {registered.where} too; rename one of them")
            continue
        try:
            steps = PipelineConfig.model_validate(table).steps
        except ValidationError:
            steps = ()
        calls = {}
        for at, entry in enumerate(steps):
            if isinstance(entry, CallEntry):
                place: Keys = (*keys, "steps", at, "call")
                function = _function(entry.call, registry, folder, modules, place, report)
                if function is not None:
                    module, where = origin(function)
                    label = f"pipelines.{name}.steps[{at}].call"
                    calls[at] = Registration("call", label, function, module, where, MappingProxyType({}))
        settings = MappingProxyType({"steps": steps, "calls": calls})
        registry.pipelines[name] = Registration("steps", name, _no_function, "", f"[pipelines.{name}]", settings)


def _no_function() -> None:
    """What a pipeline of steps has for a function: its steps are in its settings."""


def _function(
    entry: str, registry: Registry, folder: Path, modules: dict[str, ModuleType], keys: Keys, report: Report
) -> Callable[..., Any] | None:
    if ":" not in entry:
        registered = registry.pipelines.get(entry)
        if registered is not None and registered.kind == "pipeline":
            return registered.function
        near = did_you_mean(entry, registry.pipelines)
        report.error(keys, f'no pipeline is registered as "{entry}"{near}; a function is named as "module:function"')
        return None
    for found in find_object(entry, folder, modules, keys, report):
        if callable(found) and not inspect.isclass(found):
            return found  # type: ignore[no-any-return]  # it is whatever the user's module holds
        report.error(keys, f"{entry} is no function, but {type(found).__name__}")
    return None


def check_pipelines(tables: Tables, registry: Registry, report: Report) -> None:
    """Report what the steps of a pipeline name and nothing bears, and triggers that could never settle by them."""
    for name, registration in registry.pipelines.items():
        if registration.kind == "steps":
            _check_steps(tables, name, registration, registry, report)


def _check_steps(tables: Tables, name: str, registration: Registration, registry: Registry, report: Report) -> None:
    steps: Sequence[Entry] = registration.settings["steps"]
    calls: Mapping[int, Registration] = registration.settings["calls"]
    triggers = {each: table for each, table in tables.section("triggers").items() if table.get("pipeline") == name}
    buses = {table["bus"]: trigger for trigger, table in triggers.items() if isinstance(table.get("bus"), str)}
    consumed, settles = False, not steps
    for at, entry in enumerate(steps):
        keys: Keys = ("pipelines", name, "steps", at)
        if isinstance(entry, ConsumeEntry):
            consumed = True
            _check_consumer(tables, entry.consume.consumer, buses, (*keys, "consume", "consumer"), report)
        elif isinstance(entry, AckEntry):
            settles = True
        elif at in calls:
            wants = {source.what for source in read_plan(calls[at], registry).sources}
            settles = settles or not wants.isdisjoint(("delivery", "step", "resource"))
            if "consumed" in wants and not consumed:
                report.error((*keys, "call"), "it wants a ConsumeResponse, and no consume step stands before it")
    for trigger, table in triggers.items():
        if table.get("ack") == "manual" and not settles:
            text = f'"manual", but no step of its pipeline {name} acknowledges: add {{ ack = {{}} }}, or take this out'
            report.error(("triggers", trigger, "ack"), text)


def _check_consumer(tables: Tables, wanted: str, buses: Mapping[str, str], keys: Keys, report: Report) -> None:
    consumers = tables.section("consumers")
    if wanted not in consumers:
        hint = did_you_mean(wanted, consumers) or f"; declare [consumers.{wanted}] with its stream"
        report.error(keys, f'there is no consumer "{wanted}"{hint}')
        return
    bus = tables.get("streams", str(consumers[wanted].get("stream")), "bus")
    others = [f"{trigger} ({each})" for each, trigger in buses.items() if bus is not None and each != bus]
    if others:
        report.error(
            keys, f"it is on the bus {bus}, and the pipeline runs on another for the triggers {listed(others)}"
        )
