"""Waits between tries, and the alarm that a loop sleeps on."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.triggers.backoff import Alarm, Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(0.2, 1.0, share=lambda: 1.0)
    assert [backoff.delay() for _ in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_after_success_it_begins_anew() -> None:
    backoff = Backoff(0.2, 1.0, share=lambda: 1.0)
    for _ in range(4):
        backoff.delay()
    backoff.reset()
    assert [backoff.delay(), backoff.delay()] == [0.2, 0.4]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_jitter_is_full(shares: list[float]) -> None:
    given_ = iter(shares)
    backoff = Backoff(0.5, 8.0, share=lambda: next(given_))
    for number, share in enumerate(shares):
        assert backoff.delay() == pytest.approx(share * min(8.0, 0.5 * 2**number))


async def waiting(alarm: Alarm, until: float | None = None) -> asyncio.Task[None]:
    """A task that has begun to wait."""
    task = asyncio.create_task(alarm.wait(until))
    await asyncio.sleep(0)
    return task


async def test_a_ring_ends_the_wait_that_is_on() -> None:
    alarm = Alarm()
    task = await waiting(alarm)
    assert not task.done()
    alarm.ring()
    alarm.ring()
    await task


async def test_a_ring_before_the_wait_is_not_lost_and_counts_once() -> None:
    alarm = Alarm()
    alarm.ring()
    alarm.ring()
    await alarm.wait(None)
    task = await waiting(alarm)
    assert not task.done()
    alarm.ring()
    await task


async def test_it_rings_at_its_time() -> None:
    loop = asyncio.get_running_loop()
    alarm = Alarm()
    at = loop.time() + 0.01
    await alarm.wait(at)
    # asyncio runs a timer up to one clock resolution early; uvloop's clock counts whole milliseconds
    assert loop.time() >= at - 0.005


async def test_a_time_that_is_past_rings_at_once() -> None:
    async with asyncio.timeout(5):
        assert await Alarm().wait(0.0) is None  # type: ignore[func-returns-value]


@pytest.mark.seed("S-52")
async def test_a_ring_takes_the_timer_away() -> None:
    """S-52: no timer is left behind by a wait, so a later wait is not ended by it."""
    loop = asyncio.get_running_loop()
    alarm = Alarm()
    at = loop.time() + 0.02
    task = await waiting(alarm, at)
    alarm.ring()
    await task
    later = await waiting(alarm)
    passed = loop.create_future()
    loop.call_at(at + 0.01, passed.set_result, None)
    await passed
    assert not later.done()
    alarm.ring()
    await later


async def test_a_cancelled_wait_leaves_nothing_and_loses_no_ring() -> None:
    alarm = Alarm()
    task = await waiting(alarm, asyncio.get_running_loop().time() + 60)
    alarm.ring()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await alarm.wait(None)
    task = await waiting(alarm)
    assert not task.done()
    alarm.ring()
    await task
