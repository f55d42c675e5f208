"""The decorators that register a user's functions, and the registry that the runtime reads.

A decorator only notes the function and returns it unchanged, so that it stays an ordinary function in the user's own
tests. Nothing of its signature is looked at here: what it names may be defined further down.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack, get_args, overload

from eventbus_runtime.errors import BindingError, Problem
from eventbus_runtime.pipelines.signature import provided_type, type_name, underlying

F = TypeVar("F", bound=Callable[..., Any])
Kind: TypeAlias = Literal["pipeline", "subscription", "resource", "background", "call", "steps"]
HANDLERS: tuple[Kind, ...] = ("pipeline", "subscription", "call")
"""Kinds whose function gets a delivery."""
Scope: TypeAlias = Literal["runtime", "delivery"]


Duration: TypeAlias = str | int | float
"""As "20s", or seconds."""


class TriggerSettings(TypedDict, total=False):
    """What `@subscribe` takes beside its own arguments: keys of `[triggers.NAME]`, where each is described. They are
    checked with the file, so that all mistakes are told at once."""

    enabled: bool
    max_in_flight: int
    max_bytes: str | int
    batch: Mapping[str, Any]
    ack: Literal["on_success", "manual"]
    ack_confirm: bool
    ordering: Literal["none", "key", "strict"]
    ordering_key: str
    timeout: Duration
    retry: Mapping[str, Any]
    dead_letter: str
    declare_dead_letter: bool
    attempts: int
    on_exhausted: Literal["dead_letter", "terminate"]
    filter: Mapping[str, str]
    filter_discards: bool


@dataclass(frozen=True, slots=True)
class Registration:
    """One use of a decorator.

    Args:
        kind: which decorator; `@subscribe` makes two, a subscription and the pipeline of the same name. `steps` is a
            pipeline that `[pipelines.NAME]` declares, `call` a function that it calls.
        name: the name given, else the function's own.
        function: the function, as the user wrote it.
        module: name of the module that defines it.
        where: its place, as `handlers.py:12`; relative to the working directory where that is shorter.
        settings: of a subscription its trigger's keys, as in `[triggers.NAME]`, only those that were given;
            of a resource its `scope`; of `steps` these, and the registrations of what they call; else empty.
    """

    kind: Kind
    name: str
    function: Callable[..., Any]
    module: str
    where: str
    settings: Mapping[str, Any]


_registrations: list[Registration] = []


def registrations() -> list[Registration]:
    """All registrations of this process so far, in their order."""
    return list(_registrations)


@overload
def pipeline(function: F, /) -> F: ...
@overload
def pipeline(name: str, /) -> Callable[[F], F]: ...
def pipeline(target: Any, /) -> Any:
    """Register a handler as a pipeline: `@pipeline`, or `@pipeline("billing")`.

    Args:
        target: the handler; or the pipeline's name. Without a name it takes the function's.

    Raises:
        TypeError: it decorates what is not a function.
        ValueError: the name is empty.
    """
    return _named("pipeline", target)


@overload
def background(function: F, /) -> F: ...
@overload
def background(name: str, /) -> Callable[[F], F]: ...
def background(target: Any, /) -> Any:
    """Register an `async def` function that is supervised beside the triggers: `@background`, or `@background("name")`.

    Args:
        target: the function; or its name in logs. Without a name it takes the function's.

    Raises:
        TypeError: it decorates what is not a function.
        ValueError: the name is empty.
    """
    return _named("background", target)


@overload
def resource(function: F, /) -> F: ...
@overload
def resource(*, scope: Scope = "runtime") -> Callable[[F], F]: ...
def resource(function: Any = None, /, *, scope: Scope = "runtime") -> Any:
    """Register what handlers get by the type that it yields or returns: `@resource`, or `@resource(scope="delivery")`.

    Args:
        function: a generator that yields once (what follows the `yield` closes it), or a function that returns.
            It may be `async def` or `def`. A `def` of delivery scope runs in the thread of a `def` handler; under an
            `async def` handler, and in runtime scope, it runs on the event loop, so that it must not block for long.
        scope: `runtime`: opened before the first pull, closed at stop, shared by all. `delivery`: opened for each
            delivery, closed with its outcome before the ack.

    Raises:
        TypeError: it decorates what is not a function.
        ValueError: the scope is unknown.
    """
    if scope not in get_args(Scope):
        raise ValueError(f'@resource(scope={scope!r}): a scope is "runtime" or "delivery"')

    def decorate(function: F) -> F:
        _register("resource", function, None, {"scope": scope})
        return function

    return decorate if function is None else decorate(function)


def subscribe(
    *subjects: str,
    stream: str | None = None,
    consumer: str | None = None,
    name: str | None = None,
    bus: str | None = None,
    **settings: Unpack[TriggerSettings],
) -> Callable[[F], F]:
    """Register a handler together with its trigger, as `@subscribe("orders.created", stream="ORDERS")`.

    Args:
        subjects: what it subscribes to (`filter_subjects`).
        stream: the stream; left out, the only one whose subjects cover these.
        consumer: the consumer; left out, the declared one of the trigger's name, else one is declared for it.
        name: of the trigger and its pipeline; left out, the function's.
        bus: the bus; left out, the stream's.
        settings: any other key of `[triggers.NAME]`, as `max_in_flight=64, timeout="20s", dead_letter="dead.billing"`.

    Raises:
        TypeError: it decorates what is not a function, or a subject is not text.
        ValueError: the name or a subject is empty, or neither subject, stream nor consumer is given.
    """
    for subject in subjects:
        if not isinstance(subject, str):
            raise TypeError(f'@subscribe wants subjects, as @subscribe("orders.created"), not {subject!r}')
        if not subject:
            raise ValueError("@subscribe: a subject must not be empty")
    if not (subjects or stream or consumer):
        raise ValueError('@subscribe wants a subject, a stream or a consumer, as @subscribe("orders.created")')
    given = {"filter_subjects": subjects or None, "stream": stream, "consumer": consumer, "bus": bus}
    keys = {**settings, **{key: value for key, value in given.items() if value is not None}}

    def decorate(function: F) -> F:
        _register("subscription", function, name, keys)
        _register("pipeline", function, name)
        return function

    return decorate


def _named(kind: Literal["pipeline", "background"], target: Any) -> Any:
    if not isinstance(target, str):
        _register(kind, target, None)
        return target

    def decorate(function: F) -> F:
        _register(kind, function, target)
        return function

    return decorate


def _register(kind: Kind, function: Any, name: str | None, settings: Mapping[str, Any] = MappingProxyType({})) -> None:
    decorator = "subscribe" if kind == "subscription" else kind
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"@{decorator} decorates a function, not {function!r}")
    name = getattr(function, "__name__", None) if name is None else name
    if name is None:
        raise TypeError(f'@{decorator}: {function!r} has no name of its own; give it one, as @{decorator}("billing")')
    if not name:
        raise ValueError(f"@{decorator}: a name must not be empty")
    module, where = origin(function)
    _registrations.append(Registration(kind, name, function, module, where, MappingProxyType(dict(settings))))


def origin(function: Callable[..., Any]) -> tuple[str, str]:
    """Name of the module that defines a function, and its place."""
    inner = underlying(function)
    module = inner.__module__
    code = getattr(inner, "__code__", None)
    if code is None:
        return module, module
    try:
        relative = os.path.relpath(code.co_filename)
    except ValueError:  # on another drive than the working directory
        relative = code.co_filename
    return module, f"{min(relative, code.co_filename, key=len)}:{code.co_firstlineno}"


class Registry:
    """Registrations by name, with the mistakes that are seen when they are laid side by side.

    Attributes:
        pipelines, subscriptions, backgrounds: by name.
        resources: by the type that they provide.
        problems: two of one name or type, or a resource whose type can't be told.
    """

    def __init__(self, registrations: Iterable[Registration]) -> None:
        self.pipelines: dict[str, Registration] = {}
        self.subscriptions: dict[str, Registration] = {}
        self.backgrounds: dict[str, Registration] = {}
        self.resources: dict[Any, Registration] = {}
        self.problems: list[Problem] = []
        for registration in registrations:
            self._add(registration)

    @classmethod
    def select(cls, modules: Collection[str] | None = None) -> Registry:
        """The registrations of the modules named; None: all of this process."""
        return cls(each for each in _registrations if modules is None or each.module in modules)

    def _add(self, new: Registration) -> None:
        match new.kind:
            case "pipeline":
                # One function may be @pipeline and @subscribe at once: it is the same pipeline.
                old = self.pipelines.setdefault(new.name, new)
                self._refuse_second(new, old, f"two pipelines are named {new.name!r}", old.function == new.function)
            case "subscription":
                # Two functions of one name are two pipelines of one name, which is said above.
                old = self.subscriptions.setdefault(new.name, new)
                self._refuse_second(new, old, f"two subscriptions are named {new.name!r}", old.function != new.function)
            case "background":
                old = self.backgrounds.setdefault(new.name, new)
                self._refuse_second(new, old, f"two background functions are named {new.name!r}")
            case "resource":
                try:
                    provided = provided_type(new.function)
                except BindingError as error:
                    self.problems.append(Problem(new.where, new.name, str(error)))
                    return
                old = self.resources.setdefault(provided, new)
                self._refuse_second(new, old, f"two resources provide {type_name(provided)}")

    def _refuse_second(self, new: Registration, old: Registration, what: str, allowed: bool = False) -> None:
        if new is not old and not allowed:
            text = f"{what}: the other is {old.name} at {old.where}; "
            cure = "keep one" if new.kind == "resource" else "give one of them another name"
            if new.where == old.where and new.module != old.module:
                text = f"{what}, since the same code ran as {old.module} and as {new.module}: "
                cure = "name in imports the module, as it is imported elsewhere, and not its file"
            self.problems.append(Problem(new.where, new.name, text + cure))
