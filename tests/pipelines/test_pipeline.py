"""What a bound pipeline does with a delivery, and what it hands back."""

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from eventbus_runtime.buses.base import Bus, PubAck
from eventbus_runtime.errors import BindingError, PublishError
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.base import Delivery, Pipeline
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.pipelines.pipeline import bind_background
from eventbus_runtime.pipelines.registry import background, pipeline, resource
from eventbus_runtime.pipelines.resources import Resources
from tests.pipelines.parts import BUS, Held, bound, chosen, fire, fired

HERE: ContextVar[str] = ContextVar("HERE", default="unset")
ONE, TWO = Publish("one"), Publish("two")


class Order(BaseModel):
    id: str


class Row: ...


def test_a_bound_pipeline_is_what_triggers_know_as_one() -> None:
    @pipeline("billing")
    async def handler(message: Message) -> None: ...

    @pipeline
    def in_thread(message: Message) -> None: ...

    pipe: Pipeline = bound(handler)
    assert (pipe.name, pipe.blocking) == ("billing", False)
    assert bound(in_thread).blocking


@pytest.mark.parametrize(
    ("returned", "outgoing"),
    [(None, []), (ONE, [ONE]), ([ONE, TWO], [ONE, TWO]), ((ONE,), [ONE]), ([], [])],
)
async def test_what_a_handler_returns_is_what_is_to_be_published(returned: Any, outgoing: list[Publish]) -> None:
    @pipeline
    async def handler(message: Message) -> Any:
        return returned

    @pipeline
    async def of_two(message: Message, bus: Bus) -> Any:
        return returned

    @pipeline
    def in_thread(message: Message) -> Any:
        return returned

    for function in (handler, of_two, in_thread):
        assert list(await fire(function)) == outgoing


@pytest.mark.parametrize("outcome", [Retry("later", delay=3), Reject("never")])
async def test_retry_and_reject_may_be_raised_or_returned(outcome: Retry | Reject) -> None:
    @pipeline
    async def returns(message: Message) -> Retry | Reject:
        return outcome

    @pipeline
    async def raises(message: Message) -> None:
        raise outcome

    @pipeline
    def returns_in_thread(message: Message) -> Retry | Reject:
        return outcome

    for function in (returns, raises, returns_in_thread):
        with pytest.raises(type(outcome)) as caught:
            await fire(function)
        assert caught.value is outcome


@pytest.mark.parametrize("returned", [7, "text", {"a": 1}, [ONE, None], [None], (1,), False, 0, ""])
async def test_anything_else_is_a_type_error_that_names_handler_and_type(returned: Any) -> None:
    @pipeline("billing")
    async def handler(message: Message) -> Any:
        return returned

    wrong = returned[-1] if isinstance(returned, list | tuple) else returned
    with pytest.raises(TypeError, match=rf"billing \(.*test_pipeline\.py:\d+\) handed back {type(wrong).__name__};"):
        await fire(handler)


async def test_bytes_are_the_payload_itself() -> None:
    seen: list[bytes] = []

    @pipeline
    async def handler(payload: bytes) -> None:
        seen.append(payload)

    held = Held(b"\x00\xff")
    await fired(bound(handler), held)
    assert seen[0] is held.message.payload


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "30s"])
def test_a_retry_wants_a_delay_that_can_be_waited_for(delay: Any) -> None:
    with pytest.raises(ValueError, match="a number of seconds, 0 or more"):
        Retry(delay=delay)


async def test_a_coroutine_that_nobody_awaits_is_an_error_and_not_a_warning() -> None:
    async def work() -> None: ...

    @pipeline("forgets-await")
    def handler(message: Message) -> Any:
        return work()

    with pytest.raises(TypeError, match="handed back coroutine"):
        await fire(handler)
    gc.collect()


async def test_what_an_async_generator_yields_is_published_and_confirmed_before_it_goes_on() -> None:
    held = Held()

    @pipeline
    async def handler(message: Message) -> AsyncIterator[Publish]:
        yield ONE
        held.did.append("went on")
        yield TWO

    assert list(await fired(bound(handler), held)) == []
    assert held.did == ["one", "went on", "two"]


async def test_a_publish_that_fails_ends_the_generator_and_the_delivery() -> None:
    class Refusing(Held):
        async def publish(self, outgoing: Publish) -> PubAck:
            raise PublishError("no stream listens there")

    ended = []

    @pipeline
    async def handler(message: Message) -> AsyncIterator[Publish]:
        try:
            yield ONE
        finally:
            ended.append("closed")

    with pytest.raises(PublishError):
        await fired(bound(handler), Refusing())
    assert ended == ["closed"]


