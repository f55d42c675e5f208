"""A server that is away for long: quiet, cheap, and back to work by itself."""

from __future__ import annotations

import asyncio
import time

import psutil
import pytest

from eventbus_runtime.testing.server import NatsServer
from tests.chaos.scene import LOST, Scene, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

_TRIGGER = """
[triggers.{name}]
pipeline = "work"
filter_subjects = ["work.{name}"]
"""


async def publish_one_to_each(scene: Scene, names: list[str]) -> None:
    for name in names:
        await scene.publish(1, subject=f"work.{name}")


@pytest.mark.parametrize("away", [pytest.param(30, marks=pytest.mark.core), 60])
async def test_20_triggers_without_their_server_log_less_than_100_lines_and_use_less_than_5_percent_cpu(
    scene: Scene, server: NatsServer, away: int
) -> None:
    names = ["work", *(f"t{number}" for number in range(1, 20))]
    more = "".join(_TRIGGER.format(name=name) for name in names[1:])
    worker = await scene.worker(consumer='filter_subjects = ["work.work"]', more=more)
    await until(lambda: worker.errors.count(": running") == 21, "the bus and 20 triggers run")
    await publish_one_to_each(scene, names)
    await until(lambda: scene.ledger.runs == 20, "each has handled one")
    await asyncio.to_thread(server.stop)
    await until(lambda: worker.has_logged(LOST), "it notices")
    assert worker.process is not None
    process, began = psutil.Process(worker.process.pid), time.monotonic()
    used = sum(process.cpu_times())
    await asyncio.sleep(away)  # the scenario
    share = (sum(process.cpu_times()) - used) / (time.monotonic() - began)
    await asyncio.to_thread(server.start)
    await scene.bus.wait_connected()
    await publish_one_to_each(scene, names)
    await until(lambda: scene.ledger.runs == 40, "each has handled another one")
    lines = len(worker.errors.splitlines())
    scene.notes.append(f"{lines} lines logged, CPU {share:.1%} while away")
    assert lines < 100
    assert share < 0.05
    assert (await scene.close(consumers=names)).left == 0
