"""How the API is asked: the answer that comes first counts, and none is waited for in vain."""

from __future__ import annotations

import asyncio

import pytest

from eventbus_runtime.buses.questions import ask_consumer
from eventbus_runtime.errors import BusUnavailableError, NotFoundError
from tests.triggers.bus_model import ModelBus
from tests.virtual import VirtualLoop


async def made() -> ModelBus:
    return ModelBus(lambda token, word, lease: None, lambda what: None)


@pytest.mark.parametrize("elected_after", [0.5, 3.5])
def test_it_asks_again_each_second_while_the_answer_to_an_earlier_question_may_still_come(elected_after: float) -> None:
    """Who was asked before the election never answers."""
    with VirtualLoop() as loop:
        bus = loop.run_until_complete(made())
        bus.has_leader = False
        asking = loop.create_task(ask_consumer(bus, "S", "c"))
        loop.pass_by(elected_after)
        assert not asking.done()
        bus.has_leader = True
        loop.pass_by(1.0)
        assert asking.result().name == "c"
        loop.pass_by()
        assert asyncio.all_tasks(loop) == set()


def test_it_gives_up_after_five_seconds_and_leaves_no_question_behind() -> None:
    with VirtualLoop() as loop:
        bus = loop.run_until_complete(made())
        bus.has_leader = False
        asking = loop.create_task(ask_consumer(bus, "S", "c"))
        loop.pass_by(4.9)
        assert not asking.done()
        loop.pass_by(0.2)
        assert isinstance(asking.exception(), BusUnavailableError)
        loop.pass_by(5.0)
        assert asyncio.all_tasks(loop) == set()


def test_behind_a_blocked_loop_an_answer_beats_the_time_out_that_is_due_too() -> None:
    with VirtualLoop() as loop:
        bus = loop.run_until_complete(made())
        bus.has_leader = False
        asking = loop.create_task(ask_consumer(bus, "S", "c"))
        loop.pass_by(3.5)
        bus.has_leader = True
        loop.block(10.0)
        loop.pass_by()
        assert asking.result().name == "c"


def test_an_answer_that_says_no_is_one() -> None:
    with VirtualLoop() as loop:
        bus = loop.run_until_complete(made())
        bus.consumer = None
        with pytest.raises(NotFoundError):
            loop.run_until_complete(ask_consumer(bus, "S", "c"))
