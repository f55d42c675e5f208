"""What the tests of this folder share: a delivery that notes what a handler does with it, and short ways to bind."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from anyio import CapacityLimiter

from eventbus_runtime.buses.base import Bus, PubAck
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.numbering import Numbering
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.pipelines.pipeline import BoundPipeline, bind
from eventbus_runtime.pipelines.registry import Registration, Registry, registrations
from eventbus_runtime.pipelines.resources import Resources

BUS = cast(Bus, object())
"""Bindings only hand it on; no test here speaks to it."""


class Held(Numbering):
    """A `Delivery` without a trigger behind it."""

    def __init__(self, payload: bytes | str = b"{}") -> None:
        self.message = Message.build("orders.created", payload)
        self.attempt = 1
        self.did: list[object] = []
        self._positions, self._place, self._seen = 0, "", ""

    async def ack(self) -> bool:
        self.did.append("ack")
        return True

    async def nak(self, delay: float | None = None) -> bool:
        self.did.append(("nak", delay))
        return True

    async def reject(self, reason: str = "") -> bool:
        self.did.append(("reject", reason))
        return True

    async def progress(self) -> bool:
        return True

    async def publish(self, outgoing: Publish) -> PubAck:
        self.did.append(outgoing.subject)
        return PubAck("S", len(self.did), False)


def chosen(*functions: Callable[..., Any]) -> Registry:
    """A registry of these functions' registrations and no others."""
    return Registry(each for each in registrations() if each.function in functions)


def only(registry: Registry) -> Registration:
    """The one pipeline of a registry."""
    (registration,) = registry.pipelines.values()
    return registration


def bound(*functions: Callable[..., Any], threads: CapacityLimiter | None = None) -> BoundPipeline:
    """The one pipeline among these functions, bound, where no resource of runtime scope is needed."""
    registry = chosen(*functions)
    return bind(only(registry), registry=registry, bus=BUS, resources=Resources(registry, BUS), threads=threads)


async def fire(*functions: Callable[..., Any], payload: bytes | str = b"{}") -> Sequence[Publish]:
    """Bind the one pipeline among these functions and let it have one delivery."""
    return await fired(bound(*functions), Held(payload))


async def fired(pipe: BoundPipeline, delivery: Held) -> Sequence[Publish]:
    """Let a bound pipeline have a delivery, and say what it wants published."""
    return pipe.outgoing(await pipe.fire(delivery))
