"""Workers that are killed, frozen and stopped amid load."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.chaos.scene import ACK_WAIT, IN_FLIGHT, Scene, running

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


@pytest.mark.core
async def test_a_worker_killed_three_times_loses_nothing(scene: Scene) -> None:
    one = await scene.worker("one")
    await scene.worker("two")
    async with scene.feed():
        for _ in range(3):
            await scene.more(300)
            with scene.ledger.disturbance("worker killed", doubles=IN_FLIGHT):
                await scene.restart(one)
                await running(one)
        await scene.more(300)
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_a_worker_frozen_for_longer_than_the_ack_wait_loses_nothing(scene: Scene) -> None:
    """What it held is handled by its sibling, and by itself once it thaws."""
    one = await scene.worker("one")
    await scene.worker("two")
    async with scene.feed():
        for _ in range(2):
            await scene.more(300)
            with scene.ledger.disturbance("worker frozen", doubles=IN_FLIGHT):
                one.signal(signal.SIGSTOP)
                await asyncio.sleep(2 * ACK_WAIT)
                one.signal(signal.SIGCONT)
                await scene.more(300)
    await scene.drained()
    assert (await scene.close()).left == 0
