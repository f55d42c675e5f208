"""How a worker that is deployed differs from one that is run by hand: by variables, never by its file."""

from __future__ import annotations

from eventbus_runtime.config.model import uri_variable
from eventbus_runtime.provisioning.inputs import Inputs, Worker

CONFIG = "config.toml"
"""Name of the user's file, wherever it is deployed."""


def config_path(worker: Worker) -> str:
    """Where the file is, in the image: beside the handlers, since its paths are relative to it."""
    return f"{worker.folder}/{CONFIG}"


def variables(inputs: Inputs, worker: Worker, *, address: str, creds: str) -> dict[str, str]:
    """The environment of a worker.

    Args:
        inputs: the bus.
        worker: whose.
        address: the bus's.
        creds: path of the credentials file; empty: it needs none.
    """
    bus = inputs.bus.upper().replace("-", "_").replace(".", "_")
    found = {
        uri_variable(inputs.bus): address,
        # On all addresses: probes come from outside, whatever the file says.
        "EVENTBUS__RUNTIME__HTTP": f":{worker.http}",
    }
    if creds:
        found[f"EVENTBUS__BUSES__{bus}__AUTH__CREDS"] = creds
    return found
