"""A handler that kills its process: it does not do so for ever, and what was in flight beside it is not blamed."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import psutil
import pytest
from nats.js import JetStreamContext

from eventbus_runtime.testing.server import NatsServer
from tests.service.suspects import child_of, dead_letters, deliver, pending, wait_gone, worker
from tests.service.worker import Worker

IDLE = ("--stop-when-idle", "500ms")
KILLER = """
    @pipeline
    async def work(message: Message) -> None:
        if message.payload == b"killer":
            os.kill(os.getpid(), signal.SIGKILL)
        say("handled", message.payload.decode())
"""


@pytest.mark.timeout(120)
async def test_one_killer_among_256_in_flight_is_dead_lettered_and_the_rest_is_handled(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    """Each time its process dies, it is started again, as by an init system."""
    payloads = [b"%d" % number for number in range(255)]
    await deliver(js, [*payloads[:100], b"killer", *payloads[100:]], times=0)
    handlers = KILLER.replace("        if", "        if MAIN:\n            await asyncio.sleep(0.5)\n        if")
    codes: list[int] = []
    handled = Counter[str]()
    while codes[-1:] != [0]:
        one = worker(tmp_path / f"{len(codes)}", server, handlers, *IDLE, attempts=3, ack_wait="1s", more=DEAD_256)
        codes.append(one.run(within=60))
        handled.update(line.split()[1] for line in one.lines)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, -signal.SIGKILL, 0]
    assert await dead_letters(js) == [(b"killer", "killed-worker")]
    assert set(handled) == {payload.decode() for payload in payloads}
    assert await pending(js) == (0, 0)
    assert sum("delivery count of 4, above attempts = 3" in str(line["event"]) for line in one.log) == 1


DEAD_256 = """dead_letter = "dead.work"
    max_in_flight = 256"""


async def test_three_clean_stops_with_one_attempt_dead_letter_nothing(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"%d" % number for number in range(20)])
    slow = """
        @pipeline
        async def work(message: Message) -> None:
            say("start", message.sequence)
            await asyncio.sleep(0.5)
            say("handled", message.sequence)
    """
    lines = []
    for number in range(3):
        with worker(tmp_path / f"{number}", server, slow) as one:
            one.wait_lines(1)
            one.signal()
            assert one.wait() == 0
            lines += one.lines
    last = worker(tmp_path / "last", server, slow.replace("0.5", "0"), *IDLE)
    assert last.run() == 0
    lines += last.lines
    assert Counter(line for line in lines if line.startswith("handled")) == {
        f"handled {number} child": 1 for number in range(1, 21)
    }
    assert await dead_letters(js) == []
    assert await pending(js) == (0, 0)


BLOCKING = """
    @pipeline
    async def work(message: Message) -> None:
        say("start")
        time.sleep(1000)
"""
WAITING = BLOCKING.replace("time.sleep", "await asyncio.sleep")
IN_THREAD = BLOCKING.replace("async def", "def")


async def started(one: Worker) -> psutil.Process:
    one.wait_lines(1)
    return child_of(one)


@pytest.mark.parametrize("handler", [BLOCKING, WAITING, IN_THREAD], ids=["blocking", "waiting", "in thread"])
async def test_a_stop_that_a_suspect_outlives_ends_its_process_and_hands_it_back(
    handler: str, tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"one", b"two"])
    with worker(tmp_path / "app", server, handler, shutdown_timeout="200ms") as one:
        child = await started(one)
        one.signal()
        assert one.wait() == 3
        wait_gone(child)
        assert "Traceback" not in one.errors
    assert await dead_letters(js) == []
    assert sum(filter(None, await pending(js))) == 2
    last = worker(tmp_path / "last", server, KILLER, *IDLE)  # at once, long before ack_wait is over
    assert last.run() == 0
    assert sorted(last.lines) == ["handled one child", "handled two child"]


async def test_a_second_signal_ends_the_process_of_a_suspect_at_once(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"one"])
    with worker(tmp_path / "app", server, BLOCKING, shutdown_timeout="1000s") as one:
        child = await started(one)
        one.signal()
        one.wait_logged("trigger work: draining")
        one.signal(signal.SIGINT)
        assert one.wait() == 3
        wait_gone(child)
    assert await dead_letters(js) == []


@pytest.mark.parametrize("handler", [BLOCKING, WAITING], ids=["blocking", "waiting"])
async def test_the_process_of_a_suspect_does_not_outlive_a_worker_that_is_killed(
    handler: str, tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"one"])
    with worker(tmp_path / "app", server, handler) as one:
        child = await started(one)
        one.signal(signal.SIGKILL)
        one.wait()
        wait_gone(child)
    assert await dead_letters(js) == []
    assert await pending(js) == (0, 1)


async def test_a_sigterm_for_all_processes_of_a_service_is_not_taken_for_the_handlers_doing(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"one"])
    with worker(tmp_path / "app", server, WAITING.replace("1000", "1")) as one:
        (await started(one)).terminate()
        one.signal()
        assert one.wait() == 0
    assert await dead_letters(js) == []
    assert await pending(js) == (0, 0)


async def test_the_process_of_suspects_ends_when_none_came_for_a_while(
    tmp_path: Path, server: NatsServer, js: JetStreamContext
) -> None:
    await deliver(js, [b"one"])
    with worker(tmp_path / "app", server, KILLER) as one:
        one.wait_lines(1)
        wait_gone(child_of(one))
        one.signal()
        assert one.wait() == 0
