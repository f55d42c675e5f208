"""Where each parameter of a user's function comes from, decided once from its signature.

A handler's parameter may be `Message`, `Delivery`, `Bus`, a step, a type that a `@resource` provides (or a base class
of exactly one such type), or the payload, of which there may be one. A single parameter without annotation gets the
`Message`. A parameter with a default never gets the payload: it keeps its default unless one of the others fits.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Never, NoReturn, TypeAlias, Union, get_args, get_origin

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.errors import BindingError, Problem
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.decoding import decoder
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.pipelines.registry import HANDLERS, Registration, Registry
from eventbus_runtime.pipelines.signature import (
    ABSENT,
    BLOCKING,
    Parameter,
    Shape,
    Signature,
    is_async_iterator,
    read,
    strip,
    type_name,
    yielded_type,
)

What: TypeAlias = Literal["message", "delivery", "bus", "step", "consumed", "payload", "resource", "default"]

_MAY_BE = (
    "Message, Delivery, Bus, a step (PublishStep, ConsumeStep, AckStep), the type of a @resource, "
    "or the payload's type (a pydantic model, a dataclass, dict …)"
)
_STEPS = {"PublishStep": "publish", "ConsumeStep": "consume", "AckStep": "ack"}
_MAY_RETURN = "None, Publish, a list of Publish, Retry or Reject"


@dataclass(frozen=True, slots=True)
class Source:
    """Where one argument comes from.

    Args:
        what: the kind of source.
        value: of a payload its decoder, of a resource the type that it provides, of a default the value; of a step its
            name, and whether it is that of a delivery.
        keyword: the parameter's name where it is passed by keyword; empty: by position.
    """

    what: What
    value: Any = None
    keyword: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a registered function is called: its arguments in order, those by keyword last. Usable when it has no
    `problems`; these are sentences."""

    registration: Registration
    shape: Shape
    sources: tuple[Source, ...]
    problems: tuple[str, ...]


def check(registration: Registration, registry: Registry) -> list[Problem]:
    """Everything that keeps a function from being bound, or those that a pipeline of steps calls. A subscription's own
    is checked as its pipeline, so that nothing is told twice; that of `registry.problems` is not told here."""
    if registration.kind == "subscription":
        return []
    if registration.kind == "steps":
        return [problem for call in registration.settings["calls"].values() for problem in check(call, registry)]
    plan = read_plan(registration, registry)
    problems = list(plan.problems)
    if registration.kind == "resource" and not problems:
        try:
            needed(plan, registry)
        except BindingError as error:
            problems.append(str(error))
    return [Problem(registration.where, registration.name, text) for text in problems]


def bindable(registration: Registration, registry: Registry) -> Plan:
    """The plan of a function that can be called, and whose resources can be.

    Raises:
        BindingError: it can't be bound, or a resource that it needs can't: where, which parameter, and what would do.
    """
    plan = read_plan(registration, registry)
    for each in (plan, *needed(plan, registry).values()):
        if each.problems:
            raise BindingError(f"{each.registration.where}: {each.registration.name}: {'; '.join(each.problems)}")
    return plan


def needed(plan: Plan, registry: Registry) -> dict[Any, Plan]:
    """The plans of all resources that a plan needs, by provided type, each behind what it needs itself.

    Raises:
        BindingError: resources need each other in a circle.
    """
    found: dict[Any, Plan] = {}

    def visit(plan: Plan, path: tuple[str, ...]) -> None:
        for source in plan.sources:
            if source.what == "resource" and source.value not in found:
                resource = registry.resources[source.value]
                if resource.name in path:
                    circle = " -> ".join((*path[path.index(resource.name) :], resource.name))
                    raise BindingError(f"these resources need each other: {circle}; one must do without the other")
                inner = read_plan(resource, registry)
                visit(inner, (*path, resource.name))
                found[source.value] = inner

    visit(plan, (plan.registration.name,) if plan.registration.kind == "resource" else ())
    return found


