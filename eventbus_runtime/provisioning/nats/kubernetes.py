"""The target kubernetes: objects for `kubectl apply -f DIR` (PROVISIONING section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eventbus_runtime.provisioning.documents import to_yaml
from eventbus_runtime.provisioning.findings import Finding, warning
from eventbus_runtime.provisioning.inputs import Inputs
from eventbus_runtime.provisioning.nats.k8s_bus import bus_manifests
from eventbus_runtime.provisioning.nats.k8s_findings import findings, is_nfs
from eventbus_runtime.provisioning.nats.k8s_worker import worker_manifests
from eventbus_runtime.provisioning.nats.nack import nack_manifests
from eventbus_runtime.provisioning.renderer import Manifest, Renderer


class Kubernetes:
    """Any cluster with a default StorageClass, or one that is named."""

    def findings(self, inputs: Inputs) -> Iterable[Finding]:
        """What can't work, and what to know."""
        yield from findings(inputs, "kubernetes")
        named = inputs.deploy.kubernetes.storage_class or ""
        if is_nfs(named):
            text = f'"{named}" seems to be NFS, on which JetStream must not run; name a class of block storage'
            yield warning("deploy.kubernetes.storage_class", text)

    def bus(self, inputs: Inputs) -> Sequence[Manifest]:
        """The objects of the bus."""
        return bus_manifests(inputs, inputs.deploy.kubernetes.storage_class or "")

    def manifests(self, inputs: Inputs) -> Sequence[Manifest]:
        """All objects, in the order of the files."""
        return [one for manifests in self._by_file(inputs).values() for one in manifests]

    def files(self, inputs: Inputs) -> Mapping[str, str]:
        """`bus.yaml`; `streams.yaml`, for NACK; `worker.yaml`."""
        return {
            name: to_yaml(one.body for one in manifests)
            for name, manifests in self._by_file(inputs).items()
            if manifests
        }

    def _by_file(self, inputs: Inputs) -> dict[str, Sequence[Manifest]]:
        return {
            "bus.yaml": self.bus(inputs),
            "streams.yaml": nack_manifests(inputs),
            "worker.yaml": worker_manifests(inputs),
        }


RENDERER: Renderer = Kubernetes()
