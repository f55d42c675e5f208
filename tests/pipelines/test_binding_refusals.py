"""What can't be bound is refused at start, with a sentence that says what would do."""

import inspect
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from eventbus_runtime.errors import BindingError
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.binding import check
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.pipelines.pipeline import bind
from eventbus_runtime.pipelines.registry import background, pipeline, resource, subscribe
from eventbus_runtime.pipelines.resources import Resources
from tests.pipelines.parts import BUS, bound, chosen, only


class Order(BaseModel):
    id: str


@dataclass
class Customer:
    name: str


class Pool: ...


class SpecialPool(Pool): ...


class OtherPool(Pool): ...


def problems(*functions: Callable[..., Any]) -> list[str]:
    """What `check` says of the one pipeline among these functions."""
    registry = chosen(*functions)
    return [problem.text for problem in check(only(registry), registry)]


def test_each_mistake_of_a_signature_is_told_at_once_and_names_its_parameter() -> None:
    @pipeline
    async def handler(first, second: "Missing", pool: Pool, *rest: int, **more: int) -> int:  # type: ignore[name-defined,no-untyped-def]  # noqa: F821
        return 1

    told = problems(handler)
    assert len(told) == 6
    for text, words in zip(
        told,
        (
            "the annotation of the parameter 'second' can't be resolved: the name 'Missing' is not found",
            "the parameter 'first' has no annotation; it may be Message, Delivery, Bus",
            "the parameter 'pool' can't be bound: no @resource provides Pool, and it is no payload type",
            "'*rest' can't be bound",
            "'**more' can't be bound",
            "it returns int; a handler may return None, Publish, a list of Publish, Retry or Reject",
        ),
        strict=True,
    ):
        assert words in text


def test_two_payload_parameters_are_refused_by_name_and_type() -> None:
    @pipeline
    async def handler(order: Order, customer: Customer) -> None: ...

    (text,) = problems(handler)
    assert "'order' (Order), 'customer' (Customer); no @resource provides any of them" in text


def test_a_handler_that_would_never_see_its_message_is_refused() -> None:
    @pipeline
    async def handler(order: Order | None = None) -> None: ...

    (text,) = problems(handler)
    assert "nothing gets the message: 'order' has a default" in text


def test_a_function_whose_signature_is_unknown_is_refused() -> None:
    (text,) = problems(pipeline(min))
    assert "wrap it in a function of your own" in text


class Publishes(Publish): ...


def returning(annotation: Any, *, generator: bool = False, sync: bool = False) -> Callable[..., Any]:
    """A pipeline that is annotated to return this."""

    async def handler(message: Message) -> Any: ...

    async def generates(message: Message) -> Any:
        yield Publish("a")

    def generates_sync(message: Message) -> Any:
        yield Publish("a")

    function: Any = (generates_sync if sync else generates) if generator else handler
    function.__annotations__["return"] = annotation
    return pipeline(function)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "annotation",
    [
        None,
        "None",
        Any,
        Publish,
        Publish | None,
        typing.Optional[Publish],  # noqa: UP045 - users write it
        list[Publish],
        list,
        tuple[Publish, ...],
        Sequence[Publish],
        Publish | list[Publish] | Retry | Reject | None,
        typing.Never,
        typing.NoReturn,
        inspect.Signature.empty,
    ],
)
def test_what_a_handler_may_be_annotated_to_return(annotation: Any) -> None:
    assert problems(returning(annotation)) == []


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "it returns int"),
        (list[int], r"it returns list[int]"),
        (Publish | int, "it returns int"),
        (dict[str, Publish], "it returns dict"),
        (AsyncIterator[Publish], "it returns collections.abc.AsyncIterator"),
        ("Nowhere", "the return annotation can't be resolved: the name 'Nowhere'"),
        ("Message.nothing", "the return annotation can't be resolved"),
    ],
)
def test_what_it_may_not(annotation: Any, words: str) -> None:
    (text,) = problems(returning(annotation))
    assert words in text


@pytest.mark.parametrize("annotation", [AsyncIterator[Publish], typing.AsyncGenerator[Publish, None], Any])
def test_what_an_async_generator_may_be_annotated_to_yield(annotation: Any) -> None:
    assert problems(returning(annotation, generator=True)) == []


