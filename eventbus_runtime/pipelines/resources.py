"""Resources: opened before what needs them, closed after it, in reverse order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self, TypeAlias

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.errors import ResourceError
from eventbus_runtime.pipelines.arguments import Getter, StepsOf, arguments, call, steps_over
from eventbus_runtime.pipelines.binding import Plan, read_plan
from eventbus_runtime.pipelines.registry import Registration, Registry

Opener: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]
"""Makes the context manager of a resource from what is given to the call (see `arguments.Getter`)."""


def opener(
    plan: Plan, bus: Bus, steps: StepsOf, runtime: Callable[[Any], Getter], scoped: Sequence[Any] | None = None
) -> Opener:
    """How a resource is opened and closed, whatever kind of function it is. Arguments as for `arguments`."""
    make = call(plan.registration.function, arguments(plan, bus, steps, runtime, scoped))

    @asynccontextmanager
    async def generated(it: Any) -> AsyncIterator[Any]:
        with contextmanager(make)(it) as value:
            yield value

    @asynccontextmanager
    async def awaited(it: Any) -> AsyncIterator[Any]:
        yield await make(it)

    @asynccontextmanager
    async def returned(it: Any) -> AsyncIterator[Any]:
        yield make(it)

    match plan.shape:
        case "async generator":
            return asynccontextmanager(make)
        case "generator":
            return generated
        case "async":
            return awaited
        case "def":
            return returned


async def close(
    opened: Sequence[AbstractAsyncContextManager[Any]], error: BaseException | None
) -> BaseException | None:
    """Close in reverse order, and return what went wrong in the end.

    Each is told of the error so far. One that swallows it does not undo it: a handler that raised is never
    acknowledged. What closing raises takes its place, unless that would hide a cancellation.
    """
    for context in reversed(opened):
        try:
            if error is None:
                await context.__aexit__(None, None, None)
            else:
                await context.__aexit__(type(error), error, error.__traceback__)
        except BaseException as raised:  # noqa: BLE001 - returned to the caller, which raises it
            if error is None or isinstance(error, Exception):
                error = raised
    return error


class Resources:
    """The resources of runtime scope that bound functions need.

    First bind, then enter: `bind` and `bind_background` note here what their functions need, entering opens that (and
    nothing else), and leaving closes it.

    Args:
        registry: who provides what.
        bus: what a resource's `Bus` parameter gets.
        steps: gives the steps of a bus.
    """

    def __init__(self, registry: Registry, bus: Bus, steps: StepsOf = steps_over) -> None:
        self.steps = steps
        self._registry = registry
        self._bus = bus
        self._openers: dict[Any, tuple[Registration, Opener]] = {}
        """By provided type, each behind what it needs; written while functions are bound."""
        self._opened: list[tuple[Registration, AbstractAsyncContextManager[Any]]] = []
        self._values: dict[Any, Any] = {}
        self._entered = False

    def getter(self, provided: Any) -> Getter:
        """Note that the resource of this type is needed, and return the getter of its value.

        Raises:
            RuntimeError: the resources are open already.
        """
        if provided not in self._openers:
            if self._entered:
                raise RuntimeError("resources are opened after everything is bound, not before")
            registration = self._registry.resources[provided]
            opens = opener(read_plan(registration, self._registry), self._bus, self.steps, self.getter)
            self._openers[provided] = registration, opens
        values = self._values
        return lambda it: values[provided]

    async def __aenter__(self) -> Self:
        """Open what is needed, in order of need.

        Raises:
            ResourceError: one could not be opened; what was open is closed again.
        """
        self._entered = True
        for provided, (registration, opens) in self._openers.items():
            context = opens(None)
            try:
                self._values[provided] = await context.__aenter__()
            except BaseException as error:
                failed = await self._close()
                if not isinstance(error, Exception):
                    raise
                raise _joined([_failure("opened", registration, error), *failed]) from error
            self._opened.append((registration, context))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close everything in reverse order, whatever ended the runtime: no resource is told of it.

        Raises:
            ResourceError: one or several could not be closed; all others are. An error under way is noted instead.
        """
        failed = await self._close()
        if error is not None:
            for each in failed:
                error.add_note(str(each))
        elif failed:
            raise _joined(failed) from failed[0].__cause__

    async def _close(self) -> list[ResourceError]:
        if not self._opened:
            return []
        registration, context = self._opened.pop()
        failed = []
        try:
            await context.__aexit__(None, None, None)
        except Exception as error:  # noqa: BLE001 - the caller raises it, once all are closed
            failed.append(_failure("closed", registration, error))
        finally:
            failed += await self._close()  # after a cancellation too
        return failed


def _failure(what: str, registration: Registration, error: Exception) -> ResourceError:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    failure = ResourceError(f"the resource {registration.name!r} ({registration.where}) could not be {what}: {text}")
    failure.__cause__ = error
    return failure


def _joined(failures: Sequence[ResourceError]) -> ResourceError:
    return ResourceError("; ".join(map(str, failures)))
