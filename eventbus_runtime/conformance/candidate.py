"""What is held to the suites: a provider on a target, and the bus that talks to what it provisions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.buses.nats.connected import connected
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.conformance.broker import Broker, JetStream
from eventbus_runtime.pipelines.steps import Source
from eventbus_runtime.provisioning.nats.provider import APP_PLATFORM, NatsProvider
from eventbus_runtime.provisioning.providers import Provider
from eventbus_runtime.triggers.fetch import Fetcher

OpenBus: TypeAlias = Callable[[str], AbstractAsyncContextManager[Bus]]
"""Opens a connected bus at an address, until its block ends."""

OpenSource: TypeAlias = Callable[[Bus, str, str], AbstractAsyncContextManager[Source]]
"""Opens the consumer of a stream, by both names, so that messages can be fetched over a bus."""

_CONNECT_WITHIN = 5.0


@asynccontextmanager
async def open_nats(uri: str) -> AsyncIterator[Bus]:
    """A connected `NatsBus`.

    Raises:
        BusUnavailableError: it can't be reached within 5 s.
        AuthenticationError: it refuses the credentials.
        ConfigError: this is no address.
    """
    async with connected(NatsBus("conformance", BusConfig(), urls=[uri]), _CONNECT_WITHIN) as bus:
        yield bus


@asynccontextmanager
async def open_fetcher(bus: Bus, stream: str, consumer: str) -> AsyncIterator[Source]:
    """A JetStream consumer to fetch from."""
    fetcher = Fetcher(bus, stream, consumer)
    try:
        yield fetcher
    finally:
        await fetcher.close()


# What a bus on a target can't do without; more than these may be there.
_NATS_KINDS: Mapping[str, tuple[str, ...]] = {
    APP_PLATFORM: ("infra.container_service", "infra.storage"),
    "kubernetes": ("infra.k8s.statefulset", "infra.k8s.service"),
    "aws.eks": ("infra.k8s.statefulset", "infra.k8s.service"),
    "self_hosted": ("infra.compose.service",),
}


@dataclass(frozen=True)
class Candidate:
    """A provider on a target, and its bus.

    Args:
        provider: which.
        target: one of its deploy targets.
        open_bus: opens its bus at an address.
        broker: sees, over a bus of its own, what the broker has.
        open_source: opens a consumer to fetch from.
        kinds: by target, the kinds of resources that provisioning must yield; a target that is not in it must yield
            any.
        stream_kind: the kind of a stream's resource.
        patience: seconds that what must come or be counted may take.
    """

    provider: Provider
    target: str
    open_bus: OpenBus = open_nats
    broker: Callable[[Bus], Broker] = JetStream
    open_source: OpenSource = open_fetcher
    kinds: Mapping[str, Collection[str]] = field(default_factory=dict)
    stream_kind: str = "nats.stream_create"
    patience: float = 5.0

    @classmethod
    def nats(cls, target: str = "self_hosted") -> Candidate:
        """NATS on one of its targets."""
        return cls(NatsProvider(), target, kinds=_NATS_KINDS)
