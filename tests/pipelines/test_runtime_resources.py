"""Resources of runtime scope: opened in order of need before the first delivery, closed in reverse."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.errors import ResourceError
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.pipelines.pipeline import BoundPipeline, bind
from eventbus_runtime.pipelines.registry import pipeline, resource
from eventbus_runtime.pipelines.resources import Resources
from tests.pipelines.parts import BUS, Held, chosen, fired, only


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
        await fired(pipe, Held())
        await fired(pipe, Held())
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
        await fired(pipe, Held())
    assert seen == ["pca"]


async def test_a_resource_that_nothing_needs_is_not_opened() -> None:
    opened: list[Pool] = []

    @resource
    def pool() -> Pool:
        opened.append(Pool())
        return opened[-1]

    @pipeline
    async def handler(message: Message) -> None: ...

    pipe, resources = bound_with(handler, pool)
    async with resources:
        await fired(pipe, Held())
    assert opened == []


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
        assert await fired(pipe, Held()) == (Publish("p"),)


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
        raise OSError("refused")
        yield Connection()

    @pipeline
    async def handler(message: Message, connection: Connection) -> None: ...

    _, resources = bound_with(handler, pool, connection)
    with pytest.raises(
        ResourceError,
        match=r"^the resource 'connection' \(.*test_runtime_resources\.py:\d+\) could not be opened: OSError: refused$",
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

    with pytest.raises(ResourceError, match=r"'pool' .* could not be opened: RuntimeError: generator didn't yield"):
        await bound_with(wants_pool, pool)[1].__aenter__()
    _, resources = bound_with(wants_connection, connection)
    await resources.__aenter__()
    with pytest.raises(
        ResourceError, match=r"'connection' .* could not be closed: RuntimeError: generator didn't stop"
    ):
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
    with pytest.raises(ResourceError, match=r"'connection' .*: OSError: broken pipe; .*'pool' .* closed: ValueError$"):
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


def test_a_resource_needs_no_asynccontextmanager_and_says_so() -> None:
    @resource
    @asynccontextmanager
    async def pool() -> AsyncIterator[Pool]:
        yield Pool()

    (problem,) = chosen(pool).problems
    assert "@resource does what @asynccontextmanager does" in problem.text
