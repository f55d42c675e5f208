"""Resources of delivery scope: opened for each delivery, told of what failed, closed before its outcome is."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.errors import DecodeError
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.pipelines.registry import pipeline, resource
from tests.pipelines.parts import BUS, Held, bound, fired


class Pool: ...


class Connection: ...


class Audit: ...


def transactions(log: list[str]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two resources of delivery scope, the second on top of the first, that note what becomes of them."""

    @resource(scope="delivery")
    async def connection() -> AsyncIterator[Connection]:
        log.append("open connection")
        try:
            yield Connection()
        except BaseException as error:
            log.append(f"connection saw {type(error).__name__}")
            raise
        else:
            log.append("connection committed")

    @resource(scope="delivery")
    def audit(connection: Connection) -> Iterator[Audit]:
        log.append("open audit")
        try:
            yield Audit()
        except BaseException as error:
            log.append(f"audit saw {type(error).__name__}")
            raise
        else:
            log.append("audit committed")

    return connection, audit


async def test_delivery_resources_open_and_close_around_each_delivery() -> None:
    log: list[str] = []
    connection, audit = transactions(log)

    @pipeline
    async def handler(message: Message, audit: Audit, connection: Connection) -> Publish:
        log.append("handler")
        return Publish("done")

    pipe = bound(handler, connection, audit)
    for _ in range(2):
        assert await fired(pipe, Held()) == (Publish("done"),)
        assert log == ["open connection", "open audit", "handler", "audit committed", "connection committed"]
        log.clear()


async def test_delivery_resources_get_message_delivery_and_bus() -> None:
    seen: list[object] = []

    @resource(scope="delivery")
    async def connection(message: Message, delivery: Delivery, bus: Bus) -> AsyncGenerator[Connection, None]:
        seen.extend((message, delivery, bus))
        yield Connection()

    @pipeline
    async def handler(order: dict[str, int], connection: Connection) -> None:
        seen.append(order)

    held = Held('{"a": 1}')
    await fired(bound(handler, connection), held)
    assert seen == [held.message, held, BUS, {"a": 1}]


def failing(how: str, outcome: BaseException) -> Callable[..., Any]:
    async def raises(message: Message, audit: Audit) -> None:
        raise outcome

    async def returns(message: Message, audit: Audit) -> Any:
        return outcome

    def returns_in_thread(message: Message, audit: Audit) -> Any:
        return outcome

    return pipeline({"raises": raises, "returns": returns, "returns in thread": returns_in_thread}[how])


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ("raises", ValueError("x")),
        ("raises", asyncio.CancelledError()),
        ("raises", StopAsyncIteration()),
        *((how, it) for how in ("raises", "returns", "returns in thread") for it in (Retry(), Reject("no"))),
    ],
)
async def test_a_failed_handler_rolls_its_resources_back(how: str, outcome: BaseException) -> None:
    log: list[str] = []
    connection, audit = transactions(log)
    with pytest.raises(type(outcome)) as caught:
        await bound(failing(how, outcome), connection, audit).fire(Held())
    assert caught.value is outcome
    name = type(outcome).__name__
    assert log[2:] == [f"audit saw {name}", f"connection saw {name}"]


async def test_a_wrong_return_value_rolls_back_as_well() -> None:
    log: list[str] = []
    connection, audit = transactions(log)

    @pipeline
    async def handler(message: Message, audit: Audit) -> Any:
        return 7

    with pytest.raises(TypeError, match="handed back int"):
        await fired(bound(handler, connection, audit), Held())
    assert log[2:] == ["audit saw TypeError", "connection saw TypeError"]


async def test_a_resource_that_swallows_the_error_does_not_make_it_a_success() -> None:
    """Invariant 2: a handler that raised is never acked."""
    log: list[str] = []
    connection, _ = transactions(log)

    @resource(scope="delivery")
    async def audit(connection: Connection) -> AsyncIterator[Audit]:
        try:
            yield Audit()
        except ValueError:
            log.append("swallowed")

    @pipeline
    async def handler(message: Message, audit: Audit) -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await fired(bound(handler, connection, audit), Held())
    assert log == ["open connection", "swallowed", "connection saw ValueError"]


async def test_a_failure_at_close_fails_the_delivery_and_rolls_back_what_is_below() -> None:
    log: list[str] = []
    connection, _ = transactions(log)

    @resource(scope="delivery")
    async def audit(connection: Connection) -> AsyncIterator[Audit]:
        yield Audit()
        raise OSError("commit failed")

    @pipeline
    async def handler(message: Message, audit: Audit) -> Publish:
        return Publish("done")

    with pytest.raises(OSError, match="commit failed"):
        await fired(bound(handler, connection, audit), Held())
    assert log == ["open connection", "connection saw OSError"]


