"""Which provider can be put on which deploy target (S-4, S-5), and what a version must be (S-7): plain data, which
costs the start of a worker nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

NATS = "nats"

MATRIX: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        NATS: ("digitalocean.app_platform", "aws.ecs", "aws.eks", "kubernetes", "self_hosted"),
        "kafka": ("digitalocean.managed_kafka", "aws.msk", "kubernetes", "self_hosted"),
        "kinesis": ("aws.kinesis",),
    }
)
"""Deploy targets by provider (S-5). A provider that a plug-in brings names its own."""

TARGETS = tuple(dict.fromkeys(target for targets in MATRIX.values() for target in targets))
"""All that are known (S-4)."""


def target_problem(provider: str, target: str, targets: Sequence[str]) -> str:
    """Why a provider can't be put on a target, as a sentence that names both (S-5); empty: it can.

    Args:
        provider: the bus's `provider`.
        target: its `deploy_target`.
        targets: those that the provider has.
    """
    if target in targets:
        return ""
    has = f"targets of {provider}: {', '.join(targets)}"
    if not target:
        return f"is empty; leave it out, or name where {provider} is put; {has}"
    if target not in TARGETS:
        return f'there is no deploy target "{target}" for {provider}; {has}'
    return f"{provider} can't be put on {target}; {has}"


def version_problem(version: str) -> str:
    """Why a version can't be deployed, as a sentence; empty: nothing that this rule knows of (S-7, E1).

    Args:
        version: of the server; empty stands for the default.
    """
    return not_pinned(version) if version.strip().lower() == "latest" else ""


def not_pinned(version: str) -> str:
    """What is said of a version that names no single server (E1)."""
    return f'"{version}" is not pinned, so that no deployment can be repeated; give a full version such as "2.14.6"'


def cannot_run(provider: str) -> str:
    """Why nothing here talks to a bus of another provider than NATS, as a sentence; empty: it is NATS."""
    if provider == NATS:
        return ""
    return (
        f'"{provider}" can be declared to be provisioned by a plug-in, and no more: eventbus-run and the commands '
        f'talk to {NATS} alone; give this bus provider = "{NATS}", or take it out of the file that is run'
    )
