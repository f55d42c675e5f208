"""The soak itself, shortened."""

from __future__ import annotations

import pytest

from benchmarks.soak import Drift
from eventbus_runtime.testing.server import NatsServer
from tests.chaos.scene import Scene
from tests.chaos.soak import Allowed, Soak, risen


@pytest.mark.parametrize(
    ("last", "expected"), [(90, False), (105, False), (105.1, True)], ids=["fallen", "risen a little", "risen"]
)
def test_what_rises_by_more_than_it_may_is_found(last: float, expected: bool) -> None:
    assert risen(Drift(100, last), Allowed(percent=5, amount=3)) is expected
    assert risen(Drift(100, last), Allowed(percent=0, amount=5)) is expected


@pytest.mark.chaos
@pytest.mark.timeout(90)
async def test_two_short_rounds_balance_and_are_summed_up(scene: Scene, server: NatsServer) -> None:
    lines: list[str] = []
    await Soak(scene, server, lines.append, length=3.0).run(0.1)
    assert [line.split(":")[0] for line in lines[:2]] == ["round 1 of 2", "round 2 of 2"]
    assert "none missing" in lines[2]
    assert [line.split(":")[0] for line in lines[3:]] == ["MiB resident", "open files", "threads", "tasks"]
