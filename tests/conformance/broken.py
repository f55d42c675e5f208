"""Buses, brokers and providers with one fault each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from eventbus_runtime.buses.base import Bus, Done, HeaderPairs, PubAck
from eventbus_runtime.conformance import JetStream, open_nats
from eventbus_runtime.conformance.candidate import OpenBus
from eventbus_runtime.provisioning.nats.provider import NatsProvider
from eventbus_runtime.provisioning.objects import ConsumerSpec, StreamSpec
from eventbus_runtime.provisioning.probe import Health, Probed
from eventbus_runtime.provisioning.providers import DeclaredBus
from eventbus_runtime.provisioning.resources import Resource, State


class Faulty:
    """A real bus, one of whose verbs a subclass breaks."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._bus, verb)


def opening(fault: Callable[[Bus], object]) -> OpenBus:
    """Opens a bus with this fault."""

    @asynccontextmanager
    async def open_bus(uri: str) -> AsyncIterator[Bus]:
        async with open_nats(uri) as bus:
            yield cast(Bus, fault(bus))

    return open_bus


class LosesAcks(Faulty):
    """Says that every third acknowledgement was confirmed, and sends none."""

    asked = 0

    async def request(self, subject: str, payload: bytes = b"", *, timeout: float = 5.0) -> bytes:
        self.asked += subject.startswith("$JS.ACK.")
        if self.asked % 3 == 0:
            return b""
        return await self._bus.request(subject, payload, timeout=timeout)


class DropsHeaders(Faulty):
    """Publishes without headers."""

    async def publish(self, subject: str, payload: bytes | str = b"", headers: HeaderPairs = (), **more: Any) -> PubAck:
        return await self._bus.publish(subject, payload, **more)


class ConfirmsTooMuch(Faulty):
    """Confirms what was not stored."""

    sequence = 0

    async def publish(self, subject: str, payload: bytes | str = b"", headers: HeaderPairs = (), **more: Any) -> PubAck:
        self.sequence += 1
        return PubAck("S", self.sequence, False)


class ForgetsLastWords(Faulty):
    """Publishes without waiting a moment too late: when the bus is closed already."""

    def publish_nowait(self, subject: str, payload: bytes, headers: HeaderPairs, done: Done, **more: Any) -> None:
        pass


class ForgetsTeardown(JetStream):
    """Removes nothing."""

    async def remove_stream(self, stream: str) -> None:
        pass


class OtherOrder(NatsProvider):
    """Yields the same resources the other way round."""

    def resources(self, bus: DeclaredBus, target: str) -> Sequence[Resource]:
        return super().resources(bus, target)[::-1]

    def stream_resources(
        self, streams: Iterable[StreamSpec | None], state: State, consumers: Iterable[ConsumerSpec | None] = ()
    ) -> Sequence[Resource]:
        return super().stream_resources(streams, state, consumers)[::-1]


class WithoutStorage(NatsProvider):
    """Yields the container alone."""

    def resources(self, bus: DeclaredBus, target: str) -> Sequence[Resource]:
        return super().resources(bus, target)[:1]


class DeafToEnvironments(NatsProvider):
    """Takes the common address for every environment."""

    def connection_string(self, state: State, env: str = "") -> str:
        return super().connection_string(state)


class AlwaysConnects(NatsProvider):
    """Has an address for what was never provisioned."""

    def connection_string(self, state: State, env: str = "") -> str:
        return state.value(f"uri.{env}") or state.value("uri") or "nats://127.0.0.1:4222"


class NeverReached(NatsProvider):
    """Probes nothing, as the origin did."""

    async def probe(self, uri: str, *, timeout: float = 5.0) -> Probed:
        return Probed(uri, Health.UNREACHABLE, "not implemented", 0.0)


class ShowsSecrets(NatsProvider):
    """Writes the address into a stream's resource, whatever is in it."""

    def stream_resources(
        self, streams: Iterable[StreamSpec | None], state: State, consumers: Iterable[ConsumerSpec | None] = ()
    ) -> Sequence[Resource]:
        made = super().stream_resources(streams, state, consumers)
        return [Resource(one.kind, one.name, {**one.properties, "uri": state.value("uri")}) for one in made]


class TakesAnyTarget(NatsProvider):
    """Puts NATS anywhere."""

    def resources(self, bus: DeclaredBus, target: str) -> Sequence[Resource]:
        return [Resource("infra.anything", bus.name)]


class YieldsNothing(NatsProvider):
    """Has targets where it yields nothing, without a word."""

    def resources(self, bus: DeclaredBus, target: str) -> Sequence[Resource]:
        return [] if target == "aws.eks" else super().resources(bus, target)