async def test_a_generator_that_yields_anything_else_fails_and_is_closed() -> None:
    ended = []

    @pipeline
    async def handler(message: Message) -> AsyncIterator[Any]:
        try:
            yield ONE
            yield 7
        finally:
            ended.append("closed")

    held = Held()
    with pytest.raises(TypeError, match="handed back int"):
        await fired(bound(handler), held)
    assert (held.did, ended) == (["one"], ["closed"])


async def test_what_a_generator_in_a_thread_yields_is_collected_there() -> None:
    @pipeline
    def handler(order: Order) -> Iterator[Publish]:
        yield Publish(order.id, threading.get_ident())
        yield Publish(order.id, threading.get_ident())

    first, second = await fire(handler, payload='{"id": "A1"}')
    assert first.subject == "A1"
    assert first.payload == second.payload != threading.get_ident()


async def test_a_def_handler_runs_in_a_thread_with_the_context_of_its_delivery() -> None:
    seen: list[object] = []

    @pipeline
    def handler(order: Order) -> None:
        seen.extend((threading.current_thread() is threading.main_thread(), HERE.get(), order.id))
        HERE.set("left behind")

    HERE.set("delivery")
    await fire(handler, payload='{"id": "A1"}')
    assert seen == [False, "delivery", "A1"]
    assert HERE.get() == "delivery"


async def test_def_handlers_share_the_bounded_threads() -> None:
    running, most = 0, 0
    lock, release = threading.Lock(), threading.Event()
    both = threading.Semaphore(0)

    @pipeline
    def handler(message: Message) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.release()
        release.wait(30)
        with lock:
            running -= 1

    pipe = bound(handler, threads=anyio.CapacityLimiter(2))
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(_drop(fired(pipe, Held())))
        for _ in range(2):
            await asyncio.to_thread(both.acquire)
        release.set()
    assert most == 2


async def _drop(outgoing: Awaitable[Sequence[Publish]]) -> None:
    await outgoing


async def test_a_cancelled_delivery_does_not_wait_for_its_thread() -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    @pipeline
    def handler(message: Message) -> None:
        started.set()
        release.wait(30)
        ended.set()

    pipe = bound(handler)
    task = asyncio.ensure_future(_drop(fired(pipe, Held())))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    started.clear()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(pipe.fire, Held())
            await asyncio.to_thread(started.wait)
            scope.cancel()
    assert not ended.is_set()
    release.set()
    await asyncio.to_thread(ended.wait)


async def test_a_delivery_can_be_settled_by_hand() -> None:
    @pipeline
    async def handler(message: Message, delivery: Delivery) -> None:
        await delivery.ack()

    held = Held()
    await fired(bound(handler), held)
    assert held.did == ["ack"]


async def test_a_failing_handler_leaves_no_circle_behind() -> None:
    """Errors hold frames, and frames what the handler held: that must go when the delivery does."""

    @resource(scope="delivery")
    async def row() -> AsyncIterator[Row]:
        yield Row()

    held: list[weakref.ref[Row]] = []

    @pipeline
    async def handler(message: Message, row: Row) -> None:
        held.append(weakref.ref(row))
        raise KeyError("x")

    pipe = bound(handler, row)
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(KeyError):
            await fired(pipe, Held())
        assert held[0]() is None
    finally:
        gc.enable()


async def test_a_background_function_gets_bus_and_resources() -> None:
    seen: list[object] = []

    @resource
    def row() -> Row:
        return Row()

    @background
    async def refresh(bus: Bus, row: Row, every: float = 1.0) -> None:
        seen.extend((bus, type(row), every))

    registry = chosen(refresh, row)
    resources = Resources(registry, BUS)
    run = bind_background(registry.backgrounds["refresh"], registry=registry, bus=BUS, resources=resources)
    async with resources:
        await run()
    assert seen == [BUS, Row, 1.0]


def test_a_background_function_that_can_not_be_bound_is_refused() -> None:
    @background
    def refresh() -> None: ...

    registry = chosen(refresh)
    with pytest.raises(BindingError, match="must be `async def`"):
        bind_background(registry.backgrounds["refresh"], registry=registry, bus=BUS, resources=Resources(registry, BUS))
