"""What all objects of Kubernetes have in common: metadata, resources, probes, security."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, TypeAlias

from eventbus_runtime.provisioning.inputs import Inputs

Body: TypeAlias = dict[str, Any]
"""An object, or a part of one."""

NAME, INSTANCE, PART_OF, MANAGED_BY = (
    f"app.kubernetes.io/{key}" for key in ("name", "instance", "part-of", "managed-by")
)
OWN_LABELS = (NAME, INSTANCE, PART_OF, MANAGED_BY)
"""The labels that we set on each object, which the user's can't replace: selectors go by them."""

USER = 1000
"""User and group of all processes; the volumes are theirs, too."""

_GiB, _MiB = 1 << 30, 1 << 20


def headless(inputs: Inputs) -> str:
    """Name of the Service that gives each server a name of its own."""
    return f"{inputs.bus}-headless"


def client_label(inputs: Inputs) -> str:
    """Label, of value "true", by which pods of other namespaces may reach the bus."""
    return f"{inputs.bus}-client"


def namespace(inputs: Inputs) -> str:
    """Where all objects are; a missing one is refused before anything is written."""
    return inputs.deploy.kubernetes.namespace or "default"


def bus_selector(inputs: Inputs) -> dict[str, str]:
    """Labels that only the servers' pods have."""
    return {NAME: "nats", INSTANCE: inputs.bus}


def worker_selector(name: str) -> dict[str, str]:
    """Labels that only the worker's pods have."""
    return {NAME: "eventbus-worker", INSTANCE: name}


def labels(inputs: Inputs, selector: dict[str, str]) -> dict[str, str]:
    """All labels of an object. None changes with a version: those of a claim template can't be changed."""
    ours = {**selector, PART_OF: inputs.bus, MANAGED_BY: "eventbus-runtime"}
    return {**inputs.deploy.kubernetes.labels, **ours}


def described(
    version: str, kind: str, name: str, inputs: Inputs, selector: dict[str, str], *, namespaced: bool = True
) -> Body:
    """Kind and metadata of an object; the rest is added to it.

    Args:
        version: apiVersion.
        kind: as `Service`.
        name: of the object.
        inputs: the bus.
        selector: labels of what it belongs to.
        namespaced: false for what a cluster has once.
    """
    where = {"namespace": namespace(inputs)} if namespaced else {}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, **where, "labels": labels(inputs, selector)},
    }


def pod_metadata(inputs: Inputs, selector: dict[str, str], config: str) -> Body:
    """Metadata of a pod template. The configuration's hash makes a change of it a rollout."""
    return {
        "labels": labels(inputs, selector),
        "annotations": {"checksum/config": sha256(config.encode("utf-8", "surrogatepass")).hexdigest()},
    }


def resources(cpu: int, memory: int) -> Body:
    """What a container gets: as much as it may use, so that nothing else can take it away."""
    amounts = {"cpu": f"{cpu}m" if cpu % 1000 else str(cpu // 1000), "memory": size(memory)}
    return {"requests": amounts, "limits": dict(amounts)}


def size(amount: int) -> str:
    """Bytes, as a quantity."""
    for unit, scale in (("Gi", _GiB), ("Mi", _MiB)):
        if amount and amount % scale == 0:
            return f"{amount // scale}{unit}"
    return str(amount)


def probe(path: str, port: str, *, period: int, failures: int) -> Body:
    """A probe over HTTP; `period` in seconds."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def pod_security() -> Body:
    """The securityContext of a pod. Volumes become ours once, not file by file at each start."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Body:
    """The securityContext of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def secret_volume(name: str, secret: str) -> Body:
    """A volume with the files of a Secret, which only our group reads."""
    return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}}
