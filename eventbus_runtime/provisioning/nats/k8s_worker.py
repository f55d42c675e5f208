"""The worker on Kubernetes: the user's file in a ConfigMap, a Deployment that runs it, a Service for its metrics."""

from __future__ import annotations

from eventbus_runtime.provisioning.inputs import Inputs, Worker
from eventbus_runtime.provisioning.nats import conf
from eventbus_runtime.provisioning.nats.k8s_objects import (
    Body,
    container_security,
    described,
    pod_metadata,
    pod_security,
    probe,
    resources,
    secret_volume,
    worker_selector,
)
from eventbus_runtime.provisioning.renderer import Manifest
from eventbus_runtime.provisioning.worker import CONFIG, config_path, variables

_SECRETS = "/etc/eventbus-creds"
_AFTER_DRAIN = 10
"""Seconds that a pod gets after the time that its handlers have: to settle, and to close."""


def worker_manifests(inputs: Inputs) -> list[Manifest]:
    """All objects of the worker; none where `[deploy.worker]` names no image."""
    worker = inputs.worker
    if worker is None:
        return []
    config, selector = f"{worker.name}-config", worker_selector(worker.name)
    text = {**described("v1", "ConfigMap", config, inputs, selector), "data": {CONFIG: inputs.text}}
    service = {
        **described("v1", "Service", worker.name, inputs, selector),
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [{"name": "http", "port": worker.http, "targetPort": "http"}],
        },
    }
    return [
        Manifest("infra.k8s.config_map", config, text),
        Manifest("infra.k8s.deployment", worker.name, _deployment(inputs, worker)),
        Manifest("infra.k8s.service", worker.name, service),
    ]


def _deployment(inputs: Inputs, worker: Worker) -> Body:
    selector = worker_selector(worker.name)
    volumes: list[Body] = [
        {"name": "config", "configMap": {"name": f"{worker.name}-config"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if worker.creds:
        volumes.append(secret_volume("creds", worker.creds))
    pod = {
        "terminationGracePeriodSeconds": worker.drain + _AFTER_DRAIN,
        "enableServiceLinks": False,  # their variables begin with the names of Services: EVENTBUS_… may be among them
        "automountServiceAccountToken": False,
        "securityContext": pod_security(),
        "containers": [_container(inputs, worker)],
        "volumes": volumes,
    }
    spec = {
        "replicas": worker.replicas,
        # A new one is ready before an old one goes.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": selector},
        "template": {"metadata": pod_metadata(inputs, selector, inputs.text), "spec": pod},
    }
    return {**described("apps/v1", "Deployment", worker.name, inputs, selector), "spec": spec}


def _container(inputs: Inputs, worker: Worker) -> Body:
    path = config_path(worker)
    # By subPath, since a whole volume would hide the handlers beside it. Such a file never changes while the pod lives.
    mounts: list[Body] = [
        {"name": "config", "mountPath": path, "subPath": CONFIG, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    if worker.creds:
        mounts.append({"name": "creds", "mountPath": _SECRETS, "readOnly": True})
    environment = variables(
        inputs,
        worker,
        address=f"nats://{inputs.bus}:{conf.CLIENTS}",
        creds=f"{_SECRETS}/nats.creds" if worker.creds else "",
    )
    return {
        "name": "worker",
        "image": worker.image,
        "command": ["eventbus-run", path],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [{"name": "http", "containerPort": worker.http}],
        "startupProbe": probe("/livez", "http", period=2, failures=30),
        "readinessProbe": probe("/readyz", "http", period=5, failures=3),
        "livenessProbe": probe("/livez", "http", period=10, failures=3),
        "resources": resources(worker.cpu, worker.memory),
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }
