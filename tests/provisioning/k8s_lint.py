"""What the schemas of Kubernetes can't see in objects: whether one part of them fits another.

Its API server refuses some of it, and takes the rest for pods that never start (PROVISIONING section 1, last column).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

from eventbus_runtime.provisioning.nats.k8s_findings import SUBDOMAIN, is_label_key, is_label_value

_Object: TypeAlias = Mapping[str, Any]

_WORKLOADS = ("StatefulSet", "Deployment")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LONGEST = {"Service": 63, "StatefulSet": 52, "Deployment": 63, "Namespace": 63}  # all others: 253, and dots
_ENUMS: dict[tuple[str, str], tuple[str, ...]] = {
    ("spec", "podManagementPolicy"): ("OrderedReady", "Parallel"),
    ("spec", "type"): ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    ("strategy", "type"): ("RollingUpdate", "Recreate"),
    ("updateStrategy", "type"): ("RollingUpdate", "OnDelete"),
    ("seccompProfile", "type"): ("RuntimeDefault", "Localhost", "Unconfined"),
    ("securityContext", "fsGroupChangePolicy"): ("OnRootMismatch", "Always"),
    ("persistentVolumeClaimRetentionPolicy", "whenDeleted"): ("Retain", "Delete"),
    ("persistentVolumeClaimRetentionPolicy", "whenScaled"): ("Retain", "Delete"),
    ("topologySpreadConstraints", "whenUnsatisfiable"): ("DoNotSchedule", "ScheduleAnyway"),
    ("spec", "accessModes"): ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"),
    ("spec", "policyTypes"): ("Ingress", "Egress"),
    ("ports", "protocol"): ("TCP", "UDP", "SCTP"),
    ("containers", "imagePullPolicy"): ("Always", "IfNotPresent", "Never"),
    ("", "volumeBindingMode"): ("Immediate", "WaitForFirstConsumer"),
    ("", "reclaimPolicy"): ("Retain", "Delete"),
}
_PORTS = ("port", "containerPort", "targetPort", "nodePort")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)")
_SCALES = {
    "": Fraction(1),
    "m": Fraction(1, 1000),
    **{unit: Fraction(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Fraction(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}


def lint(documents: Iterable[_Object]) -> list[str]:
    """What does not fit, as `Kind name: what`; empty where all does.

    Args:
        documents: all objects that are applied together, each valid by its schema.
    """
    objects = list(documents)
    return [f"{one['kind']} {_name(one)}: {text}" for one in objects for text in _about(one, objects)]


def _about(one: _Object, objects: Sequence[_Object]) -> Iterator[str]:
    yield from _metadata(one, objects)
    yield from _values(one)
    match one["kind"]:
        case "Service":
            yield from _service(one, objects)
        case "StatefulSet" | "Deployment":
            yield from _workload(one, objects)
        case "PodDisruptionBudget":
            yield from _selects(one["spec"].get("selector"), objects, "selector")
            if ("minAvailable" in one["spec"]) == ("maxUnavailable" in one["spec"]):
                yield "needs one of minAvailable and maxUnavailable"
        case "NetworkPolicy":
            yield from _selects(one["spec"].get("podSelector"), objects, "podSelector")


def _metadata(one: _Object, objects: Sequence[_Object]) -> Iterator[str]:
    kind, name = one["kind"], _name(one)
    longest = _LONGEST.get(kind)
    form = _LABEL if longest else SUBDOMAIN
    if len(name) > (longest or 253) or not form.fullmatch(name) or (kind == "Service" and name[0].isdigit()):
        yield f'bad name "{name}"'
    namespace = one["metadata"].get("namespace")
    if namespace is not None and (len(namespace) > 63 or not _LABEL.fullmatch(namespace)):
        yield f'bad namespace "{namespace}"'
    if sum((other["kind"], _name(other)) == (kind, name) for other in objects) > 1:
        yield "is there more than once"
    for path, labels in _find(one, "labels"):
        for key, value in labels.items() if isinstance(labels, Mapping) else ():
            if not is_label_key(key) or not is_label_value(value):
                yield f'{path}: bad label "{key}: {value}"'


def _values(one: _Object) -> Iterator[str]:
    """What stands anywhere: enums, quantities, ports."""
    for path, value in _walk(one, ""):
        key = path[-1]
        allowed = _ENUMS.get((path[-2] if len(path) > 1 else "", key))
        for choice in value if isinstance(value, list) else (value,):
            if allowed and choice not in allowed:
                yield f"{'.'.join(path)}: {choice!r} is none of {', '.join(allowed)}"
        if key in _PORTS and isinstance(value, int) and not 0 < value < 65536:
            yield f"{'.'.join(path)}: {value} is no port"
        is_amount = path[-2:-1] in (("requests",), ("limits",)) or key == "sizeLimit"
        if is_amount and _quantity(value) is None:
            yield f"{'.'.join(path)}: {value!r} is no quantity"
        if key == "resources" and isinstance(value, Mapping):
            yield from _resources(".".join(path), value)


def _resources(path: str, resources: _Object) -> Iterator[str]:
    limits = resources.get("limits", {})
    for key, request in resources.get("requests", {}).items():
        asked, most = _quantity(request), _quantity(limits.get(key))
        if asked is not None and most is not None and asked > most:
            yield f"{path}: requests.{key} {request} is above its limit {limits[key]}"


def _service(one: _Object, objects: Sequence[_Object]) -> Iterator[str]:
    selector = one["spec"].get("selector", {})
    found = [work for work in objects if work["kind"] in _WORKLOADS and _covers(selector, _pod_labels(work))]
    if not found:
        yield "selector selects no pods"
        return
    names = {port.get("name") for work in found for box in _containers(work) for port in box.get("ports", ())}
    for port in one["spec"].get("ports", ()):
        target = port.get("targetPort", port["port"])
        if isinstance(target, str) and target not in names:
            yield f'targetPort "{target}" is no port of the pods'


def _workload(one: _Object, objects: Sequence[_Object]) -> Iterator[str]:
    spec = one["spec"]
    if not _covers(spec["selector"].get("matchLabels", {}), _pod_labels(one)):
        yield "selector does not match the labels of its own pods"
    if one["kind"] == "StatefulSet":
        services = {_name(other): other for other in objects if other["kind"] == "Service"}
        governing = services.get(spec.get("serviceName", ""))
        if governing is None or governing["spec"].get("clusterIP") != "None":
            yield f'serviceName "{spec.get("serviceName", "")}" is no headless Service'
    pod = spec["template"]["spec"]
    for constraint in pod.get("topologySpreadConstraints", ()):
        if not _covers(constraint.get("labelSelector", {}).get("matchLabels", {}), _pod_labels(one)):
            yield f"topologySpreadConstraints: {constraint['topologyKey']} does not select its own pods"
        if "minDomains" in constraint and constraint["whenUnsatisfiable"] != "DoNotSchedule":
            yield "topologySpreadConstraints: minDomains goes with DoNotSchedule alone"
    yield from _volumes(one, objects)
    for box in _containers(one):
        yield from _container(box)


def _volumes(one: _Object, objects: Sequence[_Object]) -> Iterator[str]:
    volumes = one["spec"]["template"]["spec"].get("volumes", ())
    claims = [claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", ())]
    names = [volume["name"] for volume in volumes] + claims
    yield from (f'volume "{name}" is there more than once' for name in _doubled(names))
    mounted = set()
    for box in _containers(one):
        mounts = box.get("volumeMounts", ())
        mounted |= {mount["name"] for mount in mounts}
        yield from (f'two mounts at "{path}"' for path in _doubled(mount["mountPath"] for mount in mounts))
        for mount in mounts:
            if mount["name"] not in names:
                yield f'mount "{mount["name"]}" has no volume'
            if not mount["mountPath"].startswith("/") or ":" in mount["mountPath"]:
                yield f'bad mountPath "{mount["mountPath"]}"'
    yield from (f'volume "{name}" is mounted nowhere' for name in names if name not in mounted)
    maps = {_name(other) for other in objects if other["kind"] == "ConfigMap"}
    for volume in volumes:
        if "configMap" in volume and volume["configMap"]["name"] not in maps:
            yield f'there is no ConfigMap "{volume["configMap"]["name"]}"'


def _container(box: _Object) -> Iterator[str]:
    if not _LABEL.fullmatch(box["name"]):
        yield f'bad name of a container "{box["name"]}"'
    ports = {port.get("name", ""): port["containerPort"] for port in box.get("ports", ())}
    for name in ports:
        if name and (len(name) > 15 or not _PORT_NAME.fullmatch(name)):
            yield f'bad name of a port "{name}"'
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = box.get(kind, {}).get("httpGet", {}).get("port")
        if isinstance(port, str) and port not in ports:
            yield f'{kind}: "{port}" is no port of its container'
    given = [variable["name"] for variable in box.get("env", ())]
    yield from (f"variable {name} is there more than once" for name in _doubled(given))


def _selects(selector: Any, objects: Sequence[_Object], what: str) -> Iterator[str]:
    wanted = (selector or {}).get("matchLabels", {})
    if not any(one["kind"] in _WORKLOADS and _covers(wanted, _pod_labels(one)) for one in objects):
        yield f"{what} selects no pods"


def _covers(selector: _Object, labels: _Object) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def _pod_labels(workload: _Object) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"].get("labels", {})
    return found


def _containers(workload: _Object) -> Sequence[_Object]:
    pod = workload["spec"]["template"]["spec"]
    return (*pod.get("initContainers", ()), *pod["containers"])


def _name(one: _Object) -> str:
    name: str = one["metadata"].get("name", "")
    return name


def _doubled(names: Iterable[str]) -> Iterator[str]:
    return (name for name, count in Counter(names).items() if count > 1)


def _quantity(text: Any) -> Fraction | None:
    found = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
    return Fraction(found[1]) * _SCALES[found[2]] if found else None


def _find(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    return ((".".join(path), found) for path, found in _walk(value, "") if path[-1] == key)


def _walk(value: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All keys and values below `value`, with their paths; those of a list have the list's."""
    at = tuple(filter(None, path))
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield (*at, key), one
            yield from _walk(one, *at, key)
    elif isinstance(value, list):
        for one in value:
            yield from _walk(one, *at)
