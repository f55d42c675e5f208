"""A way to the server that is cut, slow, narrow, half closed, or deaf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import server_version
from tests.chaos.proxy import Proxy
from tests.chaos.scene import ACK_WAIT, IN_FLIGHT, LOST, Scene, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]


@pytest_asyncio.fixture
async def proxy(server: NatsServer) -> AsyncIterator[Proxy]:
    """The worker's way to the server; the driver has its own."""
    async with Proxy(server.port) as made:
        yield made


@pytest.mark.core
async def test_short_cuts_lose_nothing_and_double_nothing(scene: Scene, proxy: Proxy) -> None:
    """What was settled meanwhile is settled again before anything is pulled: the ack_wait is not over yet. Between two
    cuts the connection stands for more than 2 s, so that the next attempts come soon."""
    worker = await scene.worker(url=proxy.url)
    # A cut may cost a message its place on server 2.9: it takes what it could not send off the line, finds requests of
    # the lost connection alone, and goes one back among the new ones instead: the last comes twice, in one read.
    doubles = 2 if server_version() < (2, 10) else 0
    with scene.ledger.disturbance("cut, by nats-server 2.9", doubles):
        async with scene.feed():
            for _ in range(2):
                await scene.more(1200)
                proxy.cut()
                await asyncio.sleep(ACK_WAIT / 10)
                proxy.mend()
            await scene.more(200)
        assert worker.errors.count(LOST) == 2
        await scene.drained()
    assert (await scene.close()).left == 0


async def test_cuts_that_outlast_the_ack_wait_double_at_most_what_was_in_flight(scene: Scene, proxy: Proxy) -> None:
    await scene.worker(url=proxy.url)
    await scene.worker("sibling")
    async with scene.feed():
        for _ in range(2):
            await scene.more(200)
            with scene.ledger.disturbance("cut", doubles=IN_FLIGHT):
                proxy.cut()
                await asyncio.sleep(2 * ACK_WAIT)
                proxy.mend()
        await scene.more(200)
    await scene.drained()
    assert (await scene.close()).left == 0


@pytest.mark.parametrize("back", [True, False], ids=["towards the worker", "towards the server"])
async def test_half_closed_connections_lose_nothing_and_double_nothing(scene: Scene, proxy: Proxy, back: bool) -> None:
    worker = await scene.worker(url=proxy.url)
    async with scene.feed():
        for time in (1, 2, 3):
            await scene.more(200)
            proxy.half_close(back=back)
            await until(lambda time=time: worker.errors.count(LOST) == time, "it notices")  # type: ignore[misc]
        await scene.more(200)
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_a_slow_line_loses_nothing_and_doubles_nothing(scene: Scene, proxy: Proxy) -> None:
    """Each word takes 400 ms, there and back again less than the ack_wait."""
    await scene.worker(url=proxy.url)
    proxy.delay = 0.4
    await scene.publish(400)
    await scene.more(300)
    proxy.mend()
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_a_narrow_line_loses_nothing_and_doubles_nothing(scene: Scene, proxy: Proxy) -> None:
    """4 KiB a second, some 20 deliveries: less than comes, and acks may come after the ack_wait."""
    await scene.worker(url=proxy.url)
    async with scene.feed(rate=100):
        await scene.more(50)
        proxy.rate = 4096
        await asyncio.sleep(5 * ACK_WAIT)
        proxy.mend()
        await scene.more(200)
    await scene.drained()
    assert (await scene.close()).left == 0


async def test_a_worker_that_hears_nothing_of_the_server_recovers_by_itself(scene: Scene, proxy: Proxy) -> None:
    """The line is dead in one direction: only PINGs without an answer tell. Its sibling works on meanwhile."""
    deaf = await scene.worker(url=proxy.url)
    await scene.worker("sibling")
    async with scene.feed(rate=200):
        await scene.more(200)
        with scene.ledger.disturbance("line deaf", doubles=IN_FLIGHT):
            proxy.deaf = True
            await until(lambda: deaf.has_logged(LOST), "it gives the connection up", 75)
            proxy.mend()
            await scene.more(100)
    await scene.drained()
    assert (await scene.close()).left == 0
