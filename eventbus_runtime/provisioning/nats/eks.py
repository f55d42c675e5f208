"""The target aws.eks: Kubernetes with volumes of EBS, spread over zones (PROVISIONING section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from eventbus_runtime.provisioning.findings import Finding, error, warning
from eventbus_runtime.provisioning.inputs import Inputs
from eventbus_runtime.provisioning.nats.k8s_bus import bus_manifests
from eventbus_runtime.provisioning.nats.k8s_findings import findings, is_nfs
from eventbus_runtime.provisioning.nats.k8s_objects import Body, bus_selector, described
from eventbus_runtime.provisioning.nats.kubernetes import Kubernetes
from eventbus_runtime.provisioning.renderer import Manifest, Renderer
from eventbus_runtime.provisioning.rules import GiB

_IOPS, _IOPS_PER_GIB, _IOPS_PER_MIB = 3000, 500, 4
"""Of gp3: its own, the most for a GiB of the volume, the least for a MiB/s of throughput (the EBS user guide)."""


class Eks(Kubernetes):
    """An EKS cluster, with or without Auto Mode."""

    def findings(self, inputs: Inputs) -> Iterable[Finding]:
        """What can't work, and what to know."""
        yield from findings(inputs, "aws.eks")
        yield from _volumes(inputs)
        zones = inputs.deploy.eks.zones
        if zones and len(set(zones)) < inputs.replicas:
            text = (
                f"aws.eks: replicas = {inputs.replicas} but zones lists {len(set(zones))}; "
                "one zone failure can take the quorum"
            )
            yield warning("deploy.eks.zones", text)

    def bus(self, inputs: Inputs) -> Sequence[Manifest]:
        """The objects of the bus; the StorageClass first, unless another is named."""
        named = inputs.deploy.kubernetes.storage_class
        name = named or f"{inputs.bus}-gp3"
        found = bus_manifests(inputs, name, sorted(set(inputs.deploy.eks.zones)))
        if named or not inputs.jetstream:
            return found
        return [Manifest("infra.k8s.storage_class", name, _storage_class(inputs, name)), *found]


def _volumes(inputs: Inputs) -> Iterator[Finding]:
    named, section = inputs.deploy.kubernetes.storage_class, inputs.deploy.eks
    if named and is_nfs(named):
        text = (
            "aws.eks: storage_class uses efs.csi.aws.com; JetStream must not run on NFS; "
            "leave it out for volumes of EBS, or name a class of ebs.csi.aws.com"
        )
        yield error("deploy.kubernetes.storage_class", text)
    for key in ("iops", "throughput", "auto_mode"):
        if named and getattr(section, key):
            yield warning(f"deploy.eks.{key}", "has no effect on a StorageClass that is there already")
    iops = section.iops or _IOPS
    if not named and section.iops and iops * GiB > inputs.storage * _IOPS_PER_GIB:
        least = -(-iops // _IOPS_PER_GIB)
        text = f"{iops} needs a volume of {least} GiB ({_IOPS_PER_GIB} IOPS a GiB); raise limits.storage, or lower it"
        yield error("deploy.eks.iops", text)
    if not named and section.throughput and section.throughput * _IOPS_PER_MIB > iops:
        text = f"{section.throughput} MiB/s needs {section.throughput * _IOPS_PER_MIB} IOPS; raise deploy.eks.iops"
        yield error("deploy.eks.throughput", text)


def _storage_class(inputs: Inputs, name: str) -> Body:
    section = inputs.deploy.eks
    parameters = {"type": "gp3", "encrypted": "true", "csi.storage.k8s.io/fstype": "ext4"}
    for key, value in (("iops", section.iops), ("throughput", section.throughput)):
        if value is not None:
            parameters[key] = str(value)
    found = {
        **described("storage.k8s.io/v1", "StorageClass", name, inputs, bus_selector(inputs), namespaced=False),
        "provisioner": "ebs.csi.eks.amazonaws.com" if section.auto_mode else "ebs.csi.aws.com",
        "parameters": parameters,
        # A volume of EBS lives in one zone: that of the pod, once it has a node.
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        "reclaimPolicy": "Retain",
    }
    if section.auto_mode:
        nodes = {"key": "eks.amazonaws.com/compute-type", "values": ["auto"]}
        found["allowedTopologies"] = [{"matchLabelExpressions": [nodes]}]
    return found


RENDERER: Renderer = Eks()