async def test_a_resource_may_turn_an_error_into_another_outcome() -> None:
    @resource(scope="delivery")
    async def audit() -> AsyncIterator[Audit]:
        try:
            yield Audit()
        except ValueError as error:
            raise Reject("known to be hopeless") from error

    @pipeline
    async def handler(message: Message, audit: Audit) -> None:
        raise ValueError

    with pytest.raises(Reject, match="hopeless"):
        await fired(bound(handler, audit), Held())


async def test_a_rollback_that_fails_does_not_hide_a_cancellation() -> None:
    @resource(scope="delivery")
    async def audit() -> AsyncIterator[Audit]:
        try:
            yield Audit()
        finally:
            raise OSError("rollback failed")

    @pipeline
    async def handler(message: Message, audit: Audit) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await fired(bound(handler, audit), Held())


async def test_one_that_does_not_open_fails_the_delivery_and_closes_the_others() -> None:
    log: list[str] = []
    connection, _ = transactions(log)

    @resource(scope="delivery")
    async def audit(connection: Connection) -> Audit:
        raise Retry("no slot free")

    @pipeline
    async def handler(message: Message, audit: Audit) -> None:
        log.append("handler")

    with pytest.raises(Retry, match="no slot free"):
        await fired(bound(handler, connection, audit), Held())
    assert log == ["open connection", "connection saw Retry"]


async def test_nothing_is_opened_for_a_payload_that_does_not_decode() -> None:
    log: list[str] = []
    connection, audit = transactions(log)

    @pipeline
    async def handler(order: dict[str, int], audit: Audit) -> None: ...

    with pytest.raises(DecodeError):
        await fired(bound(handler, connection, audit), Held("not json"))
    assert log == []


async def test_an_async_generator_publishes_before_its_resources_close() -> None:
    log: list[str] = []
    connection, audit = transactions(log)

    @pipeline
    async def handler(message: Message, audit: Audit) -> AsyncIterator[Publish]:
        yield Publish("one")
        log.append(f"published {len(held.did)}")

    held = Held()
    await fired(bound(handler, connection, audit), held)
    assert log[2:] == ["published 1", "audit committed", "connection committed"]


async def test_deliveries_at_once_have_resources_of_their_own() -> None:
    both = asyncio.Barrier(2)

    @resource(scope="delivery")
    async def connection() -> AsyncIterator[Connection]:
        yield Connection()

    @pipeline
    async def handler(message: Message, connection: Connection, delivery: Delivery) -> Publish:
        await both.wait()
        return Publish("it", connection)

    pipe = bound(handler, connection)
    (first,), (second,) = await asyncio.gather(fired(pipe, Held()), fired(pipe, Held()))
    assert first.payload is not second.payload


async def test_a_def_resource_opens_and_closes_in_the_thread_of_a_def_handler() -> None:
    """A connection of a blocking driver is used by one thread, and nothing waits for it on the event loop."""
    threads: dict[str, int] = {}

    def note(what: str) -> None:
        threads[what] = threading.get_ident()

    @resource(scope="delivery")
    async def connection() -> AsyncIterator[Connection]:
        note("async opens")
        yield Connection()
        note("async closes")

    @resource(scope="delivery")
    def audit(connection: Connection) -> Iterator[Audit]:
        note("def opens")
        yield Audit()
        note("def closes")

    @pipeline
    def handler(message: Message, audit: Audit, connection: Connection) -> Publish:
        note("handler")
        return Publish("done")

    assert await fired(bound(handler, connection, audit), Held()) == (Publish("done"),)
    own = threading.get_ident()
    assert threads.pop("async opens") == threads.pop("async closes") == own
    assert len(set(threads.values())) == 1
    assert own not in threads.values()


async def test_a_def_resource_that_an_async_one_needs_opens_on_the_event_loop() -> None:
    log: list[tuple[str, bool]] = []

    def note(what: str) -> None:
        log.append((what, threading.current_thread() is threading.main_thread()))

    @resource(scope="delivery")
    def pool() -> Iterator[Pool]:
        note("pool")
        yield Pool()

    @resource(scope="delivery")
    async def connection(pool: Pool) -> Connection:
        note("connection")
        return Connection()

    @resource(scope="delivery")
    def audit() -> Audit:
        note("audit")
        return Audit()

    @pipeline
    def handler(audit: Audit, connection: Connection, pool: Pool) -> None:
        assert (type(audit), type(connection), type(pool)) == (Audit, Connection, Pool)

    await fired(bound(handler, pool, connection, audit), Held())
    assert log == [("pool", True), ("connection", True), ("audit", False)]


async def test_a_blocking_pool_smaller_than_the_threads_holds_up_no_one_for_ever() -> None:
    slots = threading.Semaphore(1)

    @resource(scope="delivery")
    def connection() -> Iterator[Connection]:
        with slots:
            yield Connection()

    @pipeline
    def handler(message: Message, connection: Connection) -> Publish:
        return Publish("done")

    pipe = bound(handler, connection, threads=anyio.CapacityLimiter(4))
    async with asyncio.timeout(30):
        assert len(await asyncio.gather(*(fired(pipe, Held()) for _ in range(20)))) == 20
