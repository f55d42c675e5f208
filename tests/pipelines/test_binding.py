"""What each parameter of a handler gets."""

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.errors import DecodeError
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.pipelines.registry import pipeline, resource
from tests.pipelines.parts import BUS, Held, bound, fire, fired


class Order(BaseModel):
    id: str


@dataclass
class Customer:
    name: str


class Pool: ...


class SpecialPool(Pool): ...


class OtherPool(Pool): ...


async def got(*functions: Callable[..., Any], held: Held) -> None:
    await fired(bound(*functions), held)


async def test_every_kind_of_parameter_at_once() -> None:
    seen: list[object] = []

    @resource(scope="delivery")
    def pool() -> Pool:
        return Pool()

    @pipeline
    async def handler(order: Order, message: Message, delivery: Delivery, bus: Bus, pool: Pool) -> None:
        seen.extend((order, message, delivery, bus, type(pool)))

    held = Held('{"id": "A1"}')
    await got(handler, pool, held=held)
    assert seen == [Order(id="A1"), held.message, held, BUS, Pool]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
async def test_any_number_of_parameters_by_position_and_by_keyword(count: int) -> None:
    seen: list[object] = []
    names = ["order: dict", "message: Message", "delivery: Delivery"][:count]
    for star in ("", "*, "):
        if count == 0 and star:
            continue
        given = ", ".join(name.split(":")[0] for name in names)
        source = f"async def handler({star}{', '.join(names)}) -> None: seen.extend([{given}])"
        namespace = {"Message": Message, "Delivery": Delivery, "seen": seen, "__name__": __name__}
        exec(source, namespace)
        held = Held('{"a": 1}')
        handler: Any = namespace["handler"]
        await got(pipeline(handler), held=held)
        assert seen == [{"a": 1}, held.message, held][:count]
        seen.clear()


async def test_a_single_parameter_without_annotation_gets_the_message() -> None:
    seen: list[object] = []

    @pipeline
    async def handler(it):  # type: ignore[no-untyped-def]
        seen.append(it)

    @pipeline
    async def with_default(it, limit=10):  # type: ignore[no-untyped-def]
        seen.append((it, limit))

    held = Held()
    await got(handler, held=held)
    await got(with_default, held=held)
    assert seen == [held.message, (held.message, 10)]


async def test_what_may_be_none_is_found_by_its_type() -> None:
    seen: list[object] = []

    @pipeline
    async def handler(order: dict[str, int], message: Message | None = None, pool: Pool | None = None) -> None:
        seen.extend((message, pool))

    held = Held()
    await got(handler, held=held)
    assert seen == [held.message, None]


async def test_a_default_is_kept_where_nothing_fits_even_before_one_that_fits() -> None:
    seen: list[object] = []

    @pipeline
    async def handler(order: Order, limit: int = 10, message: Any = None, bus: Bus | None = None, more=3) -> None:  # type: ignore[no-untyped-def]
        seen.extend((limit, message, bus, more))

    await got(handler, held=Held('{"id": "A1"}'))
    assert seen == [10, None, BUS, 3]


async def test_what_a_partial_fills_in_stays_as_it_is() -> None:
    seen: list[object] = []

    async def handle(region: str, order: Order, *, pool: Pool | None) -> None:
        seen.extend((region, order, pool))

    @resource(scope="delivery")
    def database() -> Pool:
        return Pool()

    handler = pipeline("eu")(functools.partial(handle, "eu", pool=None))
    await got(handler, database, held=Held('{"id": "A1"}'))
    assert seen == ["eu", Order(id="A1"), None]


async def test_methods_and_callable_objects_are_handlers() -> None:
    class Service:
        def __init__(self) -> None:
            self.seen: list[object] = []

        async def handle(self, order: Order) -> None:
            self.seen.append(order)

        async def __call__(self, text: str) -> None:
            self.seen.append(text)

    service = Service()
    await got(pipeline(service.handle), held=Held('{"id": "A1"}'))
    await got(pipeline("service")(service), held=Held("hello"))
    await got(pipeline("partial")(functools.partial(service)), held=Held("again"))
    assert service.seen == [Order(id="A1"), "hello", "again"]


async def test_a_well_made_decorator_of_the_users_shows_the_handlers_own_signature() -> None:
    def traced(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> None:
            await function(*args, **kwargs)

        return wrapper

    seen: list[object] = []

    @pipeline
    @traced
    async def handler(order: Order) -> None:
        seen.append(order)

    await got(handler, held=Held('{"id": "A1"}'))
    assert seen == [Order(id="A1")]


async def test_a_base_class_of_one_provided_type_gets_that_resource() -> None:
    seen: list[object] = []

    @resource(scope="delivery")
    def special() -> SpecialPool:
        return SpecialPool()

    @pipeline
    async def handler(message: Message, pool: Annotated[Pool, "mine"]) -> None:
        seen.append(type(pool))

    await got(handler, special, held=Held())
    assert seen == [SpecialPool]


async def test_the_very_type_goes_before_its_subclasses() -> None:
    seen: list[object] = []

    @resource(scope="delivery")
    def special() -> SpecialPool:
        return SpecialPool()

    @resource(scope="delivery")
    def plain() -> Pool:
        return Pool()

    @pipeline
    async def handler(message: Message, pool: Pool) -> None:
        seen.append(type(pool))

    await got(handler, special, plain, held=Held())
    assert seen == [Pool]


async def test_a_resource_that_is_a_kind_of_dict_does_not_take_a_dict_payload() -> None:
    class Cache(dict[str, int]): ...

    seen: list[object] = []

    @resource(scope="delivery")
    def cache() -> Cache:
        return Cache()

    @pipeline
    async def handler(order: dict) -> None:  # type: ignore[type-arg]
        seen.append(order)

    await got(handler, cache, held=Held('{"id": "A1"}'))
    assert seen == [{"id": "A1"}]


async def test_annotations_that_can_not_be_hashed_are_payload_types_like_any_other() -> None:
    seen: list[object] = []

    @resource(scope="delivery")
    def pool() -> Pool:
        return Pool()

    @pipeline
    async def handler(numbers: list[Annotated[int, Field(gt=0)]], pool: Pool) -> list[Publish]:
        seen.append(numbers)
        return []

    await got(handler, pool, held=Held("[1]"))
    with pytest.raises(DecodeError):
        await got(handler, pool, held=Held("[0]"))
    assert seen == [[1]]


async def test_nothing_is_inspected_once_a_handler_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are read once; nothing is inspected per message."""

    @pipeline
    async def handler(order: Order, message: Message) -> Publish:
        return Publish("invoices.created", order)

    pipe = bound(handler)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("inspected per message")

    with monkeypatch.context() as patched:
        for name in ("signature", "iscoroutinefunction", "isawaitable"):
            patched.setattr(inspect, name, refuse)
        patched.setattr(typing, "get_type_hints", refuse)
        outgoing = await fired(pipe, Held('{"id": "A1"}'))
    assert outgoing == (Publish("invoices.created", Order(id="A1")),)


async def test_a_payload_that_does_not_decode_does_not_reach_the_handler() -> None:
    ran: list[object] = []

    @pipeline
    async def handler(order: Order) -> None:
        ran.append(order)

    @pipeline
    def in_thread(order: Order) -> None:
        ran.append(order)

    for function in (handler, in_thread):
        with pytest.raises(DecodeError, match="the payload is no Order: id: Field required"):
            await fire(function, payload="{}")
    assert ran == []
