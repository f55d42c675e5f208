"""The bus on Kubernetes: a StatefulSet of nats-servers, and what is around it (PROVISIONING section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventbus_runtime.provisioning.inputs import Inputs
from eventbus_runtime.provisioning.nats import conf
from eventbus_runtime.provisioning.nats.k8s_objects import (
    NAME,
    Body,
    bus_selector,
    client_label,
    container_security,
    described,
    headless,
    labels,
    pod_metadata,
    pod_security,
    probe,
    resources,
    secret_volume,
    size,
)
from eventbus_runtime.provisioning.renderer import Manifest

_CONFIG, _AUTH, _PID, _DATA = "config", "auth", "pid", "js"
_FOLDER = "/etc/nats-config"
_RELOADER = "natsio/nats-server-config-reloader:0.23.0"
_PORTS = {"nats": conf.CLIENTS, "cluster": conf.ROUTES, "monitor": conf.MONITOR}


def server_conf(inputs: Inputs) -> str:
    """The nats.conf of all servers. Routes begin with the pod's name, which is the server's: KEDA asks by it."""
    hosts = [f"{inputs.bus}-{number}.{headless(inputs)}" for number in range(inputs.replicas)]
    return conf.nats_conf(inputs, hosts=hosts, include="auth/auth.conf" if inputs.auth else "")


def bus_manifests(inputs: Inputs, storage_class: str, zones: Sequence[str] | None = None) -> list[Manifest]:
    """All objects of the bus.

    Args:
        inputs: the bus.
        storage_class: of the volumes; empty: the cluster's default.
        zones: where the nodes are; empty: not known. None: servers are not spread over zones.
    """
    text = server_conf(inputs)
    return [
        Manifest("infra.k8s.config_map", f"{inputs.bus}-config", _config_map(inputs, text)),
        Manifest("infra.k8s.service", headless(inputs), _headless(inputs)),
        Manifest("infra.k8s.service", inputs.bus, _service(inputs)),
        Manifest("infra.k8s.statefulset", inputs.bus, _stateful_set(inputs, text, storage_class, zones)),
        Manifest("infra.k8s.pod_disruption_budget", inputs.bus, _disruption_budget(inputs)),
        Manifest("infra.k8s.network_policy", inputs.bus, _network_policy(inputs)),
    ]


def _object(inputs: Inputs, version: str, kind: str, name: str) -> Body:
    return described(version, kind, name, inputs, bus_selector(inputs))


def _config_map(inputs: Inputs, text: str) -> Body:
    return {**_object(inputs, "v1", "ConfigMap", f"{inputs.bus}-config"), "data": {"nats.conf": text}}


def _headless(inputs: Inputs) -> Body:
    spec = {
        "clusterIP": "None",
        # Routes must resolve before a server is ready: it is not, until it has found the others.
        "publishNotReadyAddresses": True,
        "selector": bus_selector(inputs),
        "ports": [{"name": name, "port": port, "targetPort": name} for name, port in _PORTS.items()],
    }
    return {**_object(inputs, "v1", "Service", headless(inputs)), "spec": spec}


def _service(inputs: Inputs) -> Body:
    spec = {
        "type": "ClusterIP",
        "selector": bus_selector(inputs),
        "ports": [{"name": "nats", "port": conf.CLIENTS, "targetPort": "nats"}],
    }
    return {**_object(inputs, "v1", "Service", inputs.bus), "spec": spec}


def _stateful_set(inputs: Inputs, text: str, storage_class: str, zones: Sequence[str] | None) -> Body:
    selector = bus_selector(inputs)
    spec: Body = {
        "replicas": inputs.replicas,
        "serviceName": headless(inputs),
        # All at once: in order, the first would wait to be healthy, and be healthy only once a quorum is up.
        "podManagementPolicy": "Parallel",
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "selector": {"matchLabels": selector},
        "template": {"metadata": pod_metadata(inputs, selector, text), "spec": _pod(inputs, zones)},
    }
    if inputs.jetstream:
        spec["volumeClaimTemplates"] = [_claim(inputs, storage_class)]
    return {**_object(inputs, "apps/v1", "StatefulSet", inputs.bus), "spec": spec}


def _pod(inputs: Inputs, zones: Sequence[str] | None) -> Body:
    volumes: list[Body] = [{"name": _CONFIG, "configMap": {"name": f"{inputs.bus}-config"}}]
    if inputs.auth:
        volumes.append(secret_volume(_AUTH, inputs.auth))
    volumes.append({"name": _PID, "emptyDir": {}})
    reloads = inputs.auth and inputs.deploy.kubernetes.reload == "sidecar"
    return {
        **({"shareProcessNamespace": True} if reloads else {}),
        "terminationGracePeriodSeconds": conf.STOP,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": pod_security(),
        "topologySpreadConstraints": _spread(inputs, zones),
        "containers": [_container(inputs), *([_reloader(inputs)] if reloads else [])],
        "volumes": volumes,
    }


def _spread(inputs: Inputs, zones: Sequence[str] | None) -> list[Body]:
    is_hard = inputs.deploy.kubernetes.spread == "hard"
    # Without minDomains, "no more than one apart" lets all servers be on the only node that there is.
    nodes = {"minDomains": inputs.replicas} if is_hard else {}
    found = [_apart(inputs, "kubernetes.io/hostname", "DoNotSchedule" if is_hard else "ScheduleAnyway", nodes)]
    if zones is not None:
        least = {"minDomains": min(len(zones), inputs.replicas)} if is_hard and zones else {}
        found.append(_apart(inputs, "topology.kubernetes.io/zone", "DoNotSchedule", least))
    return found


def _apart(inputs: Inputs, key: str, otherwise: str, more: dict[str, int]) -> Body:
    return {
        "maxSkew": 1,
        **more,
        "topologyKey": key,
        "whenUnsatisfiable": otherwise,
        "labelSelector": {"matchLabels": bus_selector(inputs)},
    }


def _mounts(inputs: Inputs) -> list[Body]:
    mounts: list[Body] = [{"name": _CONFIG, "mountPath": _FOLDER, "readOnly": True}]
    if inputs.auth:
        mounts.append({"name": _AUTH, "mountPath": f"{_FOLDER}/auth", "readOnly": True})
    mounts.append({"name": _PID, "mountPath": conf.PID_FILE.rpartition("/")[0]})
    return mounts


def _reloader(inputs: Inputs) -> Body:
    # It sends SIGHUP to the process of the pid file when the file changes; so they share their process ids. A change of
    # nats.conf is a rollout instead, since servers differ in what of it they can reload.
    return {
        "name": "reloader",
        "image": _RELOADER,
        "args": ["-pid", conf.PID_FILE, "-config", f"{_FOLDER}/auth/auth.conf"],
        "resources": resources(10, 32 << 20),
        "securityContext": container_security(),
        "volumeMounts": _mounts(inputs),
    }


def _container(inputs: Inputs) -> Body:
    mounts = _mounts(inputs)
    if inputs.jetstream:
        mounts.append({"name": _DATA, "mountPath": conf.STORE})
    return {
        "name": "nats",
        "image": f"nats:{inputs.version}-alpine",
        "args": ["--config", f"{_FOLDER}/nats.conf"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "SERVER_NAME", "value": "$(POD_NAME)"},
            {"name": "GOMEMLIMIT", "value": conf.go_memory_limit(inputs)},
        ],
        "ports": [{"name": name, "containerPort": port} for name, port in _PORTS.items()],
        # Clients are told to go elsewhere, a few at a time. The TERM that follows at once is ignored meanwhile.
        "lifecycle": {"preStop": {"exec": {"command": ["nats-server", f"-sl=ldm={conf.PID_FILE}"]}}},
        # The whole check is for the start alone, where it also makes an update wait until a server has caught up. It
        # fails without a quorum: then as readiness it would hide, and as liveness kill, servers that are well.
        "startupProbe": probe("/healthz", "monitor", period=10, failures=90),
        "readinessProbe": probe("/healthz?js-server-only=true", "monitor", period=10, failures=3),
        "livenessProbe": probe("/healthz?js-enabled-only=true", "monitor", period=30, failures=3),
        "resources": resources(inputs.cpu, inputs.memory),
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }


def _claim(inputs: Inputs, storage_class: str) -> Body:
    spec: Body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size(inputs.storage)}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"metadata": {"name": _DATA, "labels": labels(inputs, bus_selector(inputs))}, "spec": spec}


def _disruption_budget(inputs: Inputs) -> Body:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": bus_selector(inputs)}}
    return {**_object(inputs, "policy/v1", "PodDisruptionBudget", inputs.bus), "spec": spec}


def _network_policy(inputs: Inputs) -> Body:
    own = _pods(bus_selector(inputs))
    clients = [_pods({}), {"namespaceSelector": {}, **_pods({client_label(inputs): "true"})}]
    prometheus = {"namespaceSelector": {}, **_pods({NAME: "prometheus"})}
    keda = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}
    spec = {
        "podSelector": {"matchLabels": bus_selector(inputs)},
        "policyTypes": ["Ingress"],
        "ingress": [
            _allowed(clients, conf.CLIENTS),
            _allowed([own], conf.ROUTES),
            _allowed([own, prometheus, keda], conf.MONITOR),
        ],
    }
    return {**_object(inputs, "networking.k8s.io/v1", "NetworkPolicy", inputs.bus), "spec": spec}


def _pods(wanted: dict[str, str]) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": wanted} if wanted else {}}


def _allowed(sources: list[dict[str, Any]], port: int) -> Body:
    return {"from": sources, "ports": [{"protocol": "TCP", "port": port}]}