def read_plan(registration: Registration, registry: Registry) -> Plan:
    """Read a function's signature and decide every argument; what can't be is in the plan's `problems`."""
    signature = read(registration.function)
    problems = list(signature.problems)
    required = [each for each in signature.parameters if each.default is ABSENT]
    sources: dict[str, Source] = {}
    for parameter in signature.parameters:
        try:
            sources[parameter.name] = _source(
                parameter, parameter.default is ABSENT and len(required) == 1, registration, registry
            )
        except BindingError as error:
            problems.append(str(error))
    if signature.shape in BLOCKING and any(source.what == "step" for source in sources.values()):
        problems.append("a step must be awaited: make it `async def`")
    if registration.kind in HANDLERS:
        if registration.kind != "call":
            problems += _delivery_problems(sources, signature)
        problems += _return_problems(signature, any_value=registration.kind == "call")
    elif registration.kind == "background" and signature.shape != "async":
        problems.append("a background function must be `async def`: nothing else can be stopped")
    return Plan(registration, signature.shape, _arguments(signature, sources), tuple(problems))


def _source(parameter: Parameter, lone: bool, registration: Registration, registry: Registry) -> Source:
    kind, annotation = registration.kind, parameter.annotation
    if parameter.kind in (parameter.kind.VAR_POSITIONAL, parameter.kind.VAR_KEYWORD):
        star = "*" if parameter.kind is parameter.kind.VAR_POSITIONAL else "**"
        raise BindingError(f"the parameter '{star}{parameter.name}' can't be bound; name each parameter")
    keyword = parameter.name if parameter.kind is parameter.kind.KEYWORD_ONLY else ""
    handler = kind in HANDLERS
    if annotation is ABSENT and lone and handler:
        return Source("message", keyword=keyword)
    if annotation is not ABSENT:
        injected = _injected(parameter, registration, registry)
        if injected is not None:
            return Source(*injected, keyword=keyword)
    if parameter.default is not ABSENT:
        return Source("default", parameter.default, keyword)
    if annotation is ABSENT:
        raise BindingError(f"the parameter {parameter.name!r} has no annotation; it may be {_MAY_BE}")
    if not handler:
        raise BindingError(
            f"nothing provides the parameter {parameter.name!r}: no @resource provides {type_name(annotation)}"
        )
    try:
        return Source("payload", decoder(annotation), keyword)
    except BindingError as error:
        raise BindingError(
            f"the parameter {parameter.name!r} can't be bound: no @resource provides {type_name(annotation)}, "
            f"and it is no payload type ({error}); it may be {_MAY_BE}"
        ) from None


def _injected(parameter: Parameter, registration: Registration, registry: Registry) -> tuple[What, Any] | None:
    """What a parameter gets that is not the payload; None: nothing of these."""
    wanted = _without_none(strip(parameter.annotation))
    per_delivery = registration.kind in HANDLERS or registration.settings.get("scope") == "delivery"
    if wanted is Bus:
        return "bus", None
    if step := _step(wanted):
        return "step", (step, per_delivery)
    if registration.kind == "call" and _is_named(wanted, "eventbus_runtime.contracts.model", "ConsumeResponse"):
        return "consumed", None
    if wanted is Message or wanted is Delivery:
        if not per_delivery:
            raise BindingError(
                f"the parameter {parameter.name!r} wants {type_name(wanted)}, but there is no delivery here; "
                + _only_delivery_scope(registration)
            )
        return ("message" if wanted is Message else "delivery"), None
    provided = _provided(wanted, parameter, registry)
    if provided is None:
        return None
    resource = registry.resources[provided]
    if resource.settings["scope"] == "delivery" and not per_delivery:
        raise BindingError(
            f"the parameter {parameter.name!r} wants the resource {resource.name!r} ({resource.where}), which is "
            "opened per delivery; " + _only_delivery_scope(registration)
        )
    return "resource", provided


