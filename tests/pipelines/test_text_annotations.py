"""Handlers in a module with `from __future__ import annotations`: every annotation is text."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from pydantic import BaseModel

from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.binding import check
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.pipelines.registry import pipeline, resource
from tests.pipelines.parts import Held, bound, chosen, fired, only

if TYPE_CHECKING:
    from decimal import Decimal


class Order(BaseModel):
    id: str


class Pool: ...


@resource(scope="delivery")
async def database() -> AsyncIterator[Pool]:
    yield Pool()


@pipeline("text-annotations")
async def handler(orders: list[Order], message: Message, pool: Pool) -> Publish | None:
    assert isinstance(pool, Pool)
    return Publish(message.subject, orders)


@pipeline("text-annotation-missing")
async def missing(amount: Decimal) -> None: ...


class Service:
    async def __call__(self, prefix: str, order: Order) -> Publish:
        return Publish(prefix, order)


service = functools.partial(Service(), "prefix")
pipeline("text-annotations-of-an-object")(service)


async def test_text_annotations_resolve_where_the_function_was_defined() -> None:
    assert await fired(bound(handler, database), Held('[{"id": "A1"}]')) == (
        Publish("orders.created", [Order(id="A1")]),
    )
    assert await fired(bound(service), Held('{"id": "A1"}')) == (Publish("prefix", Order(id="A1")),)


def test_a_name_that_only_the_type_checker_sees_is_named_with_its_cure() -> None:
    registry = chosen(missing)
    (problem,) = check(only(registry), registry)
    assert problem.text == (
        "the annotation of the parameter 'amount' can't be resolved: the name 'Decimal' is not found in its module at "
        "run time; define or import it at module level, and not under `if TYPE_CHECKING`"
    )
