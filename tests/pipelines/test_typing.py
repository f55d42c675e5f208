"""Decorated handlers keep their types. mypy --strict reads this file: `assert_type` and each unused or missing `ignore`
fails there, and the tests below show that what it believes is so."""

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, assert_type

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.pipelines.registry import background, pipeline, resource, subscribe
from tests.pipelines.parts import BUS


class Pool: ...


@pipeline
async def plain(message: Message) -> Publish | None:
    return Publish(message.subject)


@pipeline("named-in-typing")
def named(payload: bytes, *, limit: int = 3) -> list[Publish]:
    return [Publish("a", payload)] * limit


@subscribe("orders.created", stream="ORDERS", max_in_flight=64, timeout="20s", retry={"delays": ["1s"]})
async def generates(message: Message) -> AsyncIterator[Publish]:
    yield Publish(message.subject)


@resource
def pool() -> Iterator[Pool]:
    yield Pool()


@resource(scope="delivery")
async def connection(pool: Pool) -> tuple[Pool, int]:
    return pool, 1


@background
async def refresh(bus: Bus, every: float = 1.0) -> None: ...


async def test_handlers_keep_their_types_and_can_be_called_as_they_are() -> None:
    message = Message.build("orders.created")
    assert_type(plain(message), Coroutine[Any, Any, Publish | None]).close()
    outcome = assert_type(await plain(message), Publish | None)
    assert outcome == Publish("orders.created")
    assert assert_type(named(b"x", limit=1), list[Publish]) == [Publish("a", b"x")]
    async for item in assert_type(generates(message), AsyncIterator[Publish]):
        assert item == outcome
    it = assert_type(next(pool()), Pool)
    assert assert_type(await connection(it), tuple[Pool, int]) == (it, 1)
    assert_type(refresh(BUS, every=2.0), Coroutine[Any, Any, None]).close()


def not_run() -> None:
    """What the type checker refuses."""
    named("text")  # type: ignore[arg-type]
    named(b"x", limits=1)  # type: ignore[call-arg]
    resource(scope="request")  # type: ignore[call-overload]
    subscribe("a", max_in_fligth=64)  # type: ignore[call-arg]
    subscribe("a", ack="never")  # type: ignore[arg-type]
    subscribe("a")(5)  # type: ignore[type-var]