def _step(wanted: Any) -> str:
    """The name of the step that this type is; empty: it is none."""
    name = getattr(wanted, "__name__", "")
    known = name in _STEPS and _is_named(wanted, "eventbus_runtime.pipelines.steps", name)
    return _STEPS[name] if known else ""


def _is_named(wanted: Any, module: str, name: str) -> bool:
    """Whether it is this class; without an import, since whoever names it has imported it."""
    return module in sys.modules and wanted is getattr(sys.modules[module], name, None)


def _only_delivery_scope(registration: Registration) -> str:
    return (
        'this resource would have to be one too: @resource(scope="delivery")'
        if registration.kind == "resource"
        else "only handlers and resources of delivery scope may have it"
    )


def _provided(wanted: Any, parameter: Parameter, registry: Registry) -> Any:
    """The provided type that fits: this very one, or the only one that is a subclass; None: there is none."""
    for each in registry.resources:
        if each == wanted:  # not by hash: an annotation may hold what has none, as pydantic's Field
            return each
    # Builtins are payload types: a resource that is some kind of dict must not take `order: dict` for itself.
    if not inspect.isclass(wanted) or wanted.__module__ == "builtins":
        return None
    fitting = [each for each in registry.resources if inspect.isclass(each) and wanted in each.__mro__]
    if len(fitting) > 1:
        names = ", ".join(f"{type_name(each)} ({registry.resources[each].where})" for each in fitting)
        raise BindingError(
            f"several resources fit the parameter {parameter.name!r}: {names}; annotate it with one of these"
        )
    return fitting[0] if fitting else None


def _delivery_problems(sources: dict[str, Source], signature: Signature) -> list[str]:
    payloads = [name for name, source in sources.items() if source.what == "payload"]
    if len(payloads) > 1:
        types = ", ".join(
            f"'{each.name}' ({type_name(each.annotation)})" for each in signature.parameters if each.name in payloads
        )
        return [f"only one parameter may get the payload, but these would: {types}; no @resource provides any of them"]
    defaults = [name for name, source in sources.items() if source.what == "default"]
    if defaults and not any(source.what in ("message", "delivery", "payload") for source in sources.values()):
        return [f"nothing gets the message: {defaults[0]!r} has a default, and such a parameter never gets the payload"]
    return []


def _return_problems(signature: Signature, *, any_value: bool) -> list[str]:
    returns = signature.returns
    if returns is ABSENT or returns is Any:
        return []
    if signature.shape in ("async generator", "generator"):
        fits = is_async_iterator(returns) == (signature.shape == "async generator")
        if fits and yielded_type(returns) in (Publish, Any):
            return []
        wanted = "AsyncIterator[Publish]" if signature.shape == "async generator" else "Iterator[Publish]"
        return [f"it yields, and a handler may yield Publish only: annotate it as `-> {wanted}`"]
    if any_value:
        return []
    wrong = [each for each in _alternatives(returns) if not _may_be_returned(each)]
    return [f"it returns {type_name(wrong[0])}; a handler may return {_MAY_RETURN}"] if wrong else []


def _may_be_returned(annotation: Any) -> bool:
    if annotation in (None, NoneType, Any, Never, NoReturn, Publish, Retry, Reject, list, tuple):
        return True
    return get_origin(annotation) in (list, tuple, Sequence) and all(
        each in (Publish, Any, ...) for each in get_args(annotation)
    )


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _without_none(annotation: Any) -> Any:
    rest = [each for each in _alternatives(annotation) if each is not NoneType]
    return rest[0] if len(rest) == 1 else annotation


def _arguments(signature: Signature, sources: dict[str, Source]) -> tuple[Source, ...]:
    """Sources in calling order. A default is passed only where a later argument by position follows."""
    ordered = [sources[each.name] for each in signature.parameters if each.name in sources]
    by_position = [each for each in ordered if not each.keyword]
    while by_position and by_position[-1].what == "default":
        by_position.pop()
    return (*by_position, *(each for each in ordered if each.keyword and each.what != "default"))
