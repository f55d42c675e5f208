"""What breaks under a running worker, seen from outside: nothing is lost, and the log stays readable."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import nats
import psutil
import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import BusError, PublishError
from eventbus_runtime.testing.server import NatsServer
from tests.service.worker import Worker, wait_for

CONFIG = """
    [buses.main]
    url = "{url}"
    [streams.ORDERS]
    subjects = ["orders.>"]
    [consumers.work]
    stream = "ORDERS"
    ack_wait = "2s"
    [triggers.work]
"""
HANDLERS = """
    import asyncio
    from eventbus_runtime import Message, pipeline

    @pipeline
    async def work(message: Message) -> None:
        await asyncio.sleep(0.005)
        print(message.payload.decode())
"""


async def test_server_killed_three_times_under_load_loses_nothing_and_logs_little(
    tmp_path: Path, server: NatsServer
) -> None:
    published: list[str] = []
    over = asyncio.Event()

    async def publish() -> None:
        async with NatsBus("publisher", BusConfig(), urls=[server.url]) as bus:
            for number in map(str, count()):
                if over.is_set():
                    return
                try:
                    await bus.wait_connected()
                    await bus.publish("orders.created", number.encode(), timeout=1)
                    published.append(number)
                except (BusError, PublishError):  # not confirmed, so not counted
                    await asyncio.sleep(0.02)

    with Worker(tmp_path / "app", CONFIG.format(url=server.url), HANDLERS) as worker:
        worker.wait_logged("trigger work: running")
        publishing = asyncio.create_task(publish())
        for _ in range(3):
            before = len(published)
            await until(lambda before=before: len(published) > before + 100)
            server.kill()
            await asyncio.sleep(0.7)  # the scenario: away for so long
            server.start()
        before = len(published)
        await until(lambda: len(published) > before + 100)
        over.set()
        await publishing
        await until(lambda: set(published) <= set(worker.lines))
        worker.signal()
        assert worker.wait() == 0
        assert "Traceback" not in worker.errors
        assert len(worker.errors.splitlines()) < 30
    assert set(published) <= set(worker.lines)


async def until(what: object, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_consumer_deleted_while_the_server_was_away_is_made_again_and_goes_on_where_it_was(
    tmp_path: Path, server: NatsServer
) -> None:
    with Worker(tmp_path / "app", CONFIG.format(url=server.url), HANDLERS) as worker:
        worker.wait_logged("trigger work: running")
        client = await nats.connect(server.url)
        await client.jetstream().publish("orders.created", b"before")
        worker.wait_lines(1)
        worker.signal(signal.SIGSTOP)  # it must not see the deletion itself
        await client.jetstream().delete_consumer("ORDERS", "work")
        await client.close()
        server.kill()
        worker.signal(signal.SIGCONT)
        worker.wait_logged("bus main: backing_off")
        server.start()
        client = await nats.connect(server.url)
        await client.jetstream().publish("orders.created", b"after")
        worker.wait_lines(2)
        await client.close()
    assert "after" in Counter(worker.lines)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_embedded_server_ends_with_its_worker_however_that_ends(tmp_path: Path, number: signal.Signals) -> None:
    with Worker(tmp_path / "app", CONFIG.format(url="embedded"), HANDLERS) as worker:
        worker.wait_logged("trigger work: running")
        assert worker.process is not None
        (server,) = psutil.Process(worker.process.pid).children()
        worker.signal(number)
        worker.wait()
        wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "the server's end")


def test_a_worker_whose_embedded_server_is_killed_exits_1_and_says_so(tmp_path: Path) -> None:
    with Worker(tmp_path / "app", CONFIG.format(url="embedded"), HANDLERS) as worker:
        worker.wait_logged("trigger work: running")
        assert worker.process is not None
        (server,) = psutil.Process(worker.process.pid).children()
        server.kill()
        assert worker.wait() == 1
        worker.wait_logged("the embedded nats-server of bus 'main' has ended by itself (killed by signal 9)")


def test_http_tells_why_it_is_not_ready_and_what_it_did(tmp_path: Path, server: NatsServer) -> None:
    import httpx

    config = '[runtime]\n    http = "127.0.0.1:0"\n' + CONFIG.format(url=server.url)
    with Worker(tmp_path / "app", config, HANDLERS) as worker:
        worker.wait_logged("http: listening")
        address = next(line["address"] for line in worker.log if "http: listening" in line["event"])
        worker.wait_logged("trigger work: running")
        assert httpx.get(f"http://{address}/livez").status_code == 200
        wait_for(lambda: httpx.get(f"http://{address}/readyz").status_code == 200, "readiness")
        status = httpx.get(f"http://{address}/status").json()
        assert status["triggers"]["work"]["state"] == "running"
        assert 'eventbus_received_total{trigger="work"} 0.0' in httpx.get(f"http://{address}/metrics").text
        server.kill()
        wait_for(lambda: httpx.get(f"http://{address}/readyz").status_code == 503, "unreadiness")
        reasons = httpx.get(f"http://{address}/readyz").json()["reasons"]
        assert any(reason.startswith("bus main is backing_off") for reason in reasons)
        worker.signal()
        assert worker.wait() == 0


def test_a_taken_http_port_exits_1_and_names_the_key(tmp_path: Path, server: NatsServer) -> None:
    port = urlsplit(server.url).port
    config = f'[runtime]\n    http = "127.0.0.1:{port}"\n' + CONFIG.format(url=server.url)
    worker = Worker(tmp_path / "app", config, HANDLERS)
    assert worker.run() == 1
    assert "runtime.http" in worker.errors
    assert "Traceback" not in worker.errors


def test_handlers_logs_carry_their_delivery(tmp_path: Path, server: NatsServer) -> None:
    handlers = """
        import logging
        import structlog
        from eventbus_runtime import pipeline

        @pipeline
        async def work(message) -> None:
            structlog.get_logger().info("ours")
            logging.getLogger("mine").warning("theirs")
            print("done")
    """
    with Worker(tmp_path / "app", CONFIG.format(url=server.url), handlers) as worker:
        worker.wait_logged("trigger work: running")
        asyncio.run(publish_one(server.url))
        worker.wait_lines(1)
        for text in ("ours", "theirs"):
            worker.wait_logged(text)
            line = next(line for line in worker.log if line["event"] == text)
            assert (line["stream"], line["consumer"], line["sequence"]) == ("ORDERS", "work", 1), json.dumps(line)


async def publish_one(url: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().publish("orders.created", os.urandom(4))
    await client.close()
