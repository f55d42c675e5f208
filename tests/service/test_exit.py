"""How the process ends: drains, exit codes, what is left for others."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from eventbus_runtime.testing.server import NatsServer, free_port
from tests.service.worker import WITHIN, Worker, wait_for

CONFIG = """
    [runtime]
    shutdown_timeout = "{timeout}"
    [buses.main]
    url = "{url}"
    [streams.ORDERS]
    subjects = ["orders.>"]
    [triggers.work]
    filter_subjects = ["orders.>"]
    max_in_flight = {slots}
"""
SLOW = """
    import asyncio
    from eventbus_runtime import Message, pipeline

    @pipeline
    async def work(message: Message) -> None:
        print("start", message.sequence)
        await asyncio.sleep({seconds})
        print("end", message.sequence)
"""
IN_THREAD = """
    import time
    from eventbus_runtime import Message, pipeline

    @pipeline
    def work(message: Message) -> None:
        print("start", message.sequence)
        time.sleep(1000)
"""
STUBBORN = """
    import asyncio
    from eventbus_runtime import pipeline

    @pipeline
    async def work(message) -> None:
        print("start")
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                pass
"""


def config(server: NatsServer, *, timeout: str = "20s", slots: int = 64) -> str:
    return CONFIG.format(url=server.url, timeout=timeout, slots=slots)


async def fill(js: JetStreamContext, count: int) -> None:
    await js.add_stream(name="ORDERS", subjects=["orders.>"])
    for number in range(count):
        await js.publish("orders.created", str(number).encode())


async def wait_stored(js: JetStreamContext, count: int) -> None:
    """Return when the stream holds so many: what nobody confirmed, the server stores when it gets to it."""
    async with asyncio.timeout(WITHIN):
        while (await js.stream_info("ORDERS")).state.messages < count:
            await asyncio.sleep(0.01)


async def settled(js: JetStreamContext) -> tuple[int | None, int | None]:
    info = await js.consumer_info("ORDERS", "work")
    return info.num_pending, info.num_ack_pending


async def test_sigterm_amid_64_handlers_drains_and_hands_the_rest_to_a_second_process(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await fill(js, 200)
    with Worker(tmp_path / "one", config(server), SLOW.format(seconds=1.5)) as one:
        one.wait_lines(64)
        one.signal()
        with Worker(tmp_path / "two", config(server), SLOW.format(seconds=0.01), "--stop-when-idle", "1s") as two:
            assert one.wait() == 0
            assert two.wait() == 0
    ended = Counter(line for worker in (one, two) for line in worker.lines if line.startswith("end"))
    assert len(ended) == 200
    assert set(ended.values()) == {1}
    assert Counter(line.split()[0] for line in one.lines) == {"start": 64, "end": 64}
    assert await settled(js) == (0, 0)
    assert (await js.consumer_info("ORDERS", "work")).num_redelivered == 0


async def test_handlers_that_outlive_the_shutdown_timeout_are_cancelled_and_exit_3(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await fill(js, 3)
    with Worker(tmp_path / "app", config(server, timeout="300ms"), SLOW.format(seconds=1000)) as worker:
        worker.wait_lines(3)
        worker.signal()
        assert worker.wait() == 3
        assert "Traceback" not in worker.errors
    assert await settled(js) == (0, 3) or await settled(js) == (3, 0)


async def test_a_second_signal_stops_at_once(tmp_path: Path, server: NatsServer, js: JetStreamContext) -> None:
    await fill(js, 3)
    with Worker(tmp_path / "app", config(server, timeout="1000s"), SLOW.format(seconds=1000)) as worker:
        worker.wait_lines(3)
        worker.signal()
        worker.wait_logged("stopping")
        worker.signal(signal.SIGINT)
        assert worker.wait() == 3


@pytest.mark.parametrize("handlers", [IN_THREAD, STUBBORN], ids=["thread", "ignores cancellation"])
async def test_a_handler_that_never_returns_exits_3_all_the_same(
    tmp_path: Path, server: NatsServer, js: JetStreamContext, handlers: str
) -> None:
    await fill(js, 1)
    with Worker(tmp_path / "app", config(server, timeout="300ms"), handlers) as worker:
        worker.wait_lines(1)
        worker.signal()
        assert worker.wait() == 3


async def test_stop_when_idle_handles_all_once_and_exits_0(
    tmp_path: Path, server: NatsServer, client: Client, js: JetStreamContext
) -> None:
    await js.add_stream(name="ORDERS", subjects=["orders.>"])
    for _ in range(5_000):
        await client.publish("orders.created", b"x" * 128)
    await wait_stored(js, 5_000)
    handlers = """
        from eventbus_runtime import pipeline

        @pipeline
        async def work(message) -> None:
            pass
    """
    worker = Worker(tmp_path / "app", config(server), handlers, "--stop-when-idle", "1s")
    assert worker.run() == 0, worker.errors
    info = await js.consumer_info("ORDERS", "work")
    assert (info.num_pending, info.num_ack_pending, info.num_redelivered) == (0, 0, 0)
    assert info.ack_floor is not None
    assert info.ack_floor.stream_seq == 5_000


def test_an_unreachable_bus_is_not_idle_and_stops_cleanly(tmp_path: Path) -> None:
    text = CONFIG.format(url=f"nats://127.0.0.1:{free_port()}", timeout="5s", slots=1)
    with Worker(tmp_path / "app", text, SLOW.format(seconds=0), "--stop-when-idle", "200ms") as worker:
        worker.wait_logged("bus main: backing_off")
        wait_for(lambda: not worker.has_logged("summary"), "it goes on")
        deadline_passed = os.times().elapsed + 1.5
        wait_for(lambda: os.times().elapsed > deadline_passed, "more than the idle time went by")
        assert worker.process is not None
        assert worker.process.poll() is None
        worker.signal()
        assert worker.wait() == 0
        assert "Traceback" not in worker.errors


async def test_wrong_credentials_exit_1_and_name_the_key(tmp_path: Path) -> None:
    with NatsServer('authorization { user: "shop", password: "right" }') as server:
        text = config(server) + '\n    [buses.main.auth]\n    user = "shop"\n    password = "wrong"\n'
        worker = Worker(tmp_path / "app", text, SLOW.format(seconds=0))
        assert worker.run() == 1
        assert "buses.main.auth" in worker.errors
        assert "wrong" not in worker.errors
        assert "Traceback" not in worker.errors


async def test_subjects_of_another_stream_exit_1_and_name_it(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await js.add_stream(name="OLD", subjects=["orders.created"])
    worker = Worker(tmp_path / "app", config(server), SLOW.format(seconds=0))
    assert worker.run() == 1
    assert "OLD" in worker.errors
    assert "Traceback" not in worker.errors


async def test_jetstream_off_is_said_and_tried_again(tmp_path: Path) -> None:
    with (
        NatsServer(jetstream=False) as server,
        Worker(tmp_path / "app", config(server), SLOW.format(seconds=0)) as worker,
    ):
        worker.wait_logged("trigger work: backing_off")
        assert "JetStream is off" in worker.errors
        server.stop()
        server.jetstream = True
        server.start()
        worker.wait_logged("trigger work: running")
        worker.signal()
        assert worker.wait() == 0
        assert "Traceback" not in worker.errors


async def test_one_failed_trigger_leaves_its_sibling_running(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await js.add_stream(name="ORDERS", subjects=["orders.>"])
    await js.add_stream(name="OTHER", subjects=["other.>"])
    push = ConsumerConfig(durable_name="push", deliver_subject="somewhere", ack_policy=AckPolicy.EXPLICIT)
    await js.add_consumer("OTHER", push)
    text = (
        config(server)
        + """
    [streams.OTHER]
    declare = false
    [consumers.push]
    stream = "OTHER"
    declare = false
    [triggers.push]
    pipeline = "work"
    """
    )
    with Worker(tmp_path / "app", text, SLOW.format(seconds=0)) as worker:
        worker.wait_logged("trigger push: failed")
        assert "push based" in worker.errors
        await js.publish("orders.created", b"1")
        worker.wait_lines(2)
        worker.signal()
        assert worker.wait() == 0
