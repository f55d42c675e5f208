"""One server that is killed, stopped, and put into lame duck mode amid load."""

from __future__ import annotations

import asyncio
import signal

import psutil
import pytest

from eventbus_runtime.testing.server import NatsServer
from tests.chaos.scene import LOST, Scene
from tests.conftest import MakeServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

LAME_DUCK = 'lame_duck_duration: "30s", lame_duck_grace_period: "1s"'


@pytest.fixture
def server(make_server: MakeServer) -> NatsServer:
    """A server whose lame duck mode is over soon."""
    return make_server(LAME_DUCK)


@pytest.mark.core
async def test_a_server_killed_three_times_loses_nothing_and_doubles_nothing(scene: Scene, server: NatsServer) -> None:
    """Alone, it forgets the latest acks that it got; what they settled comes again, and is recognised."""
    worker = await scene.worker()
    async with scene.feed():
        for _ in range(3):
            await scene.more(300)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.start)
        await scene.more(300)
    assert worker.errors.count(LOST) == 3
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_a_server_stopped_three_times_loses_nothing_and_doubles_nothing(scene: Scene, server: NatsServer) -> None:
    worker = await scene.worker()
    async with scene.feed():
        for _ in range(3):
            await scene.more(300)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.start)
        await scene.more(300)
    assert worker.errors.count(LOST) == 3
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_a_server_in_lame_duck_mode_loses_nothing_and_doubles_nothing(scene: Scene, server: NatsServer) -> None:
    await scene.worker()
    async with scene.feed():
        for _ in range(2):
            await scene.more(300)
            leaving = psutil.Process(server.pid)
            server.send_signal(signal.SIGUSR2)
            await asyncio.to_thread(leaving.wait, 30)
            server.kill()
            await asyncio.to_thread(server.start)
        await scene.more(300)
    await scene.drained()
    assert (await scene.close()).left == 0
