"""The modules (S-20): bus, stream and consumer, from their creation to their stop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol, TypeVar

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import EMBEDDED, uri_variable
from eventbus_runtime.config.targets import MATRIX, NATS, cannot_run, target_problem, version_problem
from eventbus_runtime.contracts.convert import to_bus, to_consumer, to_stream
from eventbus_runtime.contracts.model import ClusterConfig, ConsumerConfig, StreamConfig
from eventbus_runtime.errors import BusUnavailableError, ConfigError, EventbusError, NotFoundError
from eventbus_runtime.events import Ensured, Warned
from eventbus_runtime.message import Raw
from eventbus_runtime.pipelines.steps import AckStep
from eventbus_runtime.plugin.declared import Declared
from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.provisioning.providers import Providers
from eventbus_runtime.provisioning.topology import Changed, ensure_consumer, ensure_stream
from eventbus_runtime.triggers.fetch import Fetcher

CONNECT_WITHIN = 5.0
"""Seconds that who needs a connection waits for it (S-24)."""

M = TypeVar("M")


class Module(Protocol):
    """What a handle stands for."""

    title: str
    """Type and instance, for errors."""

    async def init(self) -> None:
        """Be known to the others.

        Raises:
            PluginError: another one of this name is.
        """

    async def start(self) -> None:
        """Have what it declares be there.

        Raises:
            EventbusError: it can't be.
        """

    async def stop(self, within: float) -> None:
        """Be known no more, and let go what it holds, within so many seconds. Idempotent, and safe before `start`."""


def register(registry: dict[str, M], name: str, module: M, title: str) -> None:
    """Make a module known under its name. Idempotent.

    Raises:
        PluginError: another one has that name.
    """
    if registry.setdefault(name, module) is not module:
        raise PluginError(f"{title}: there is another one of this name; stop it first, or rename one")


def unregister(registry: dict[str, M], name: str, module: M) -> None:
    """Make a module known no more. Idempotent, and nothing to another one of its name."""
    if registry.get(name) is module:
        del registry[name]


class BusModule:
    """`infra.eventbus`: one connection, made when it is first needed or at the start, kept until the stop (S-24).

    Args:
        title: type and instance, for errors.
        name: of the instance.
        config: what was declared.
        declared: where it is known.

    Raises:
        PluginError: provider or deploy target is missing, or they don't go together (S-5, S-21).
        ContractError: another setting makes no sense.
    """

    def __init__(self, title: str, name: str, config: ClusterConfig, declared: Declared) -> None:
        self.title, self.name, self.config = title, name, config
        self._declared = declared
        self._bus: NatsBus | None = None
        self._acks: tuple[NatsBus, AckStep] | None = None
        _check(title, config)
        self._section = to_bus(config) if config.provider == NATS else None

    @property
    def addresses(self) -> list[str]:
        """Where it is, by S-23; empty: nobody has said so."""
        names = (uri_variable(self.name), *(("NATS_URL",) if self.config.provider == NATS else ()))
        found = next((value for name in names if (value := self._declared.environ.get(name))), "")
        return [part.strip() for part in found.split(",") if part.strip()]

    async def init(self) -> None:
        """See `Module.init`."""
        register(self._declared.buses, self.name, self, self.title)

    async def start(self) -> None:
        """Connect; where no address is known it is declared for planning alone, and that is no error (S-23)."""
        await self.init()
        if self._section is not None and self.addresses:
            await self.connect()
        else:
            self._declared.tell(Warned(self.title, f"declared without a connection: {self._missing()}", {}))

    async def connect(self) -> NatsBus:
        """The connection, made now if there is none.

        Raises:
            PluginError: it has no address; names both variables. Or it is the word for a private server.
            BusError: it can't be made in time; the next call tries again.
            ConfigError: the address is none.
        """
        if self._section is None or not self.addresses:
            raise PluginError(f"{self.title} {self._missing()}")
        if EMBEDDED in self.addresses:
            raise PluginError(
                f'{self.title}: "{EMBEDDED}" is no address here: only eventbus-run starts a server of its own'
            )
        if self._bus is None:
            bus = NatsBus(self.name, self._section, urls=self.addresses, tell=self._declared.tell)
            self._bus = bus  # before any await: two that come at once share it
            await bus.__aenter__()
        bus = self._bus
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                await bus.wait_connected()
        except TimeoutError:
            raise BusUnavailableError(
                f"{self.title} is not connected within {CONNECT_WITHIN:g} s: {bus.reason or 'no answer'}"
            ) from None
        except EventbusError:
            await self._drop(bus)  # nothing will come of this one; other credentials may
            raise
        return bus

    async def acks(self) -> AckStep:
        """The ack step on the connection; one for all calls, which may wait for the server together.

        Raises: as `connect`.
        """
        bus = await self.connect()
        if self._acks is None or self._acks[0] is not bus:
            self._acks = bus, AckStep(bus)
        return self._acks[1]

    async def stop(self, within: float) -> None:
        """Stop the triggers on it, and close the connection. See `Module.stop`."""
        unregister(self._declared.buses, self.name, self)
        bus = self._bus
        if bus is not None:
            users = [trigger.let_go(bus, within) for trigger in self._declared.triggers]
            await asyncio.gather(*users, *(one.let_go(bus) for one in self._declared.consumers.values()))
            await self._drop(bus)

    async def _drop(self, bus: NatsBus) -> None:
        if self._bus is bus:
            self._bus = self._acks = None
        await bus.close()

    def _missing(self) -> str:
        if self._section is None:
            return cannot_run(self.config.provider)
        return f"has no address; set {uri_variable(self.name)} or NATS_URL"


def _check(title: str, config: ClusterConfig) -> None:
    for field in ("provider", "deploy_target"):
        if not getattr(config, field):
            raise PluginError(f"{title}: {field} is required")
    try:
        targets = MATRIX.get(config.provider) or Providers().get(config.provider).targets
    except ConfigError as error:
        raise PluginError(f"{title}: provider: {error}") from None
    if why := target_problem(config.provider, config.deploy_target, tuple(targets)):
        raise PluginError(f"{title}: deploy_target: {why}")
    if why := version_problem(config.version):
        raise PluginError(f"{title}: version: {why}")


class StreamModule:
    """`infra.eventbus.stream`: a stream that is there, as declared, once it is started.

    Args:
        title: type and instance, for errors.
        name: of the instance.
        config: what was declared.
        bus: the name of its bus; empty: the only one.
        declared: where it is known.

    Raises:
        PluginError: name or subjects are missing (S-22).
        ContractError: another setting makes no sense.
    """

    def __init__(self, title: str, name: str, config: StreamConfig, bus: str, declared: Declared) -> None:
        self.title, self.name, self.config, self.bus = title, name, config, bus
        self._declared = declared
        if not config.name:
            raise PluginError(f"{title}: name is required")
        if not config.subjects:
            raise PluginError(f"{title}: subjects: at least one is required")
        to_stream(config)

    async def init(self) -> None:
        """See `Module.init`."""
        register(self._declared.streams, self.name, self, self.title)

    async def start(self) -> None:
        """Make it, or change it to what is declared; nothing where no bus has an address (planning, as the origin)."""
        await self.init()
        bus = usable_bus(self._declared, self.title, self.bus)
        if bus is not None:
            await self.ensure(bus)

    async def ensure(self, module: BusModule) -> None:
        """Have it be there, as declared.

        Raises:
            TopologyError: it can't be made so.
            BusError: not now.
        """
        bus = await module.connect()
        jetstream = module.config.jetstream
        section = to_stream(self.config, bus=module.name, max_age=jetstream.max_age if jetstream else None)
        changed = await ensure_stream(bus, self.config.name, section)
        if changed is not Changed.UNCHANGED:
            self._declared.tell(Ensured(module.name, f"stream {self.config.name}", str(changed)))

    async def stop(self, within: float) -> None:
        """The stream stays at the server. See `Module.stop`."""
        unregister(self._declared.streams, self.name, self)


class ConsumerModule:
    """`infra.eventbus.consumer`: a durable consumer that is there once it is started, and what the consume step fetches
    from; implements `pipelines.steps.consume.Source`.

    Args: as `StreamModule`.

    Raises:
        PluginError: name or stream_name are missing (S-22).
        ContractError: another setting makes no sense.
    """

    def __init__(self, title: str, name: str, config: ConsumerConfig, bus: str, declared: Declared) -> None:
        self.title, self.name, self.config, self.bus = title, name, config, bus
        self._declared = declared
        self._fetcher: Fetcher | None = None
        for field in ("name", "stream_name"):
            if not getattr(config, field):
                raise PluginError(f"{title}: {field} is required")
        to_consumer(config)

    async def init(self) -> None:
        """See `Module.init`."""
        other = self._declared.consumer(self.config.name)
        if other is not None and other is not self:
            raise PluginError(f"{self.title}: {other.title} declares the consumer {self.config.name} already")
        register(self._declared.consumers, self.name, self, self.title)

    async def start(self) -> None:
        """Make it, or change it to what is declared, its declared stream first; nothing where no bus has an address."""
        await self.init()
        module = usable_bus(self._declared, self.title, self.bus)
        if module is None:
            return
        bus, stream = await module.connect(), self._declared.stream(self.config.stream_name, module.name)
        ack_wait = stream.config.ack_wait if stream is not None else None
        if stream is not None:
            await stream.ensure(module)  # whose start may come behind ours
        try:
            changed = await ensure_consumer(bus, self.config.name, to_consumer(self.config, ack_wait=ack_wait))
        except NotFoundError:
            raise PluginError(
                f"{self.title}: there is no stream {self.config.stream_name}; declare it by a module of type "
                "infra.eventbus.stream"
            ) from None
        if changed is not Changed.UNCHANGED:
            what = f"consumer {self.config.name} of stream {self.config.stream_name}"
            self._declared.tell(Ensured(module.name, what, str(changed)))

    async def fetch(self, batch: int, max_wait: float) -> list[Raw]:
        """See `pipelines.steps.consume.Source`."""
        bus = await self._declared.bus(self.bus).connect()
        if self._fetcher is None or self._fetcher.bus is not bus:
            self._fetcher = Fetcher(bus, self.config.stream_name, self.config.name)
        return await self._fetcher.fetch(batch, max_wait)

    async def let_go(self, bus: Bus) -> None:
        """Have nothing open on a connection that ends."""
        fetcher = self._fetcher
        if fetcher is not None and fetcher.bus is bus:
            self._fetcher = None
            with suppress(EventbusError):
                await fetcher.close()

    async def stop(self, within: float) -> None:
        """The consumer stays at the server. See `Module.stop`."""
        unregister(self._declared.consumers, self.name, self)
        if self._fetcher is not None:
            await self.let_go(self._fetcher.bus)


def usable_bus(declared: Declared, title: str, name: str) -> BusModule | None:
    """The bus of a module that starts; None where there is nothing to connect to: planning must not fail for that.

    Raises:
        PluginError: several buses, and none is named; or none of that name.
    """
    if not name and not declared.buses:
        declared.tell(Warned(title, "declared only: there is no bus (a module of type infra.eventbus)", {}))
        return None
    bus = declared.bus(name)
    if not bus.addresses:
        declared.tell(Warned(title, f"declared only: {bus.title} has no address", {}))
        return None
    return bus
