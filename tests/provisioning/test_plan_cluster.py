"""A plan of replicated streams, done on a cluster of three."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import cluster_of_three, meta_leader
from tests.config.project import Project
from tests.provisioning.planned import Site, consumer, done, stream
from tests.triggers.live import connected


async def test_three_replicas_are_made_on_a_cluster_and_then_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with cluster_of_three() as cluster:
        first, *_ = cluster.nodes.values()
        async with connected(first.url) as bus:
            site, toml = Site(Project(tmp_path), bus, first.url), stream(num_replicas=3) + consumer()
            assert done(await site.plan(toml)) == {
                "stream ORDERS": "create",
                "consumer billing of stream ORDERS": "create",
            }
            assert await site.apply(toml) == [
                "created stream ORDERS",
                "created consumer billing of stream ORDERS",
            ]
            shown = await site.plan(toml)
            assert (done(shown), shown.findings) == ({}, ())


async def test_a_plan_right_after_the_meta_leader_is_lost_waits_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with cluster_of_three() as cluster:
        leader = await meta_leader(cluster.monitors["n1"])
        survivor = cluster.others(leader)[0]
        async with connected(survivor.url) as bus:
            site, toml = Site(Project(tmp_path), bus, survivor.url), stream(num_replicas=3) + consumer()
            await site.apply(toml)
            cluster.nodes[leader].kill()
            assert done(await site.plan(toml)) == {}
