"""The folder that a host expects: a launcher of the plugin's name, and plugin.json."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from pathlib import Path

from eventbus_runtime.plugin import describe
from eventbus_runtime.plugin.failures import PluginError

_MARK = "written by `eventbus-plugin install`"
_MANIFEST = "plugin.json"


def install(folder: Path, *, force: bool = False) -> list[Path]:
    """Write `FOLDER/workflow-plugin-eventbus`, or bring it up to date.

    Args:
        folder: the host's folder of plugins; made where it is not there.
        force: replace a launcher and a plugin.json that are not ours.

    Returns:
        The files that were written.

    Raises:
        PluginError: somebody else's files are there, or nothing can be written.
    """
    if os.name == "nt":
        raise PluginError("the launcher is a shell script, which Windows does not run; start eventbus-plugin by hand")
    home = folder / describe.NAME
    launcher, manifest = home / describe.NAME, home / _MANIFEST
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not force:
            for path in (launcher, manifest):
                if path.exists() and _MARK not in path.read_text("utf-8", "replace"):
                    raise PluginError(f"{path} is there, and not ours: move it away, or replace it with --force")
        _write(launcher, _launcher(), 0o755)
        _write(manifest, json.dumps(_manifest(), indent=2) + "\n", 0o644)
    except OSError as error:
        raise PluginError(f"can't write {home}: {error}") from None
    return [launcher, manifest]


def _launcher() -> str:
    # `exec`, so that the host is the parent of the plugin itself; -P, so that nothing in the host's folder is imported.
    python = shlex.quote(sys.executable)
    return f"""#!/bin/sh
# {_MARK}
python={python}
if [ ! -x "$python" ]; then
    echo "$python is gone: install eventbus-runtime[rpc] again, and run its eventbus-plugin install anew" >&2
    exit 1
fi
exec "$python" -P -m eventbus_runtime.plugin "$@"
"""


def _manifest() -> dict[str, object]:
    return {
        "name": describe.NAME,
        "version": describe.plugin_version(),
        "author": describe.AUTHOR,
        "description": describe.DESCRIPTION,
        "type": "external",
        "minEngineVersion": describe.ENGINE,
        "keywords": ["eventbus", "nats", "jetstream", _MARK],
        "capabilities": {
            "moduleTypes": list(describe.MODULE_TYPES),
            "stepTypes": list(describe.STEP_TYPES),
            "triggerTypes": list(describe.TRIGGER_TYPES),
        },
        "contracts": [],
    }


def _write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all: a host may start it at any moment."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
