"""The target aws.eks: volumes of EBS, zones, and what must not be."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus_runtime.provisioning.nats import eks
from tests.provisioning.deployments import findings_of, inputs_of, only

BUS = """
[buses.main]
replicas = 3
limits = { cpu = "2", memory = "8Gi", storage = "10Gi" }
[deploy.kubernetes]
namespace = "shop"
"""


def objects(toml: str) -> list[dict[str, Any]]:
    return [one.body for one in eks.RENDERER.manifests(inputs_of(toml, "aws.eks"))]


def said(toml: str) -> list[str]:
    """Errors and warnings."""
    return [str(one) for one in findings_of(toml, "aws.eks") if one.level != "note"]


def test_the_class_waits_for_a_pod_and_keeps_what_it_made() -> None:
    found = only(objects(BUS), "StorageClass")
    assert found["provisioner"] == "ebs.csi.aws.com"
    assert found["volumeBindingMode"] == "WaitForFirstConsumer"
    assert (found["reclaimPolicy"], found["allowVolumeExpansion"]) == ("Retain", True)
    assert found["parameters"] == {"type": "gp3", "encrypted": "true", "csi.storage.k8s.io/fstype": "ext4"}
    assert "namespace" not in found["metadata"]
    (claim,) = only(objects(BUS), "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == found["metadata"]["name"] == "main-gp3"


def test_auto_mode_has_a_provisioner_and_nodes_of_its_own() -> None:
    found = only(objects(BUS + "[deploy.eks]\nauto_mode = true"), "StorageClass")
    assert found["provisioner"] == "ebs.csi.eks.amazonaws.com"
    (topology,) = found["allowedTopologies"]
    assert topology["matchLabelExpressions"] == [{"key": "eks.amazonaws.com/compute-type", "values": ["auto"]}]


def test_speed_is_said_as_text() -> None:
    found = only(objects(BUS + "[deploy.eks]\niops = 4000\nthroughput = 250"), "StorageClass")
    assert (found["parameters"]["iops"], found["parameters"]["throughput"]) == ("4000", "250")


def test_a_named_class_is_used_and_none_is_made() -> None:
    found = objects(BUS + 'storage_class = "io2"')
    assert [one["kind"] for one in found if one["kind"] == "StorageClass"] == []
    (claim,) = only(found, "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "io2"


@pytest.mark.parametrize(("zones", "least"), [("", None), ('"a", "b"', 2), ('"a", "b", "c", "d"', 3)])
def test_servers_are_spread_over_zones(zones: str, least: int | None) -> None:
    stateful = only(objects(f"{BUS}[deploy.eks]\nzones = [{zones}]"), "StatefulSet")
    node, zone = stateful["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert (node["topologyKey"], node["minDomains"]) == ("kubernetes.io/hostname", 3)
    assert (zone["topologyKey"], zone["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "DoNotSchedule")
    assert zone.get("minDomains") == least


def test_soft_spread_asks_for_no_number_of_zones() -> None:
    stateful = only(objects(BUS + 'spread = "soft"\n[deploy.eks]\nzones = ["a", "b", "c"]'), "StatefulSet")
    _, zone = stateful["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert "minDomains" not in zone


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("", None),
        (
            'storage_class = "efs-sc"',
            "error: deploy.kubernetes.storage_class: aws.eks: storage_class uses efs.csi.aws.com; JetStream must not "
            "run on NFS; leave it out for volumes of EBS, or name a class of ebs.csi.aws.com",
        ),
        ('storage_class = "chefs-gp3"', None),
        (
            '[deploy.eks]\nzones = ["a", "b", "b"]',
            "warning: deploy.eks.zones: aws.eks: replicas = 3 but zones lists 2; one zone failure can take the quorum",
        ),
        (
            "[deploy.eks]\niops = 6000",
            "error: deploy.eks.iops: 6000 needs a volume of 12 GiB (500 IOPS a GiB); raise limits.storage, or lower it",
        ),
        (
            "[deploy.eks]\nthroughput = 1000",
            "error: deploy.eks.throughput: 1000 MiB/s needs 4000 IOPS; raise deploy.eks.iops",
        ),
        (
            'storage_class = "io2"\n[deploy.eks]\niops = 6000',
            "warning: deploy.eks.iops: has no effect on a StorageClass that is there already",
        ),
    ],
    ids=["nothing", "NFS", "no NFS", "zones", "iops", "throughput", "no effect"],
)
def test_what_is_said(more: str, text: str | None) -> None:
    assert said(BUS + more) == ([text] if text else [])


def test_the_note_names_the_target() -> None:
    notes = [one.text for one in findings_of(BUS, "aws.eks") if one.key == "deploy.kubernetes.spread"]
    assert notes == ['aws.eks: replicas = 3 with spread = "hard" needs 3 nodes']
