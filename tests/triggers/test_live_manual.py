"""`ack = "manual"`: the handler settles by its `Delivery`, once (S-54)."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.testing.server import NatsServer
from tests.triggers.live import STUBBORN, Observer, running, until


@pytest.mark.parametrize(("verb", "word"), [("ack", b""), ("nak", b'-NAK {"delay": 9000000000}'), ("reject", b"+TERM")])
async def test_the_first_word_counts_and_a_later_one_answers_false(server: NatsServer, verb: str, word: bytes) -> None:
    answers: list[bool] = []

    async def handler(delivery: Delivery) -> None:
        settle = getattr(delivery, verb)
        answers.append(await (settle(9.0) if verb == "nak" else settle()))
        answers.extend([await delivery.ack(), await delivery.nak(), await delivery.reject(), await delivery.progress()])

    async with Observer(server.url) as observer, running(server, handler, ack="manual") as live:
        await live.publish(b"")
        await until(lambda: len(answers) == 5)
        await until(lambda: live.trigger.counters.in_flight == 0)
        await live.shown_to(observer)
        assert answers == [True, False, False, False, False]
        assert list(observer.settlements().values()) == [[word]]


async def test_two_at_once_make_one_settlement(server: NatsServer) -> None:
    answers: list[bool] = []

    async def handler(delivery: Delivery) -> None:
        answers.extend(await asyncio.gather(delivery.ack(), delivery.nak(), delivery.reject()))

    async with Observer(server.url) as observer, running(server, handler, ack="manual", ack_confirm=True) as live:
        await live.publish(b"")
        await until(live.drained)
        await live.shown_to(observer)
        assert answers == [True, False, False]
        assert list(observer.settlements().values()) == [[b""]]


@pytest.mark.seed("S-54")
async def test_nothing_is_acked_that_the_user_did_not_ack_and_the_slot_stays_taken(server: NatsServer) -> None:
    """S-54: in the origin nothing is acked by itself; and `max_in_flight` counts until the settlement."""
    held: list[Delivery] = []

    async def handler(delivery: Delivery) -> None:
        held.append(delivery)

    async with running(server, handler, ack="manual", max_in_flight=2) as live:
        await live.publish(b"1", b"2", b"3")
        await until(lambda: len(held) == 2)
        info = await live.info_when(lambda info: info.num_pending == 1)  # a consumer may hear late of what is stored
        assert info.num_ack_pending == 2
        assert live.trigger.counters.in_flight == 2
        assert await held[0].ack()
        await until(lambda: len(held) == 3)
        for delivery in held[1:]:
            assert await delivery.ack()
        await until(live.drained)


async def test_progress_stops_when_the_handler_returns_and_by_hand_it_goes_on(server: NatsServer) -> None:
    """Lease over: the slot is freed, counted as `abandoned`, told once; the server delivers again."""
    held: list[Delivery] = []

    async def handler(delivery: Delivery) -> None:
        held.append(delivery)

    async with running(server, handler, ack="manual", max_in_flight=1, consumer={"ack_wait": 0.6}) as live:
        await live.publish(b"")
        await until(lambda: len(held) == 1)
        for _ in range(4):
            await asyncio.sleep(0.3)
            assert await held[0].progress()
        assert len(held) == 1
        await until(lambda: live.trigger.counters.abandoned == 1)
        assert not await held[0].ack()
        await until(lambda: len(held) == 2)
        assert held[1].attempt == 2
        assert await held[1].ack()
        await until(live.drained)
        assert [failure.settlement for failure in live.failures()] == ["left"]


async def test_a_handler_that_raises_before_it_settles_is_retried(server: NatsServer) -> None:
    async def handler(delivery: Delivery) -> None:
        raise ValueError("early")

    async with Observer(server.url) as observer, running(server, handler, ack="manual", retry=STUBBORN) as live:
        await live.publish(b"")
        await until(lambda: live.trigger.counters.nakked == 1)
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[b'-NAK {"delay": 3600000000000}']]


async def test_a_handler_that_raises_after_its_ack_is_told_and_not_settled_again(server: NatsServer) -> None:
    async def handler(delivery: Delivery) -> None:
        await delivery.ack()
        raise ValueError("late")

    async with Observer(server.url) as observer, running(server, handler, ack="manual") as live:
        await live.publish(b"")
        await until(lambda: bool(live.failures()))
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[b""]]
        (failure,) = live.failures()
        assert failure.settlement == "settled"
        assert re.fullmatch(r"ValueError: late \(test_live_manual\.py:\d+ in handler\)", failure.text)


async def test_settling_by_hand_works_without_manual_ack_too(server: NatsServer) -> None:
    async def handler(delivery: Delivery) -> None:
        await delivery.nak(3600.0)

    async with Observer(server.url) as observer, running(server, handler) as live:
        await live.publish(b"")
        await until(lambda: live.trigger.counters.handled == 1)
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[b'-NAK {"delay": 3600000000000}']]


async def test_a_handler_that_acked_early_and_works_on_does_not_hold_up_the_stop(server: NatsServer) -> None:
    """It gets the stop's time like any other, and is cancelled then."""
    ended: list[str] = []
    acked = asyncio.Event()

    async def handler(delivery: Delivery) -> None:
        await delivery.ack()
        acked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async with running(server, handler, ack="manual") as live:
        await live.publish(b"")
        await acked.wait()
        await live.stop(0.3, within=3)
        assert ended == ["cancelled"]


async def test_what_waits_for_its_settlement_is_handed_back_at_the_stop(server: NatsServer) -> None:
    held: list[Any] = []

    async def handler(delivery: Delivery) -> None:
        held.append(delivery)

    async with Observer(server.url) as observer, running(server, handler, ack="manual") as live:
        await live.publish(b"")
        await until(lambda: len(held) == 1)
        await live.stop(0.1)
        await live.shown_to(observer)
        assert list(observer.settlements().values()) == [[b"-NAK"]]
        assert live.trigger.cancelled == 1
        assert not await held[0].ack()
