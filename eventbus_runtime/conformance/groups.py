"""All suites that there are, by the words that choose them."""

from __future__ import annotations

from collections.abc import Iterable

from eventbus_runtime.conformance import process, provider, targets, trigger
from eventbus_runtime.conformance.candidate import Candidate
from eventbus_runtime.conformance.phases import Suite

GROUPS = (targets.NAME, provider.NAME, process.NAME, trigger.NAME)


def suites(candidate: Candidate, uri: str, groups: Iterable[str] = GROUPS, *, replicas: int = 1) -> list[Suite]:
    """The suites of some groups.

    Args:
        candidate: what is held to them.
        uri: the broker's address; empty will do where `targets` alone is wanted.
        groups: which.
        replicas: copies of each stream that is made.
    """
    made = {
        targets.NAME: lambda: targets.targets_suite(candidate.provider),
        provider.NAME: lambda: provider.provider_suite(candidate, uri, replicas=replicas),
        process.NAME: lambda: process.process_suite(candidate, uri, replicas=replicas),
        trigger.NAME: lambda: trigger.trigger_suite(candidate, uri, replicas=replicas),
    }
    return [made[group]() for group in groups]
