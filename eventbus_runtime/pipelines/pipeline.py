"""A registered handler, bound: what a trigger fires for each delivery, with nothing left to find out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from inspect import iscoroutine
from typing import Any, TypeAlias

from anyio import CapacityLimiter, to_thread

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.pipelines.arguments import Arguments, Getter, Scope, arguments, call
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.binding import Plan, bindable, needed
from eventbus_runtime.pipelines.decoding import Decoder
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.pipelines.registry import Registration, Registry
from eventbus_runtime.pipelines.resources import Opener, Resources, close, opener
from eventbus_runtime.pipelines.signature import BLOCKING, read

Run: TypeAlias = Callable[[Any], Coroutine[Any, Any, Any]]
"""Runs a handler, given a `Delivery` or a `Scope`; its result is for `outgoing`, which may have read it already."""

Outgoing: TypeAlias = Callable[[Any], Sequence[Publish]]


@dataclass(slots=True)
class BoundPipeline:
    """A `pipelines.base.Pipeline`. `fire` and `outgoing` are closures made for this very handler."""

    name: str
    blocking: bool
    fire: Run
    outgoing: Outgoing


def bind(
    registration: Registration,
    *,
    registry: Registry,
    bus: Bus,
    resources: Resources,
    threads: CapacityLimiter | None = None,
) -> BoundPipeline:
    """Bind a handler, before `resources` is entered.

    Args:
        registration: the pipeline.
        registry: who provides what its parameters ask for.
        bus: what `Bus` parameters get, its own and those of its resources of delivery scope.
        resources: where the resources of runtime scope come from.
        threads: bounds the threads of `def` handlers; None: anyio's own limiter.

    Raises:
        BindingError: a parameter, the return annotation or a resource that it needs can't be bound.
    """
    if registration.kind == "steps":
        from eventbus_runtime.pipelines.steps.pipeline import bind_steps

        return bind_steps(registration, registry=registry, bus=bus, resources=resources, threads=threads)
    outgoing = _outgoing(registration)
    bound = _bind(registration, registry, bus, resources, threads, outgoing, with_scope=False)
    run = bound.run
    if bound.with_scope:
        run = _per_delivery(run, bound.decode)
    return BoundPipeline(registration.name, bound.blocking, run, outgoing)


def bind_call(
    registration: Registration,
    *,
    registry: Registry,
    bus: Bus,
    resources: Resources,
    threads: CapacityLimiter | None = None,
) -> BoundCall:
    """Bind a function that a pipeline of steps calls, before `resources` is entered; arguments as for `bind`.

    Raises:
        BindingError: see `bind`.
    """
    signature = read(registration.function)
    yields = signature.shape in ("async generator", "generator")
    outgoing = _outgoing(registration) if yields else _failing
    bound = _bind(registration, registry, bus, resources, threads, outgoing, with_scope=True)
    # An empty list says by its annotation alone whether it is a value, or no messages to publish.
    empty_is_none = yields or "Publish" in str(signature.returns)
    return replace(bound, empty_is_none=empty_is_none)


@dataclass(frozen=True, slots=True)
class BoundCall:
    """A function, bound.

    Args:
        run: runs it, given a `Scope`, or a `Delivery` where it is not `with_scope`.
        decode: reads the payload that it wants; None: it wants none.
        blocking: see `pipelines.base.Pipeline`.
        with_scope: see `run`.
        empty_is_none: whether an empty list that it returns means that nothing is to be published.
    """

    run: Run
    decode: Decoder | None
    blocking: bool
    with_scope: bool
    empty_is_none: bool = False

    def publishes(self, result: Any) -> Sequence[Publish] | None:
        """What its result says is to be published; None where that is a value."""
        if isinstance(result, Publish):
            return (result,)
        if isinstance(result, list | tuple) and all(isinstance(each, Publish) for each in result):
            return result if result or self.empty_is_none else None
        return None


def _bind(
    registration: Registration,
    registry: Registry,
    bus: Bus,
    resources: Resources,
    threads: CapacityLimiter | None,
    outgoing: Callable[[Any], Any],
    *,
    with_scope: bool,
) -> BoundCall:
    plan = bindable(registration, registry)
    scoped = {
        provided: each
        for provided, each in needed(plan, registry).items()
        if each.registration.settings["scope"] == "delivery"
    }
    outside, inside = _split(plan, scoped)
    types = (*outside, *inside) if scoped or with_scope else None
    steps, runtime = resources.steps, resources.getter
    openers = [[opener(scoped[each], bus, steps, runtime, types) for each in part] for part in (outside, inside)]
    run = _run(plan, arguments(plan, bus, steps, runtime, types), outgoing, openers[1], threads)
    if types is not None:
        run = _around(run, outgoing, openers[0])
    decode = next((source.value for source in plan.sources if source.what == "payload"), None)
    return BoundCall(run, decode, plan.shape in BLOCKING, types is not None)


def bind_background(
    registration: Registration, *, registry: Registry, bus: Bus, resources: Resources
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Bind a background function, before `resources` is entered; what is returned starts it.

    Raises:
        BindingError: a parameter can't be bound, or the function is not `async def`.
    """
    plan = bindable(registration, registry)
    start = call(registration.function, arguments(plan, bus, resources.steps, resources.getter))

    async def run() -> None:
        await start(None)

    return run


