"""What we ship conforms: on the server of the gates, and on a cluster."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from eventbus_runtime.config.targets import MATRIX
from eventbus_runtime.conformance import (
    Candidate,
    Report,
    Suite,
    Verdict,
    provider_suite,
    run,
    targets_suite,
    trigger_suite,
)
from eventbus_runtime.provisioning.nats.provider import NatsProvider
from tests.cluster import cluster_of_three
from tests.triggers.live import connected

TWELVE = [
    "provision",
    "streams",
    "connect",
    "connect override",
    "connect missing state",
    "probe",
    "probe empty uri",
    "publish",
    "consume",
    "ack",
    "drain",
    "teardown",
]
TRIGGER = [
    "stream",
    "six fields",
    "published later",
    "double start",
    "cancelled",
    "failing callback",
    "in flight",
    "teardown",
]


def passed(report: Report) -> list[str]:
    return [one.phase for one in report.results if one.verdict is Verdict.PASSED]


async def streams(uri: str) -> set[str]:
    async with connected(uri) as bus:
        return set((await bus.api("STREAM.NAMES")).get("streams") or ())


async def left_behind(uri: str, suites: Sequence[Suite]) -> tuple[Report, set[str]]:
    """The report of a run, and the streams that are at the server after it and were not before."""
    before = await streams(uri)
    report = await run(suites)
    return report, await streams(uri) - before


@pytest.mark.seed("S-70", "S-12", "S-13", "S-14", "S-30", "S-31", "S-32")
@pytest.mark.parametrize("target", [target for target in MATRIX["nats"] if target != "aws.ecs"])
async def test_nats_passes_all_twelve_phases_on_each_target(provider_uri: str, target: str) -> None:
    """S-70."""
    report, left = await left_behind(provider_uri, [provider_suite(Candidate.nats(target), provider_uri)])
    assert passed(report) == TWELVE, report.text()
    assert report.passed
    assert left == set()


@pytest.mark.seed("S-72", "S-51", "S-52", "S-53")
async def test_the_trigger_passes_all_phases(end_to_end_uri: str) -> None:
    """S-72."""
    report, left = await left_behind(end_to_end_uri, [trigger_suite(Candidate.nats(), end_to_end_uri)])
    assert passed(report) == TRIGGER, report.text()
    assert report.passed
    assert left == set()


@pytest.mark.seed("S-5", "S-7", "S-11")
async def test_all_that_must_be_refused_is_without_any_server() -> None:
    """S-5, S-7 and S-11."""
    report = await run([targets_suite(NatsProvider())])
    assert passed(report) == ["configuration", "unknown provider", "refused pairs", "all targets", "latest"]
    assert report.passed
    assert report.results[0].text == "14 pairs refused, by both names"


@pytest.mark.seed("S-70", "S-72")
async def test_a_cluster_passes_with_three_replicas() -> None:
    async with cluster_of_three() as cluster:
        uri, candidate = cluster.nodes["n1"].url, Candidate.nats()
        suites = [provider_suite(candidate, uri, replicas=3), trigger_suite(candidate, uri, replicas=3)]
        report, left = await left_behind(uri, suites)
    assert passed(report) == TWELVE + TRIGGER, report.text()
    assert report.results[1].text.endswith("replicas 3")
    assert left == set()
