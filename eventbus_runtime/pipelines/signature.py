"""A user's function read once: what kind it is, its parameters, and its annotations as types."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from eventbus_runtime.errors import BindingError

Shape: TypeAlias = Literal["async", "async generator", "def", "generator"]

BLOCKING: tuple[Shape, ...] = ("def", "generator")
"""Shapes that hold up whatever runs them until they return."""

ABSENT: Any = inspect.Parameter.empty
"""The annotation of a parameter that has none, and the default of one that has none."""

_FOUND_BY_TYPE = "handlers get a resource by its type"
_ASYNC_ITERATORS = (AsyncIterator, AsyncGenerator, AsyncIterable)
_ITERATORS = (Iterator, Generator, Iterable)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `annotation` is resolved, `ABSENT` when there is none; `default` likewise."""

    name: str
    annotation: Any
    default: Any
    kind: inspect._ParameterKind


@dataclass(frozen=True, slots=True)
class Signature:
    """A function's signature. `problems` names what could not be read, one sentence each."""

    shape: Shape
    parameters: tuple[Parameter, ...]
    returns: Any
    problems: tuple[str, ...]


def underlying(function: Callable[..., Any]) -> Any:
    """The function behind a `functools.partial`, a method, a decorator's wrapper or an object with `__call__`."""
    inner: Any = function
    while True:
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif inspect.ismethod(inner):
            inner = inner.__func__
        elif hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        elif not hasattr(inner, "__code__") and hasattr(type(inner).__call__, "__code__"):
            inner = type(inner).__call__
        else:
            return inner


def shape_of(function: Callable[..., Any]) -> Shape:
    """How a function is to be called. A decorator's wrapper counts as it stands, not as what it wraps."""
    called: Any = function
    while isinstance(called, functools.partial):
        called = called.func
    if not (inspect.isfunction(called) or inspect.ismethod(called)):
        called = getattr(type(called), "__call__", called)  # noqa: B004 - the method itself is wanted
    if inspect.isasyncgenfunction(called):
        return "async generator"
    if inspect.iscoroutinefunction(called):
        return "async"
    return "generator" if inspect.isgeneratorfunction(called) else "def"


def read(function: Callable[..., Any]) -> Signature:
    """Read a signature, without what a `functools.partial` has filled in.

    Annotations that are text (`from __future__ import annotations`) are resolved where the function was defined; one
    that can't be is a problem, and its parameter is left out.
    """
    shape = shape_of(function)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return Signature(shape, (), ABSENT, ("its signature can't be read; wrap it in a function of your own",))
    namespace = getattr(underlying(function), "__globals__", {})
    given = function.keywords if isinstance(function, functools.partial) else {}
    parameters, problems = [], []
    for each in signature.parameters.values():
        if each.name in given:
            continue
        try:
            annotation = _resolve(each.annotation, namespace)
        except BindingError as error:
            problems.append(f"the annotation of the parameter {each.name!r} can't be resolved: {error}")
        else:
            parameters.append(Parameter(each.name, annotation, each.default, each.kind))
    returns = ABSENT
    try:
        returns = _resolve(signature.return_annotation, namespace)
    except BindingError as error:
        problems.append(f"the return annotation can't be resolved: {error}")
    return Signature(shape, tuple(parameters), returns, tuple(problems))


def provided_type(function: Callable[..., Any]) -> Any:
    """The type that a `@resource` function provides: what it is annotated to yield or return.

    Raises:
        BindingError: there is no such annotation, it can't be resolved, or it does not fit the function.
    """
    signature = read(function)
    if signature.returns is ABSENT:
        unresolved = [text for text in signature.problems if text.startswith("the return annotation")]
        raise BindingError(*unresolved or [f"{_FOUND_BY_TYPE}: annotate it, as `-> AsyncIterator[Pool]` or `-> Pool`"])
    provided = signature.returns
    yielded = yielded_type(provided)
    if signature.shape in ("async generator", "generator"):
        if yielded is ABSENT:
            raise BindingError(f"it yields, so annotate it as `-> AsyncIterator[…]`, not {type_name(provided)}")
        provided = strip(yielded)
    elif yielded is not ABSENT:
        raise BindingError(
            f"it is annotated with {type_name(provided)}, but it is no generator; "
            "@resource does what @asynccontextmanager does, so leave that away"
        )
    if provided in (None, type(None), Any):
        raise BindingError(f"{_FOUND_BY_TYPE}, and {type_name(provided)} names none")
    return strip(provided)


def yielded_type(annotation: Any) -> Any:
    """What an iterator's annotation yields, as Pool of `AsyncIterator[Pool]`; `ABSENT` when it is no iterator."""
    origin = get_origin(annotation) or annotation
    if origin not in (*_ASYNC_ITERATORS, *_ITERATORS):
        return ABSENT
    arguments = get_args(annotation)
    return arguments[0] if arguments else Any


def is_async_iterator(annotation: Any) -> bool:
    """Whether it is `AsyncIterator[…]`, `AsyncGenerator[…]` or `AsyncIterable[…]`."""
    return (get_origin(annotation) or annotation) in _ASYNC_ITERATORS


def strip(annotation: Any) -> Any:
    """`Annotated[X, …]` without what it is annotated with."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def type_name(annotation: Any) -> str:
    """A type as the user wrote it."""
    return annotation.__qualname__ if inspect.isclass(annotation) and not get_args(annotation) else str(annotation)


def _resolve(annotation: Any, namespace: dict[str, Any]) -> Any:
    if annotation is ABSENT:
        return ABSENT
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        resolved = get_type_hints(holder, namespace, include_extras=True)["it"]
    except NameError as error:
        raise BindingError(
            f"the name {error.name!r} is not found in its module at run time; define or import it at module level, "
            "and not under `if TYPE_CHECKING`"
        ) from None
    except (AttributeError, TypeError, SyntaxError) as error:
        raise BindingError(f"{annotation!r}: {error}") from None
    return None if resolved is type(None) else resolved
