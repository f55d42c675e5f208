"""Imports the user's code, which registers pipelines by being imported."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from itertools import count
from operator import attrgetter
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import eventbus_runtime
from eventbus_runtime.config.report import Report, did_you_mean
from eventbus_runtime.config.tables import Keys, Tables, texts
from eventbus_runtime.pipelines.registry import Registry, registrations

DEFAULT_FILE = "handlers.py"
_OURS = str(Path(eventbus_runtime.__file__).parent) + os.sep


class Imported(NamedTuple):
    """The user's code.

    Args:
        registry: what this code registered; None when something did not import, so that what it would have registered
            is not missed by name.
        modules: what was imported, by module name; a file by its path, and by its name without `.py`. What is imported
            later is added.
    """

    registry: Registry | None
    modules: dict[str, ModuleType]


def import_user_code(tables: Tables, folder: Path, report: Report) -> Imported:
    """Import what `runtime.imports` names, modules or files relative to `folder`, else `handlers.py` if it is there."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    named = tables.get("runtime", "imports")
    if named is None and (folder / DEFAULT_FILE).is_file():
        named = [DEFAULT_FILE]
        tables.fill(("runtime", "imports"), named, ())
    modules: dict[str, ModuleType] = {}
    before, is_whole = len(registrations()), True
    for at, entry in enumerate(texts(named)):
        keys = ("runtime", "imports") if ("runtime", "imports") in tables.filled else ("runtime", "imports", at)
        module = _import(entry, folder, keys, report)
        if module is None:
            is_whole = False
        else:
            modules[_key(entry, folder)] = module
            if _is_file(entry):
                modules[Path(entry).stem] = module
    if not is_whole:
        return Imported(None, modules)
    new = {each.module for each in registrations()[before:]}
    registry = Registry.select(new | _reached(modules.values()) | {"__main__"})
    for problem in registry.problems:
        report.add(problem)
    return Imported(registry, modules)


def _reached(modules: Iterable[ModuleType]) -> set[str]:
    """The modules with registrations that these modules lead to. Those that an earlier configuration of this process
    imported are not run again, so that they do not show as new; and what belongs to it alone is not ours."""
    registered = {each.module for each in registrations()}
    waiting = list(modules)
    packages = {_package(name) for name in (*registered, *(module.__name__ for module in waiting))}
    reached: dict[str, ModuleType] = {}
    while waiting:
        module = waiting.pop()
        if module.__name__ in reached or _package(module.__name__) not in packages:
            continue
        reached[module.__name__] = module
        for value in list(vars(module).values()):
            if isinstance(value, ModuleType):
                waiting.append(value)
            elif isinstance(value, FunctionType | type) and value.__module__ in sys.modules:
                waiting.append(sys.modules[value.__module__])
    return registered & set(reached)


def _package(module: str) -> str:
    return module.partition(".")[0]


def import_listeners(tables: Tables, folder: Path, modules: dict[str, ModuleType], report: Report) -> tuple[Any, ...]:
    """The objects that `runtime.listeners` names, as `package.module:name`; a class is called without arguments.

    Args:
        tables: the tables.
        folder: what files are relative to.
        modules: what was imported already, so that no file is run a second time under another name.
        report: takes what does not import, or is no listener.
    """
    found = []
    for at, entry in enumerate(texts(tables.get("runtime", "listeners"))):
        keys: Keys = ("runtime", "listeners", at)
        for listener in find_object(entry, folder, modules, keys, report):
            try:
                found.append(listener() if isinstance(listener, type) else listener)
            except Exception as error:  # noqa: BLE001 - whatever the user's code raises is the user's to see
                report.error(keys, f"{entry}: {_told(error)}")
                continue
            if not callable(getattr(found[-1], "on_fact", None)):
                report.error(keys, f"{entry} has no method on_fact(fact)")
    return tuple(found)


def find_object(
    entry: str, folder: Path, modules: dict[str, ModuleType], keys: Keys, report: Report
) -> tuple[Any, ...]:
    """The object that `package.module:name` names; none where it is not found, which is reported.

    Args:
        entry: the text.
        folder, modules, report: as above.
        keys: where it stands.
    """
    name, _, path = entry.partition(":")
    if not name or not path:
        report.error(keys, f'"{entry}" names no object; expected "package.module:name"')
        return ()
    key = _key(name, folder)
    module = modules.get(key) or _import(name, folder, keys, report)
    if module is None:
        return ()
    modules[key] = module
    try:
        return (attrgetter(path)(module),)
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises is the user's to see
        near = did_you_mean(path, [each for each in vars(module) if not each.startswith("_")])
        report.error(keys, f"{entry}: {_told(error)}{near}")
        return ()


def _is_file(entry: str) -> bool:
    return entry.endswith(".py") or "/" in entry


def _path(entry: str, folder: Path) -> Path:
    return folder / Path(entry).expanduser()


def _key(entry: str, folder: Path) -> str:
    return str(_path(entry, folder).resolve()) if _is_file(entry) else entry


def _import(entry: str, folder: Path, keys: Keys, report: Report) -> ModuleType | None:
    is_file = _is_file(entry)
    path = _path(entry, folder)
    if is_file and not path.is_file():
        report.error(keys, f"there is no file {path}")
        return None
    try:
        return _import_file(path) if is_file else importlib.import_module(entry)
    except ModuleNotFoundError as error:
        # Missing is either the module that was named or its package; what it imports in turn is the user's error.
        if error.name and f"{entry}.".startswith(f"{error.name}."):
            report.error(keys, f'there is no module {error.name}; a file is written "./{entry.split(".")[-1]}.py"')
        else:
            report.error(keys, f"{entry} does not import: {_told(error)}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is the user's to see
        report.error(keys, f"{entry} does not import: {_told(error)}")
    return None


def _import_file(path: Path) -> ModuleType:
    """Run a file as a module of a name that no other load has, so that two configurations never share one."""
    taken = {*sys.modules, *(each.module for each in registrations())}
    name = next(name for name in (f"eventbus_file_{path.stem}_{number}" for number in count(1)) if name not in taken)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _told(error: BaseException) -> str:
    """An error in a line, and below it the frames of the user's code, as Python would show them."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_OURS, "<frozen importlib"))
    ]
    libraries = tuple(sysconfig.get_path(kind) + os.sep for kind in ("stdlib", "purelib", "platlib"))
    own = [frame for frame in frames if not frame.filename.startswith(libraries)] or frames
    # A syntax error's own lines say where it is: they come first, its name last.
    *place, line = "".join(traceback.format_exception_only(error)).rstrip().split("\n")
    if not isinstance(error, SyntaxError):
        line, place = "\n".join([*place, line]), []
    return "\n".join([line, *"".join(traceback.format_list(own)).splitlines(), *place])
