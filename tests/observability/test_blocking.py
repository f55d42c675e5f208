"""What blocks the event loop is named while it is at work."""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from eventbus_runtime import Runtime
from eventbus_runtime.events import Fact, Warned
from eventbus_runtime.observability.blocking import BlockingWatch
from eventbus_runtime.testing.server import NatsServer
from tests.test_runtime import CONFIG, Facts, publish, until_running, write

HANDLERS = """
    import time
    from eventbus_runtime import pipeline

    @pipeline
    async def work(message) -> None:
        charge(float(message.payload))

    def charge(seconds):
        time.sleep(seconds)
"""


def warnings(facts: list[Fact]) -> list[Warned]:
    return [fact for fact in facts if isinstance(fact, Warned) and "blocked the event loop" in fact.text]


async def told(facts: list[Fact], count: int) -> None:
    """Return when so many warnings came."""
    async with asyncio.timeout(5):
        while len(warnings(facts)) < count:
            await asyncio.sleep(0.01)


async def test_a_handler_that_blocks_is_named_with_its_line_once_a_minute(tmp_path: Path, server: NatsServer) -> None:
    facts = Facts()
    path = write(tmp_path, CONFIG.format(url=server.url), HANDLERS)
    async with Runtime.from_file(path, listeners=[facts]) as runtime:
        await until_running(runtime)
        await publish(server.url, b"0.01", b"0.3", b"0.3")
        await runtime.wait_idle(0.2)
    (warned,) = warnings(facts)
    assert warned.text.startswith("handler work of trigger work has blocked the event loop for 0.")
    assert "handlers.py:10 in charge" in warned.text
    assert 0.1 < float(str(warned.detail["seconds"])) < 1


async def test_what_is_no_handler_is_told_by_its_place_alone() -> None:
    facts: list[Fact] = []
    with BlockingWatch(facts.append):
        time.sleep(0.3)
        await told(facts, 1)
    (warned,) = warnings(facts)
    assert warned.name == "something other than a handler"
    assert "test_blocking.py:" in warned.text


async def test_a_loop_that_waits_is_blocked_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers late where the process gets no time, and then there is nothing to blame."""
    loop, facts, late = asyncio.get_running_loop(), list[Fact](), list[threading.Timer]()
    soon = loop.call_soon_threadsafe

    def later(*arguments: Any) -> None:
        late.append(threading.Timer(0.2, soon, arguments))
        late[-1].start()

    monkeypatch.setattr(loop, "call_soon_threadsafe", later)
    with BlockingWatch(facts.append):
        await asyncio.sleep(0.6)
    for timer in late:
        timer.join()
    await asyncio.sleep(0)
    assert (facts, len(late) > 1) == ([], True)


async def test_a_callback_that_has_no_frame_of_its_own_blocks_the_loop() -> None:
    facts: list[Fact] = []
    with BlockingWatch(facts.append):
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        await told(facts, 1)
    assert warnings(facts)[0].name == "something other than a handler"


async def test_code_that_waits_in_a_selector_of_its_own_blocks_the_loop() -> None:
    facts: list[Fact] = []
    with BlockingWatch(facts.append), selectors.DefaultSelector() as selector:
        selector.select(0.3)
        await told(facts, 1)
    assert "test_blocking.py:" in warnings(facts)[0].text


async def test_a_loop_that_turns_is_not_warned_of_and_the_thread_ends() -> None:
    facts: list[Fact] = []
    before = threading.enumerate()
    with BlockingWatch(facts.append):
        for _ in range(20):
            time.sleep(0.03)
            await asyncio.sleep(0)
    assert facts == []
    assert threading.enumerate() == before
