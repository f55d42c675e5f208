"""What can't work on Kubernetes, and what to know."""

from __future__ import annotations

import re
from collections.abc import Iterator

from eventbus_runtime.provisioning import rules
from eventbus_runtime.provisioning.findings import Finding, error, note, warning
from eventbus_runtime.provisioning.inputs import Inputs, Worker
from eventbus_runtime.provisioning.nats.k8s_objects import OWN_LABELS, client_label, headless
from eventbus_runtime.provisioning.nats.nack import nack_findings
from eventbus_runtime.provisioning.nats.worker_rules import image_findings, name_findings

LONGEST = 52
"""Characters of a bus's name: a StatefulSet labels its pods with eleven more, and a label may have 63."""

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LEAST_CPU, _LEAST_MEMORY = 100, 128 * rules.MiB
_MOST_TEXT = 1 << 20  # of a ConfigMap, with all of its metadata (k8s.io/api/core/v1: MaxSecretSize)


def findings(inputs: Inputs, target: str) -> Iterator[Finding]:
    """All that is to say for a target that is Kubernetes; errors, warnings, notes.

    Args:
        inputs: the bus.
        target: its name, for what is said of it.
    """
    yield from rules.common(inputs, LONGEST)
    yield from _names(inputs)
    yield from _labels(inputs)
    yield from _auth(inputs)
    yield from _tiny(f"buses.{inputs.bus}.limits", inputs.cpu, inputs.memory)
    section = inputs.deploy.kubernetes
    if section.spread == "hard" and inputs.replicas > 1:
        text = f'{target}: replicas = {inputs.replicas} with spread = "hard" needs {inputs.replicas} nodes'
        yield note("deploy.kubernetes.spread", text)
    text = f'pods of other namespaces reach the bus only with the label {client_label(inputs)}: "true"'
    yield note("", text)
    if inputs.worker:
        yield from _worker(inputs, inputs.worker)
    else:
        yield note("deploy.worker.image", "missing, so that the bus alone is rendered, and no worker")
    if section.nack:
        yield from _nack(inputs)


def is_label_key(key: str) -> bool:
    """Whether a label can be called so: a name, and the domain of who it is of before it."""
    prefix, slash, name = key.rpartition("/")
    is_prefix = not slash or (len(prefix) <= 253 and SUBDOMAIN.fullmatch(prefix) is not None)
    return is_prefix and 0 < len(name) <= 63 and LABEL_VALUE.fullmatch(name) is not None


def is_label_value(value: str) -> bool:
    """Whether a label can have it."""
    return len(value) <= 63 and LABEL_VALUE.fullmatch(value) is not None


def is_nfs(storage_class: str) -> bool:
    """Whether a class is called so, as `efs-sc`, `aws-efs` and `nfs.csi.k8s.io`; but not `chefs`."""
    return re.search(r"(?<![a-z])[en]fs", storage_class) is not None


def _names(inputs: Inputs) -> Iterator[Finding]:
    section = inputs.deploy.kubernetes
    if not section.namespace:
        yield error("deploy.kubernetes.namespace", 'missing; give the namespace of all objects, as "shop"')
    elif len(section.namespace) > 63 or not _NAMESPACE.fullmatch(section.namespace):
        text = f"\"{section.namespace}\" can't be a namespace: lower case, digits and '-', at most 63 characters"
        yield error("deploy.kubernetes.namespace", text)
    if section.storage_class is not None and not _is_object_name(section.storage_class):
        text = f'"{section.storage_class}" can\'t be the name of a StorageClass; see kubectl get storageclass'
        yield error("deploy.kubernetes.storage_class", text)
    # Those that are made of the bus's name are as good as that. Not shown: who took it for the place of a secret wrote
    # one there.
    named = {
        "deploy.kubernetes.auth_secret": section.auth_secret,
        "deploy.worker.creds_secret": inputs.deploy.worker.creds_secret,
    }
    for key, name in named.items():
        if name and not _is_object_name(name):
            yield error(key, "is not the name of a Secret: lower case, digits, '-' and '.', at most 253 characters")


def _is_object_name(name: str) -> bool:
    return len(name) <= 253 and SUBDOMAIN.fullmatch(name) is not None


def _labels(inputs: Inputs) -> Iterator[Finding]:
    for key, value in inputs.deploy.kubernetes.labels.items():
        at = f"deploy.kubernetes.labels.{key}"
        if not is_label_key(key):
            yield error(at, "can't be a label: letters, digits, '-', '_' and '.', as \"team\" or \"shop.example/team\"")
        elif key in OWN_LABELS:
            yield error(at, "is set for each object, since selectors go by it; leave it out")
        if not is_label_value(value):
            yield error(at, f"\"{value}\" can't be the value of a label: letters, digits, '-', '_' and '.', at most 63")


def _auth(inputs: Inputs) -> Iterator[Finding]:
    if not inputs.auth:
        if inputs.deploy.kubernetes.reload == "sidecar":
            yield warning("deploy.kubernetes.reload", "sidecar has nothing to do without auth.conf; leave it out")
        text = "empty, so that who reaches the bus may read and delete all that it holds; name a Secret with auth.conf"
        yield warning("deploy.kubernetes.auth_secret", text)
    elif inputs.worker and not inputs.worker.creds:
        text = "empty, though the bus asks for credentials; name a Secret with nats.creds, or give others by variables"
        yield warning("deploy.worker.creds_secret", text)


def _tiny(at: str, cpu: int, memory: int) -> Iterator[Finding]:
    if 0 < cpu < _LEAST_CPU:
        yield warning(f"{at}.cpu", f"{cpu}m is hardly enough to answer the probes in time; give {_LEAST_CPU}m or more")
    if 0 < memory < _LEAST_MEMORY:
        text = f"{rules.in_units(memory)} is hardly enough to start; give {rules.in_units(_LEAST_MEMORY)} or more"
        yield warning(f"{at}.memory", text)


def _worker(inputs: Inputs, worker: Worker) -> Iterator[Finding]:
    if refused := list(name_findings(inputs.deploy.worker.name)):
        yield from refused
    elif worker.name in (inputs.bus, headless(inputs)):
        yield error("deploy.worker.name", f'"{worker.name}" is the name of a Service of the bus; use another')
    yield from image_findings(worker)
    if len(inputs.text.encode("utf-8", "surrogatepass")) > _MOST_TEXT * 0.9:
        yield error("", "the file is larger than a ConfigMap may be (1 MiB)")
    yield from _tiny("deploy.worker", worker.cpu, worker.memory)


def _nack(inputs: Inputs) -> Iterator[Finding]:
    yield from nack_findings(inputs)
    text = (
        "NACK needs --control-loop or --crd-connect, credentials of its own, and the label of a client; "
        "its objects are in streams.yaml"
    )
    yield note("deploy.kubernetes.nack", text)
    declared = [f"stream {name}" for name, one in inputs.streams.items() if one.declare]
    declared += [f"consumer {name}" for name, one in inputs.consumers.items() if one.declare]
    cure = (
        "set declare = false in the worker's file, and render NACK's objects from a file that declares it and names no "
        "deploy.worker.image"
    )
    for one in declared if inputs.worker else ():
        yield warning("deploy.kubernetes.nack", f"nack = true: {one} is also created by the worker; {cure}")
