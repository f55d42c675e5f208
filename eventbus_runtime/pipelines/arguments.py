"""A plan as a call: each source becomes a getter, and the getters one closure. Nothing is looked up per delivery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.binding import Plan, Source
from eventbus_runtime.pipelines.decoding import Decoder

Getter: TypeAlias = Callable[[Any], Any]
"""Takes what is given to a call: a `Delivery`, a `Scope` where resources of delivery scope are about, or None where
there is no delivery."""


class Scope:
    """One delivery with the resources that were opened for it. `values` is filled by who opens them."""

    __slots__ = ("delivery", "message", "payload", "publish", "values")

    def __init__(self, delivery: Delivery, decode: Decoder | None) -> None:
        self.delivery, self.message, self.publish = delivery, delivery.message, delivery.publish
        # Before anything is opened: a payload that does not decode costs no transaction.
        self.payload = decode(delivery.message.payload) if decode else None
        self.values: list[Any] = []


class Arguments(NamedTuple):
    """The getters of a function's arguments, by position and by keyword."""

    by_position: tuple[Getter, ...]
    by_keyword: dict[str, Getter]


def arguments(plan: Plan, bus: Bus, runtime: Callable[[Any], Getter], scoped: Sequence[Any] | None = None) -> Arguments:
    """The getters for a plan.

    Args:
        plan: how the function is called.
        bus: what a `Bus` parameter gets.
        runtime: makes the getter of a resource of runtime scope, by the type that it provides.
        scoped: the types of the resources in `Scope.values`, in order, where a `Scope` is given to the call; None
            where it is a `Delivery`, or nothing.
    """

    def getter(source: Source) -> Getter:
        match source.what:
            case "message":
                return attrgetter("message")
            case "delivery":
                return _itself if scoped is None else attrgetter("delivery")
            case "bus":
                return _constant(bus)
            case "default":
                return _constant(source.value)
            case "payload":
                return _payload(source.value) if scoped is None else attrgetter("payload")
            case "resource":
                if scoped is not None and source.value in scoped:
                    return _opened(scoped.index(source.value))
                return runtime(source.value)

    return Arguments(
        tuple(getter(each) for each in plan.sources if not each.keyword),
        {each.keyword: getter(each) for each in plan.sources if each.keyword},
    )


def call(function: Callable[..., Any], given: Arguments) -> Callable[[Any], Any]:
    """One closure that gets the arguments and calls the function."""
    getters, by_keyword = given
    if by_keyword:
        return lambda it: function(*[get(it) for get in getters], **{name: get(it) for name, get in by_keyword.items()})
    match getters:
        case ():
            return lambda it: function()
        case (only,):
            return lambda it: function(only(it))
        case (first, second):
            return lambda it: function(first(it), second(it))
        case _:
            return lambda it: function(*[get(it) for get in getters])


def _itself(it: Any) -> Any:
    return it


def _constant(value: Any) -> Getter:
    return lambda it: value


def _payload(decode: Decoder) -> Getter:
    if decode is bytes:
        return attrgetter("message.payload")
    return lambda it: decode(it.message.payload)


def _opened(at: int) -> Getter:
    return lambda it: it.values[at]
