"""A registered handler, bound: what a trigger fires for each delivery, with nothing left to find out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from inspect import iscoroutine
from typing import Any, TypeAlias, cast

from anyio import CapacityLimiter, to_thread

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.pipelines.arguments import Arguments, Getter, Scope, arguments, call
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.binding import Plan, bindable, needed
from eventbus_runtime.pipelines.decoding import Decoder
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.pipelines.registry import Registration, Registry
from eventbus_runtime.pipelines.resources import Opener, Resources, close, opener
from eventbus_runtime.pipelines.signature import BLOCKING

Run: TypeAlias = Callable[[Any], Coroutine[Any, Any, Sequence[Publish]]]
"""Runs a handler, given a `Delivery` or a `Scope`."""

Outgoing: TypeAlias = Callable[[Any], Sequence[Publish]]


@dataclass(slots=True)
class BoundPipeline:
    """A `pipelines.base.Pipeline`. `fire` is a closure made for this handler's own shape."""

    name: str
    blocking: bool
    fire: Run


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
    plan = bindable(registration, registry)
    scoped = {
        provided: each
        for provided, each in needed(plan, registry).items()
        if each.registration.settings["scope"] == "delivery"
    }
    outside, inside = _split(plan, scoped)
    types = (*outside, *inside) if scoped else None
    openers = [[opener(scoped[each], bus, resources.getter, types) for each in part] for part in (outside, inside)]
    run = _run(plan, arguments(plan, bus, resources.getter, types), openers[1], threads)
    if scoped:
        decode = next((source.value for source in plan.sources if source.what == "payload"), None)
        run = _per_delivery(_around(run, openers[0]), decode)
    return BoundPipeline(registration.name, plan.shape in BLOCKING, run)


def bind_background(
    registration: Registration, *, registry: Registry, bus: Bus, resources: Resources
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Bind a background function, before `resources` is entered; what is returned starts it.

    Raises:
        BindingError: a parameter can't be bound, or the function is not `async def`.
    """
    plan = bindable(registration, registry)
    start = call(registration.function, arguments(plan, bus, resources.getter))

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


def _run(plan: Plan, given: Arguments, inside: Sequence[Opener], threads: CapacityLimiter | None) -> Run:
    function = plan.registration.function
    outgoing = _outgoing(plan.registration)
    match plan.shape:
        case "async":
            return _run_async(function, given, outgoing)
        case "async generator":
            return _run_async_generator(call(function, given), outgoing)
        case "def":
            return _run_in_thread(call(function, given), outgoing, inside, threads)
        case "generator":
            generate = call(function, given)
            return _run_in_thread(lambda it: list(generate(it)), outgoing, inside, threads)


def _run_async(function: Callable[..., Any], given: Arguments, outgoing: Outgoing) -> Run:
    if len(given.by_position) == 1 and not given.by_keyword:
        get = given.by_position[0]

        async def run_with_one(it: Any) -> Sequence[Publish]:
            result = await function(get(it))
            return () if result is None else outgoing(result)

        return run_with_one
    start = call(function, given)

    async def run(it: Any) -> Sequence[Publish]:
        result = await start(it)
        return () if result is None else outgoing(result)

    return run


def _run_async_generator(start: Getter, outgoing: Outgoing) -> Run:
    async def run(it: Any) -> Sequence[Publish]:
        async with aclosing(start(it)) as items:
            async for item in items:
                for each in outgoing((item,)):
                    await it.publish(each)
        return ()

    return run


def _run_in_thread(start: Getter, outgoing: Outgoing, inside: Sequence[Opener], threads: CapacityLimiter | None) -> Run:
    async def handle(it: Any) -> Sequence[Publish]:
        result = start(it)
        return () if result is None else outgoing(result)

    around = _around(handle, inside) if inside else handle

    def work(it: Any) -> Sequence[Publish]:
        """In the thread: nothing in there waits for an event loop, so that one step is all of it."""
        try:
            around(it).send(None)
        except StopIteration as done:
            return cast(Sequence[Publish], done.value)
        raise AssertionError("a `def` resource waited for an event loop")

    async def run(it: Any) -> Sequence[Publish]:
        return await to_thread.run_sync(work, it, limiter=threads, abandon_on_cancel=True)

    return run


def _outgoing(registration: Registration) -> Outgoing:
    def outgoing(result: Any) -> Sequence[Publish]:
        """What a handler returned, as what is to be published."""
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


def _per_delivery(run: Run, decode: Decoder | None) -> Run:
    async def fire(delivery: Delivery) -> Sequence[Publish]:
        return await run(Scope(delivery, decode))

    return fire


def _around(run: Run, openers: Sequence[Opener]) -> Run:
    """Resources of delivery scope, opened before a handler runs and closed before its outcome is told."""

    async def around(scope: Scope) -> Sequence[Publish]:
        opened: list[AbstractAsyncContextManager[Any]] = []
        outgoing: Sequence[Publish] = ()
        error: BaseException | None = None
        try:
            for opens in openers:
                context = opens(scope)
                scope.values.append(await context.__aenter__())
                opened.append(context)
            outgoing = await run(scope)
        except BaseException as raised:  # noqa: BLE001 - raised again below, once all are closed
            error = raised
        error = await close(opened, error)
        if error is not None:
            try:
                raise error
            finally:
                error = None  # breaks the circle of error, traceback and this frame
        return outgoing

    return around
