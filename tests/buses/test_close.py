"""Leaving a bus: nothing is lost, nothing is left."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import anyio
import pytest
from nats.aio.client import Client

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.buses.nats import dial
from eventbus_runtime.errors import BusUnavailableError
from eventbus_runtime.events import State
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import bus_on, frozen, poll


def tasks() -> set[asyncio.Task[object]]:
    """All tasks but the test's own."""
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}


async def test_no_task_or_thread_is_left(server: NatsServer) -> None:
    threads = threading.active_count()
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("INFO")
        assert tasks()
    assert tasks() == set()
    async with bus_on("nats://127.0.0.1:1"):
        await asyncio.sleep(0.01)
    assert tasks() == set()
    async with bus_on(server.url):
        pass
    assert tasks() == set()
    assert threading.active_count() <= threads + 1, "asyncio's own thread that looks up names"
    gc.collect()  # an unclosed transport would warn, and warnings are errors


async def test_no_task_is_left_after_leaving_in_any_moment_of_connecting(server: NatsServer) -> None:
    for turns in range(0, 40, 3):
        async with bus_on(server.url):
            for _ in range(turns):
                await asyncio.sleep(0)
        assert tasks() == set()
    gc.collect()


async def test_leaving_is_quick_though_nats_py_swallows_the_cancellation(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the `wait_for` of Python 3.11 does when its awaitable fails in the same turn."""
    entered = asyncio.Event()

    async def swallow(self: Client) -> None:
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise OSError("in the same turn") from None

    monkeypatch.setattr(Client, "_process_connect_init", swallow)
    monkeypatch.setattr(dial, "_FIRST_PAUSE", 100.0)
    monkeypatch.setattr(dial, "_LONGEST_PAUSE", 100.0)
    async with bus_on(server.url) as bus:
        await entered.wait()
    assert bus.state is State.STOPPED
    assert tasks() == set()


async def test_no_task_is_left_after_leaving_in_a_cancelled_scope(server: NatsServer) -> None:
    with anyio.CancelScope() as scope:
        async with bus_on(server.url) as bus:
            await bus.wait_connected()
            scope.cancel()
            await anyio.sleep_forever()
    assert bus.state is State.STOPPED
    assert tasks() == set()


async def test_what_was_sent_before_leaving_has_reached_the_server(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
        bus.send([Frame("s", bytes(1000))] * 5000)
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        async with asyncio.timeout(10):
            # The server has them; its stream stores them a little later.
            while (stored := (await bus.api("STREAM.INFO.S"))["state"]["messages"]) < 5000:
                pass
        assert stored == 5000


@pytest.mark.seed("S-24")
async def test_nothing_is_written_after_leaving_and_leaving_twice_is_fine(server: NatsServer) -> None:
    """S-24: stop is idempotent."""
    bus = bus_on(server.url)
    async with bus:
        await bus.wait_connected()
    await bus.close()
    bus.send([Frame("s", b"late", keep_until=float("inf"))])
    assert not await bus.ping()
    for use in (bus.publish("s", b""), bus.request("s"), bus.api("INFO"), bus.wait_connected()):
        with pytest.raises(BusUnavailableError, match="stopped"):
            await use
    assert bus.state is State.STOPPED


async def test_leaving_a_server_that_does_nothing_takes_few_seconds(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        with frozen(server):
            bus.send([Frame("s", bytes(100_000))] * 200)
            began = time.monotonic()
            await bus.close()
            assert time.monotonic() - began < 6
    assert tasks() == set()
    gc.collect()


@pytest.mark.seed("S-26")
async def test_a_bus_that_is_left_and_made_anew_works(server: NatsServer) -> None:
    """S-26: a stopped and re-created module works."""
    for _ in range(3):
        async with bus_on(server.url) as bus:
            await bus.wait_connected()
            assert await bus.ping()


async def test_an_error_inside_nats_py_ends_no_bus(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(self: Client, *arguments: object) -> None:
        raise RuntimeError("boom")

    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        with monkeypatch.context() as patch:
            patch.setattr(Client, "_process_connect_init", breaks)
            server.kill()
            server.start()
            await poll(lambda: "boom" in bus.reason)
        await bus.wait_connected()
        assert await bus.ping()
