"""Resources of both scopes: opened in order of need, closed in reverse, told of what failed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.errors import DecodeError, ResourceError
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.pipelines.pipeline import BoundPipeline, bind
from eventbus_runtime.pipelines.registry import pipeline, resource
from eventbus_runtime.pipelines.resources import Resources
from tests.pipelines.parts import BUS, Held, bound, chosen, only


class Named:
    def __init__(self, name: str = "") -> None:
        self.name = name


class Pool(Named): ...


class Connection(Named): ...


class Audit(Named): ...


def bound_with(*functions: Callable[..., Any]) -> tuple[BoundPipeline, Resources]:
    registry = chosen(*functions)
    resources = Resources(registry, BUS)
    return bind(only(registry), registry=registry, bus=BUS, resources=resources), resources


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


async def test_runtime_resources_open_once_in_order_of_need_and_close_in_reverse() -> None:
    log: list[str] = []

    @resource
    async def pool() -> AsyncIterator[Pool]:
        log.append("open pool")
        yield Pool("p")
        log.append("close pool")

    @resource
    def connection(pool: Pool, bus: Bus) -> Generator[Connection, None, None]:
        assert bus is BUS
        log.append("open connection")
        yield Connection(pool.name + "c")
        log.append("close connection")

    @pipeline
    async def handler(message: Message, connection: Connection, pool: Pool) -> None:
        log.append(connection.name + pool.name)

    pipe, resources = bound_with(handler, connection, pool)
    async with resources:
        await pipe.fire(Held())
        await pipe.fire(Held())
    assert log == ["open pool", "open connection", "pcp", "pcp", "close connection", "close pool"]


async def test_functions_that_return_provide_as_well() -> None:
    seen: list[str] = []

    @resource
    async def pool() -> Pool:
        return Pool("p")

    @resource(scope="delivery")
    def connection(pool: Pool) -> Connection:
        return Connection(pool.name + "c")

    @resource(scope="delivery")
    async def audit(connection: Connection) -> Audit:
        return Audit(connection.name + "a")

    @pipeline
    async def handler(message: Message, audit: Audit) -> None:
        seen.append(audit.name)

    pipe, resources = bound_with(handler, pool, connection, audit)
    async with resources:
        await pipe.fire(Held())
    assert seen == ["pca"]


async def test_a_resource_that_nothing_needs_is_not_opened() -> None:
    @resource
    def pool() -> Pool:
        raise AssertionError("opened for nothing")

    @pipeline
    async def handler(message: Message) -> None: ...

    pipe, resources = bound_with(handler, pool)
    async with resources:
        await pipe.fire(Held())


async def test_a_runtime_resource_that_only_a_delivery_resource_needs_is_opened() -> None:
    @resource
    def pool() -> Pool:
        return Pool("p")

    @resource(scope="delivery")
    def connection(pool: Pool) -> Connection:
        return Connection(pool.name)

    @pipeline
    async def handler(connection: Connection, message: Message) -> Publish:
        return Publish(connection.name)

    pipe, resources = bound_with(handler, pool, connection)
    async with resources:
        assert await pipe.fire(Held()) == (Publish("p"),)


async def test_one_that_does_not_open_is_named_and_the_others_are_closed() -> None:
    log: list[str] = []

    @resource
    async def pool() -> AsyncIterator[Pool]:
        try:
            yield Pool()
        finally:
            log.append("close pool")

    @resource
    async def connection(pool: Pool) -> AsyncIterator[Connection]:
        raise OSError("connection refused")
        yield Connection()

    @pipeline
    async def handler(message: Message, connection: Connection) -> None: ...

    _, resources = bound_with(handler, pool, connection)
    with pytest.raises(
        ResourceError,
        match=r"^the resource 'connection' \(.*test_resources\.py:\d+\) could not be opened: OSError: connection refused$",
    ) as caught:
        await resources.__aenter__()
    assert isinstance(caught.value.__cause__, OSError)
    assert log == ["close pool"]


async def test_one_that_never_yields_or_yields_twice_is_named() -> None:
    @resource
    async def pool() -> AsyncIterator[Pool]:
        if False:
            yield Pool()

    @resource
    async def connection() -> AsyncIterator[Connection]:
        yield Connection()
        yield Connection()

    @pipeline
    async def wants_pool(message: Message, it: Pool) -> None: ...

    @pipeline
    async def wants_connection(message: Message, it: Connection) -> None: ...

    with pytest.raises(ResourceError, match="'pool' .* could not be opened: RuntimeError: generator didn't yield"):
        await bound_with(wants_pool, pool)[1].__aenter__()
    _, resources = bound_with(wants_connection, connection)
    await resources.__aenter__()
    with pytest.raises(ResourceError, match="'connection' .* could not be closed: RuntimeError: generator didn't stop"):
        await resources.__aexit__(None, None, None)


async def test_one_that_does_not_close_is_named_and_the_others_are_closed() -> None:
    log: list[str] = []

    @resource
    async def pool() -> AsyncIterator[Pool]:
        yield Pool()
        log.append("close pool")
        raise ValueError

    @resource
    async def audit(pool: Pool) -> AsyncIterator[Audit]:
        yield Audit()
        log.append("close audit")

    @resource
    async def connection(audit: Audit) -> AsyncIterator[Connection]:
        yield Connection()
        raise OSError("broken pipe")

    @pipeline
    async def handler(message: Message, connection: Connection) -> None: ...

    functions = (handler, pool, connection, audit)
    _, resources = bound_with(*functions)
    await resources.__aenter__()
    with pytest.raises(ResourceError, match="'connection' .*: OSError: broken pipe; .*'pool' .* closed: ValueError$"):
        await resources.__aexit__(None, None, None)
    assert log == ["close audit", "close pool"]

    _, resources = bound_with(*functions)
    with pytest.raises(KeyError) as caught:
        async with resources:
            raise KeyError("what ended the runtime")
    assert [note.split(" (")[0] for note in caught.value.__notes__] == [
        "the resource 'connection'",
        "the resource 'pool'",
    ]


async def test_a_cancellation_while_closing_still_closes_the_others() -> None:
    log: list[str] = []
    closing = asyncio.Event()

    @resource
    async def pool() -> AsyncIterator[Pool]:
        yield Pool()
        log.append("close pool")

    @resource
    async def connection(pool: Pool) -> AsyncIterator[Connection]:
        yield Connection()
        closing.set()
        await asyncio.Event().wait()

    @pipeline
    async def handler(message: Message, connection: Connection) -> None: ...

    _, resources = bound_with(handler, pool, connection)

    async def run() -> None:
        async with resources:
            pass

    task = asyncio.create_task(run())
    await closing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["close pool"]


async def test_a_cancellation_while_opening_closes_what_is_open() -> None:
    log: list[str] = []
    opening = asyncio.Event()

    @resource
    async def pool() -> AsyncIterator[Pool]:
        yield Pool()
        log.append("close pool")

    @resource
    async def connection(pool: Pool) -> Connection:
        opening.set()
        await asyncio.Event().wait()
        raise AssertionError

    @pipeline
    async def handler(message: Message, connection: Connection) -> None: ...

    _, resources = bound_with(handler, pool, connection)
    task = asyncio.create_task(resources.__aenter__())
    await opening.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["close pool"]


async def test_binding_after_the_resources_are_open_is_refused() -> None:
    @resource
    def pool() -> Pool:
        return Pool()

    @pipeline
    async def handler(message: Message, pool: Pool) -> None: ...

    registry = chosen(handler, pool)
    async with Resources(registry, BUS) as resources:
        with pytest.raises(RuntimeError, match="after everything is bound"):
            bind(only(registry), registry=registry, bus=BUS, resources=resources)


async def test_delivery_resources_open_and_close_around_each_delivery() -> None:
    log: list[str] = []
    connection, audit = transactions(log)

    @pipeline
    async def handler(message: Message, audit: Audit, connection: Connection) -> Publish:
        log.append("handler")
        return Publish("done")

    pipe = bound(handler, connection, audit)
    for _ in range(2):
        assert await pipe.fire(Held()) == (Publish("done"),)
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
    await bound(handler, connection).fire(held)
    assert seen == [held.message, held, BUS, {"a": 1}]


@pytest.mark.parametrize("outcome", [ValueError("x"), Retry(), Reject("no"), asyncio.CancelledError()])
@pytest.mark.parametrize("how", ["raise", "return", "def"])
async def test_a_failed_handler_rolls_its_resources_back(outcome: BaseException, how: str) -> None:
    log: list[str] = []
    connection, audit = transactions(log)
    if how != "raise" and not isinstance(outcome, Retry | Reject):
        return

    @pipeline("async")
    async def handler(message: Message, audit: Audit) -> Any:
        if how == "return":
            return outcome
        raise outcome

    @pipeline("def")
    def in_thread(message: Message, audit: Audit) -> Any:
        return outcome

    with pytest.raises(type(outcome)) as caught:
        await bound(in_thread if how == "def" else handler, connection, audit).fire(Held())
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
        await bound(handler, connection, audit).fire(Held())
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
        await bound(handler, connection, audit).fire(Held())
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
        await bound(handler, connection, audit).fire(Held())
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
        await bound(handler, audit).fire(Held())


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
        await bound(handler, audit).fire(Held())


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
        await bound(handler, connection, audit).fire(Held())
    assert log == ["open connection", "connection saw Retry"]


async def test_nothing_is_opened_for_a_payload_that_does_not_decode() -> None:
    log: list[str] = []
    connection, audit = transactions(log)

    @pipeline
    async def handler(order: dict[str, int], audit: Audit) -> None: ...

    with pytest.raises(DecodeError):
        await bound(handler, connection, audit).fire(Held("not json"))
    assert log == []


async def test_an_async_generator_publishes_before_its_resources_close() -> None:
    log: list[str] = []
    connection, audit = transactions(log)

    @pipeline
    async def handler(message: Message, audit: Audit) -> AsyncIterator[Publish]:
        yield Publish("one")
        log.append(f"published {len(held.did)}")

    held = Held()
    await bound(handler, connection, audit).fire(held)
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
    (first,), (second,) = await asyncio.gather(pipe.fire(Held()), pipe.fire(Held()))
    assert first.payload is not second.payload


def test_a_resource_needs_no_asynccontextmanager_and_says_so() -> None:
    @resource
    @asynccontextmanager
    async def pool() -> AsyncIterator[Pool]:
        yield Pool()

    (problem,) = chosen(pool).problems
    assert "@resource does what @asynccontextmanager does" in problem.text