def _split(plan: Plan, scoped: dict[Any, Plan]) -> tuple[list[Any], list[Any]]:
    """Resources of delivery scope that open on the event loop, and those that open in the thread of the handler.

    A `def` resource of a `def` handler belongs into its thread, opening and closing included: on the loop, waiting for
    a connection that another delivery has to give back would stop the loop that gives it back. On the loop is what is
    async, and what that needs.
    """
    outside: set[Any] = set()
    for provided, each in reversed(scoped.items()):
        if plan.shape not in BLOCKING or each.shape not in BLOCKING or provided in outside:
            outside.add(provided)
            outside.update(source.value for source in each.sources if source.what == "resource")
    return [each for each in scoped if each in outside], [each for each in scoped if each not in outside]


def _run(
    plan: Plan,
    given: Arguments,
    outgoing: Callable[[Any], Any],
    inside: Sequence[Opener],
    threads: CapacityLimiter | None,
) -> Run:
    start = call(plan.registration.function, given)
    match plan.shape:
        case "async":
            return start
        case "async generator":
            return _run_async_generator(start, outgoing)
        case "def":
            return _run_in_thread(start, outgoing, inside, threads)
        case "generator":
            return _run_in_thread(lambda it: list(start(it)), outgoing, inside, threads)


def _run_async_generator(start: Getter, outgoing: Callable[[Any], Any]) -> Run:
    async def run(it: Any) -> None:
        async with aclosing(start(it)) as items:
            async for item in items:
                for each in outgoing((item,)):
                    await it.publish(each)

    return run


def _run_in_thread(
    start: Getter, outgoing: Callable[[Any], Any], inside: Sequence[Opener], threads: CapacityLimiter | None
) -> Run:
    async def handle(it: Any) -> Any:
        return start(it)

    around = _around(handle, outgoing, inside) if inside else handle

    def work(it: Any) -> Any:
        """In the thread: nothing in there waits for an event loop, so that one step is all of it."""
        try:
            around(it).send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("a `def` resource waited for an event loop")

    async def run(it: Any) -> Any:
        return await to_thread.run_sync(work, it, limiter=threads, abandon_on_cancel=True)

    return run


def _outgoing(registration: Registration) -> Outgoing:
    def outgoing(result: Any) -> Sequence[Publish]:
        """What a handler returned, as what is to be published; its own result gives the same again."""
        if result is None:
            return ()
        if isinstance(result, Publish):
            return (result,)
        if isinstance(result, Retry | Reject):
            raise result
        wrong = [result]
        if isinstance(result, list | tuple):
            wrong = [each for each in result if not isinstance(each, Publish)]
            if not wrong:
                return result
        for each in wrong:
            if iscoroutine(each):
                each.close()  # else Python warns of it as well
        raise TypeError(
            f"{registration.name} ({registration.where}) handed back {type(wrong[0]).__qualname__}; "
            "a handler may return None, Publish, a list of Publish, Retry or Reject, and yield Publish"
        )

    return outgoing


def _failing(result: Any) -> Any:
    """What a call returned; a failure that it returned is raised."""
    if isinstance(result, Retry | Reject):
        raise result
    return result


def _per_delivery(run: Run, decode: Decoder | None) -> Run:
    async def fire(delivery: Delivery) -> Any:
        return await run(Scope(delivery, decode))

    return fire


def _around(run: Run, outgoing: Callable[[Any], Any], openers: Sequence[Opener]) -> Run:
    """Resources of delivery scope, opened before a handler runs and closed before its outcome is told. Its result is
    read before they are closed: one that means failure must not be committed."""

    async def around(scope: Scope) -> Any:
        opened: list[AbstractAsyncContextManager[Any]] = []
        result: Any = ()
        error: BaseException | None = None
        try:
            for opens in openers:
                context = opens(scope)
                scope.values.append(await context.__aenter__())
                opened.append(context)
            result = outgoing(await run(scope))
        except BaseException as raised:  # noqa: BLE001 - raised again below, once all are closed
            error = raised
        error = await close(opened, error)
        if error is not None:
            try:
                raise error
            finally:
                error = None  # breaks the circle of error, traceback and this frame
        return result

    return around
