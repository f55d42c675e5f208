"""What the schemas of Kubernetes can't see: each with an example that is found, in objects that are good otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.provisioning import golden
from tests.provisioning.deployments import documents_of, only
from tests.provisioning.k8s_lint import lint

Documents = list[dict[str, Any]]
Change = Callable[[Documents], object]


def good() -> Documents:
    """Three servers and a worker on EKS."""
    return documents_of(golden.written("eks/production"))


def spec(found: Documents, kind: str, name: str = "") -> dict[str, Any]:
    one: dict[str, Any] = only(found, kind, name)["spec"]
    return one


def pod(found: Documents, kind: str = "StatefulSet") -> dict[str, Any]:
    one: dict[str, Any] = spec(found, kind)["template"]["spec"]
    return one


def container(found: Documents, kind: str = "StatefulSet") -> dict[str, Any]:
    (one,) = pod(found, kind)["containers"]
    found_one: dict[str, Any] = one
    return found_one


def metadata(found: Documents, kind: str, name: str = "") -> dict[str, Any]:
    one: dict[str, Any] = only(found, kind, name)["metadata"]
    return one


OTHER = {"app.kubernetes.io/name": "other"}

BAD: dict[str, tuple[Change, str]] = {
    "selector of a workload": (
        lambda found: spec(found, "StatefulSet")["selector"].update(matchLabels=OTHER),
        "StatefulSet main: selector does not match the labels of its own pods",
    ),
    "selector of a Service": (
        lambda found: spec(found, "Service", "main").update(selector=OTHER),
        "Service main: selector selects no pods",
    ),
    "selector of a budget": (
        lambda found: spec(found, "PodDisruptionBudget")["selector"].update(matchLabels=OTHER),
        "PodDisruptionBudget main: selector selects no pods",
    ),
    "selector of a policy": (
        lambda found: spec(found, "NetworkPolicy")["podSelector"].update(matchLabels=OTHER),
        "NetworkPolicy main: podSelector selects no pods",
    ),
    "selector of a spread": (
        lambda found: pod(found)["topologySpreadConstraints"][0]["labelSelector"].update(matchLabels=OTHER),
        "StatefulSet main: topologySpreadConstraints: kubernetes.io/hostname does not select its own pods",
    ),
    "enum": (
        lambda found: spec(found, "StatefulSet").update(podManagementPolicy="Paralel"),
        "StatefulSet main: spec.podManagementPolicy: 'Paralel' is none of OrderedReady, Parallel",
    ),
    "enum in a list": (
        lambda found: spec(found, "StatefulSet")["volumeClaimTemplates"][0]["spec"].update(accessModes=["RWO"]),
        "StatefulSet main: spec.volumeClaimTemplates.spec.accessModes: 'RWO' is none of "
        "ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod",
    ),
    "enum of a class": (
        lambda found: only(found, "StorageClass").update(volumeBindingMode="WaitForConsumer"),
        "StorageClass main-gp3: volumeBindingMode: 'WaitForConsumer' is none of Immediate, WaitForFirstConsumer",
    ),
    "quantity": (
        lambda found: container(found)["resources"]["limits"].update(memory="10Gig"),
        "StatefulSet main: spec.template.spec.containers.resources.limits.memory: '10Gig' is no quantity",
    ),
    "quantity of a claim": (
        lambda found: spec(found, "StatefulSet")["volumeClaimTemplates"][0]["spec"]["resources"]["requests"].update(
            storage="50 Gi"
        ),
        "StatefulSet main: spec.volumeClaimTemplates.spec.resources.requests.storage: '50 Gi' is no quantity",
    ),
    "request above its limit": (
        lambda found: container(found)["resources"]["requests"].update(cpu="2100m"),
        "StatefulSet main: spec.template.spec.containers.resources: requests.cpu 2100m is above its limit 2",
    ),
    "mount without volume": (
        lambda found: container(found)["volumeMounts"].append({"name": "cache", "mountPath": "/cache"}),
        'StatefulSet main: mount "cache" has no volume',
    ),
    "volume without mount": (
        lambda found: pod(found)["volumes"].append({"name": "cache", "emptyDir": {}}),
        'StatefulSet main: volume "cache" is mounted nowhere',
    ),
    "volume twice": (
        lambda found: pod(found)["volumes"].append({"name": "js", "emptyDir": {}}),
        'StatefulSet main: volume "js" is there more than once',
    ),
    "two mounts at one path": (
        lambda found: container(found)["volumeMounts"].append({"name": "pid", "mountPath": "/data"}),
        'StatefulSet main: two mounts at "/data"',
    ),
    "relative mount": (
        lambda found: container(found)["volumeMounts"].append({"name": "pid", "mountPath": "data"}),
        'StatefulSet main: bad mountPath "data"',
    ),
    "ConfigMap that is not there": (
        lambda found: metadata(found, "ConfigMap", "main-config").update(name="main-conf"),
        'StatefulSet main: there is no ConfigMap "main-config"',
    ),
    "port of a probe": (
        lambda found: container(found)["startupProbe"]["httpGet"].update(port="http"),
        'StatefulSet main: startupProbe: "http" is no port of its container',
    ),
    "port of a Service": (
        lambda found: spec(found, "Service", "main-worker")["ports"][0].update(targetPort="web"),
        'Service main-worker: targetPort "web" is no port of the pods',
    ),
    "port out of range": (
        lambda found: container(found, "Deployment")["ports"][0].update(containerPort=70000),
        "Deployment main-worker: spec.template.spec.containers.ports.containerPort: 70000 is no port",
    ),
    "port 0": (
        lambda found: spec(found, "Service", "main")["ports"][0].update(port=0),
        "Service main: spec.ports.port: 0 is no port",
    ),
    "name of a port": (
        lambda found: container(found)["ports"].append({"name": "a-name-that-is-too-long", "containerPort": 1}),
        'StatefulSet main: bad name of a port "a-name-that-is-too-long"',
    ),
    "name": (
        lambda found: metadata(found, "PodDisruptionBudget").update(name="Main_1"),
        'PodDisruptionBudget Main_1: bad name "Main_1"',
    ),
    "name that is too long for its kind": (
        lambda found: metadata(found, "StatefulSet").update(name="m" * 53),
        f'StatefulSet {"m" * 53}: bad name "{"m" * 53}"',
    ),
    "name of a Service": (
        lambda found: metadata(found, "Service", "main-worker").update(name="1-worker"),
        'Service 1-worker: bad name "1-worker"',
    ),
    "name of a container": (
        lambda found: container(found).update(name="NATS"),
        'StatefulSet main: bad name of a container "NATS"',
    ),
    "namespace": (
        lambda found: metadata(found, "StatefulSet").update(namespace="a.b"),
        'StatefulSet main: bad namespace "a.b"',
    ),
    "label": (
        lambda found: metadata(found, "StatefulSet")["labels"].update(team="a b"),
        'StatefulSet main: metadata.labels: bad label "team: a b"',
    ),
    "variable twice": (
        lambda found: container(found)["env"].append({"name": "GOMEMLIMIT", "value": "1"}),
        "StatefulSet main: variable GOMEMLIMIT is there more than once",
    ),
    "budget with min and max": (
        lambda found: spec(found, "PodDisruptionBudget").update(minAvailable=2),
        "PodDisruptionBudget main: needs one of minAvailable and maxUnavailable",
    ),
    "budget with neither": (
        lambda found: spec(found, "PodDisruptionBudget").pop("maxUnavailable"),
        "PodDisruptionBudget main: needs one of minAvailable and maxUnavailable",
    ),
    "Service that is not headless": (
        lambda found: spec(found, "StatefulSet").update(serviceName="main"),
        'StatefulSet main: serviceName "main" is no headless Service',
    ),
    "minDomains of a soft spread": (
        lambda found: pod(found)["topologySpreadConstraints"][0].update(whenUnsatisfiable="ScheduleAnyway"),
        "StatefulSet main: topologySpreadConstraints: minDomains goes with DoNotSchedule alone",
    ),
}


def test_the_good_one_is_good() -> None:
    assert lint(good()) == []


@pytest.mark.parametrize("what", BAD)
def test_a_bad_one_is_found(what: str) -> None:
    change, text = BAD[what]
    documents = good()
    change(documents)
    assert lint(documents) == [text]


def test_an_object_that_is_there_twice_is_found() -> None:
    documents = good()
    documents.append(only(documents, "PodDisruptionBudget"))
    assert lint(documents) == ["PodDisruptionBudget main: is there more than once"] * 2
