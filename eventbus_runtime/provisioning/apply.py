"""A plan, done by the code that the start of the runtime uses; and what nobody declares, deleted where that is asked
for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.config.objects import ConsumerConfig
from eventbus_runtime.errors import ApiError, BusError, NotFoundError, NotPermittedError, TopologyError
from eventbus_runtime.provisioning.patience import Patience, PlacementError
from eventbus_runtime.provisioning.plan import Action, BusPlan, Item
from eventbus_runtime.provisioning.topology import Changed, ensure_consumer, ensure_stream
from eventbus_runtime.provisioning.unmanaged import Unmanaged


async def carry_out(
    bus: Bus,
    plan: BusPlan,
    tell: Callable[[Item, Changed], None],
    *,
    waiting: Callable[[BusError], None] = lambda error: None,
    patience: Patience | None = None,
) -> list[str]:
    """Create and update what the plan says; ask nothing about the rest.

    Args:
        bus: connected; the plan's.
        plan: without refusals.
        tell: is told of each object once it is as declared.
        waiting: is told, once for each object, why it is waited for.
        patience: how long is waited, in all, while the server does not answer, or can't do it now; left out: 20 s.

    Returns:
        What the server refused, each with the way out. What does not hang on it is done all the same; but once it
        does not answer, nothing more is tried.
    """
    failures, failed, patience = list[str](), set[str](), patience or Patience()
    for item in _in_order(plan):
        config = item.config
        if isinstance(config, ConsumerConfig):
            if config.stream in failed:
                failures.append(f"{item.label}: not made, since its stream is not as declared")
                continue
            ensure = partial(ensure_consumer, bus, item.name, config)
        else:
            ensure = partial(ensure_stream, bus, item.name, config)
        try:
            tell(item, await patience.once_possible(ensure, waiting))
        except (TopologyError, ApiError, NotPermittedError, PlacementError) as error:
            failures.append(str(error))
            if not isinstance(config, ConsumerConfig):
                failed.add(item.name)
        except BusError as error:
            return [*failures, f"{item.label} is perhaps not done, and what comes after it is not: {error}"]
    return failures


async def delete(bus: Bus, things: Iterable[Unmanaged], tell: Callable[[Unmanaged], None]) -> None:
    """Delete streams with all that is in them, and consumers. What is gone already is passed over.

    Raises:
        BusError: the server refuses it, or no answer; what `tell` was told of is deleted.
    """
    for one in things:
        with suppress(NotFoundError):
            if one.consumer:
                await bus.api(f"CONSUMER.DELETE.{one.stream}.{one.consumer}")
            else:
                await bus.api(f"STREAM.DELETE.{one.stream}")
        tell(one)


def _in_order(plan: BusPlan) -> list[Item]:
    """Streams that give up subjects first, since another may take them over; then streams, then consumers."""
    wanted = [item for item in plan.streams if item.action in (Action.CREATE, Action.UPDATE)]
    gives_up = [item for item in wanted if item.action is Action.UPDATE and _gives_up(item)]
    others = [item for item in wanted if item not in gives_up]
    return [*gives_up, *others, *(one for one in plan.consumers if one.action in (Action.CREATE, Action.UPDATE))]


def _gives_up(item: Item) -> bool:
    return any(one.field == "subjects" and set(one.old or ()) - set(one.new or ()) for one in item.differences)