@pytest.mark.parametrize("annotation", [AsyncIterator[int], Iterator[Publish], Publish, None])
def test_what_it_may_not_yield(annotation: Any) -> None:
    (text,) = problems(returning(annotation, generator=True))
    assert "annotate it as `-> AsyncIterator[Publish]`" in text


def test_a_generator_in_a_thread_yields_publish_as_well() -> None:
    assert problems(returning(Iterator[Publish], generator=True, sync=True)) == []
    (text,) = problems(returning(AsyncIterator[Publish], generator=True, sync=True))
    assert "annotate it as `-> Iterator[Publish]`" in text


def test_a_problem_says_where_and_of_which_function() -> None:
    @pipeline("billing")
    async def handler(pool: Pool) -> None: ...

    registry = chosen(handler)
    (problem,) = check(only(registry), registry)
    assert problem.where.endswith(f"test_binding_refusals.py:{handler.__code__.co_firstlineno}")
    assert problem.key == "billing"


def test_bind_raises_what_check_tells() -> None:
    @pipeline("billing")
    async def handler(pool: Pool) -> int:
        return 1

    with pytest.raises(
        BindingError, match=r"test_binding_refusals\.py:\d+: billing: the parameter 'pool' .*; it returns int"
    ):
        bound(handler)


def test_a_subscription_is_checked_once_as_its_pipeline() -> None:
    @subscribe("orders.created")
    async def handler(pool: Pool) -> None: ...

    registry = chosen(handler)
    assert check(registry.subscriptions["handler"], registry) == []
    assert len(check(registry.pipelines["handler"], registry)) == 1


def test_a_background_function_has_no_delivery_and_must_be_async() -> None:
    @resource(scope="delivery")
    def pool() -> Pool:
        return Pool()

    @background
    def refresh(message: Message, pool: Pool, order: Order, lone) -> None: ...  # type: ignore[no-untyped-def]

    registry = chosen(refresh, pool)
    told = [problem.text for problem in check(registry.backgrounds["refresh"], registry)]
    assert len(told) == 5
    for text, words in zip(
        told,
        (
            "the parameter 'message' wants Message, but there is no delivery here; only handlers",
            "opened per delivery; only handlers and resources of delivery scope may have it",
            "nothing provides the parameter 'order': no @resource provides Order",
            "the parameter 'lone' has no annotation",
            "must be `async def`",
        ),
        strict=True,
    ):
        assert words in text


def test_a_runtime_resource_can_not_need_what_is_opened_per_delivery() -> None:
    @resource(scope="delivery")
    def pool() -> Pool:
        return Pool()

    @resource
    def order(pool: Pool, delivery: Delivery) -> Order:
        raise NotImplementedError

    @pipeline
    async def handler(message: Message, order: Order) -> None: ...

    registry = chosen(handler, pool, order)
    told = [problem.text for problem in check(registry.resources[Order], registry)]
    assert "wants the resource 'pool' (" in told[0]
    assert 'this resource would have to be one too: @resource(scope="delivery")' in told[0]
    assert "wants Delivery, but there is no delivery here" in told[1]
    with pytest.raises(BindingError, match="order: the parameter 'pool' wants the resource"):
        bind(only(registry), registry=registry, bus=BUS, resources=Resources(registry, BUS))


def test_resources_that_need_each_other_are_refused() -> None:
    @resource
    def first(it: Customer) -> Order:
        raise NotImplementedError

    @resource
    def second(it: Order) -> Customer:
        raise NotImplementedError

    @pipeline
    async def handler(message: Message, order: Order) -> None: ...

    registry = chosen(handler, first, second)
    (problem,) = check(registry.resources[Order], registry)
    assert "first -> second -> first" in problem.text
    assert check(only(registry), registry) == []
    with pytest.raises(BindingError, match="first -> second -> first"):
        bound(handler, first, second)


def test_a_resource_can_not_need_itself() -> None:
    @resource
    def chain(it: Order) -> Order:
        raise NotImplementedError

    registry = chosen(chain)
    (problem,) = check(registry.resources[Order], registry)
    assert "chain -> chain" in problem.text


def test_a_base_class_of_two_provided_types_is_refused() -> None:
    @resource
    def special() -> SpecialPool:
        return SpecialPool()

    @resource
    def other() -> OtherPool:
        return OtherPool()

    @pipeline
    async def handler(message: Message, pool: Pool) -> None: ...

    (text,) = problems(handler, special, other)
    assert text.startswith("several resources fit the parameter 'pool': SpecialPool (")
    assert "OtherPool (" in text
