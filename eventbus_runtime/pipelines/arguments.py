"""A plan as a call: each source becomes a getter, and the getters one closure. Nothing is looked up per delivery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.binding import Plan, Source
from eventbus_runtime.pipelines.decoding import Decoder

if TYPE_CHECKING:
    from eventbus_runtime.pipelines.steps import Steps

Getter: TypeAlias = Callable[[Any], Any]
"""Takes what is given to a call: a `Delivery`, a `Scope` where resources of delivery scope are about, or None where
there is no delivery."""

StepsOf: TypeAlias = "Callable[[Bus], Steps]"
"""Gives the steps of a bus; imports them only then."""


def steps_over(bus: Bus) -> Steps:
    """The steps of a bus that has no declared consumers."""
    from eventbus_runtime.pipelines.steps import Steps

    return Steps.over(bus)


class Scope:
    """One delivery with the resources that were opened for it. `values` is filled by who opens them.

    Args:
        delivery: the delivery.
        decode: reads its payload; None: nobody wants that.
        payload: what is read in place of its own, behind a step that has put another into its place.
        consumed: what the consume step before has brought.
    """

    __slots__ = ("consumed", "delivery", "message", "payload", "publish", "values")

    def __init__(
        self, delivery: Delivery, decode: Decoder | None, payload: bytes | None = None, consumed: Any = None
    ) -> None:
        self.delivery, self.message, self.publish = delivery, delivery.message, delivery.publish
        # Before anything is opened: a payload that does not decode costs no transaction.
        self.payload = decode(delivery.message.payload if payload is None else payload) if decode else None
        self.consumed = consumed
        self.values: list[Any] = []


class Arguments(NamedTuple):
    """The getters of a function's arguments, by position and by keyword."""

    by_position: tuple[Getter, ...]
    by_keyword: dict[str, Getter]


def arguments(
    plan: Plan, bus: Bus, steps: StepsOf, runtime: Callable[[Any], Getter], scoped: Sequence[Any] | None = None
) -> Arguments:
    """The getters for a plan.

    Args:
        plan: how the function is called.
        bus: what a `Bus` parameter gets.
        steps: gives the steps of a bus, where one is asked for.
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
            case "step":
                return _step(steps(bus), *source.value, with_scope=scoped is not None)
            case "consumed":
                return attrgetter("consumed")
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


def _step(steps: Steps, name: str, per_delivery: bool, *, with_scope: bool) -> Getter:
    step = getattr(steps, name)
    if not per_delivery:
        return _constant(step)
    within = step.within
    return (lambda it: within(it.delivery)) if with_scope else within


def _payload(decode: Decoder) -> Getter:
    if decode is bytes:
        return attrgetter("message.payload")
    return lambda it: decode(it.message.payload)


def _opened(at: int) -> Getter:
    return lambda it: it.values[at]
