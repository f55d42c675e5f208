"""What a deploy target must be able to do, and which there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from eventbus_runtime.provisioning.findings import Finding
from eventbus_runtime.provisioning.inputs import Inputs


class Manifest(NamedTuple):
    """One object, as its target reads it.

    Args:
        kind: of the abstract resource that it is, as `infra.k8s.config_map`.
        name: of the object.
        body: the object.
    """

    kind: str
    name: str
    body: dict[str, Any]


class Renderer(Protocol):
    """A deploy target."""

    def findings(self, inputs: Inputs) -> Iterable[Finding]:
        """What can't work there, and what to know."""

    def manifests(self, inputs: Inputs) -> Sequence[Manifest]:
        """The objects of the bus and of its worker; never refuses, whatever `findings` says."""

    def files(self, inputs: Inputs) -> Mapping[str, str]:
        """What is written: text by path below the output folder. The same inputs give the same texts.

        Called only where `findings` has no error.
        """
