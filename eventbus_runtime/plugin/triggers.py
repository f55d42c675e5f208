"""`trigger.eventbus.subscribe` of a plugin process: a subscribe trigger whose pipeline is the host's workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import RuntimeConfig, TriggerConfig
from eventbus_runtime.contracts.convert import to_consumer
from eventbus_runtime.contracts.fields import fields
from eventbus_runtime.contracts.model import ConsumerConfig
from eventbus_runtime.contracts.wire import from_json
from eventbus_runtime.errors import ContractError, EventbusError
from eventbus_runtime.events import Warned
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.plugin.callback import Callback
from eventbus_runtime.plugin.declared import Declared
from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.plugin.values import said, take_bus, text
from eventbus_runtime.provisioning.prepare import Topology
from eventbus_runtime.supervisor import Supervisor
from eventbus_runtime.triggers.backoff import Backoff
from eventbus_runtime.triggers.subscribe import SubscribeTrigger

IN_FLIGHT = 64
"""Workflows of the host that one trigger runs at once, where its config says nothing."""

_FAILED_RESTS = 60.0


class Subscription(NamedTuple):
    """What a trigger was configured with.

    Args:
        consumer: which durable consumer of which stream; the stream may be empty, and is then the declared consumer's.
        bus: the name of its bus; empty: the declared consumer's, or the only one.
        ack: as in `[triggers.NAME]`.
        max_in_flight: likewise.
    """

    consumer: ConsumerConfig
    bus: str = ""
    ack: str = "on_success"
    max_in_flight: int = IN_FLIGHT

    @classmethod
    def of(cls, values: dict[str, Any]) -> Subscription:
        """Read a Struct's values (S-50).

        Raises:
            ContractError: a key is unknown or its value is of a wrong type: which key, what was expected, what came.
        """
        values = dict(values)
        bus = take_bus(values)
        alias, kept = text(values, "consumer"), text(values, "name")
        for key in ("stream_name", "filter_subject", "workflowType", "ack"):
            text(values, key)
        for key in ("consumer", "workflowType"):
            values.pop(key, None)
        ack, most = values.pop("ack", "on_success"), values.pop("max_in_flight", IN_FLIGHT)
        if ack not in ("on_success", "manual"):
            raise ContractError(f'ack must be "on_success" or "manual", not {said(ack)}')
        if isinstance(most, bool) or not isinstance(most, int | float) or not 1 <= most <= 100_000 or most % 1:
            raise ContractError(f"max_in_flight must be a number, 1 to 100000, not {said(most)}")
        config = from_json(ConsumerConfig, {**values, "name": kept or alias})
        return cls(config, bus, ack, int(most))


class HostPipeline:
    """Runs the host's workflow for each delivery.

    Args:
        name: what the host calls it: the trigger type that it is told.
        callback: the host.
    """

    blocking = False

    def __init__(self, name: str, callback: Callback) -> None:
        self.name, self._callback = name, callback

    async def fire(self, delivery: Delivery) -> None:
        """See `pipelines.base.Pipeline.fire`. What the host says is wrong is tried again, by the trigger's schedule."""
        await self._callback.fire(self.name, delivery.message)

    def outgoing(self, result: Any) -> Sequence[Publish]:
        """A workflow publishes by its steps."""
        return ()


class TriggerModule:
    """What a trigger's handle stands for (S-51, S-52).

    Args:
        title: type and instance, for errors.
        name: what the host calls its workflow.
        subscription: what it was configured with.
        declared: the modules.
        callback: the host.

    Raises:
        PluginError: it has no name, or no stream can be found for it.
        ContractError: no consumer can be as it is configured.
    """

    def __init__(
        self, title: str, name: str, subscription: Subscription, declared: Declared, callback: Callback
    ) -> None:
        self.title, self.name = title, name
        self.bus: NatsBus | None = None
        self._declared, self._callback = declared, callback
        self._subscription = subscription
        self._trigger: SubscribeTrigger | None = None
        self._supervisor: Supervisor | None = None
        self._loop: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        if not subscription.consumer.name:
            raise PluginError(f"{title}: name (of the durable consumer; or consumer) is required")
        to_consumer(self._consumer())

    async def init(self) -> None:
        """Nothing to do before the start."""

    async def start(self) -> None:
        """Run in the background until the stop; nothing where the host has not said where to call it (S-51).

        Raises:
            PluginError: it runs already.
        """
        if self._loop is not None:
            raise PluginError(f"{self.title}: already started")
        if not self._callback.is_configured:
            text = "not started: the host has not said where to call it (ConfigureCallback)"
            self._declared.tell(Warned(self.title, text, {}))
            return
        self._stopping.clear()
        self._declared.triggers.add(self)
        self._loop = asyncio.create_task(self._run(), name=self.title)

    async def stop(self, within: float) -> None:
        """End the loop, and wait for it. What the host still works on after `within` seconds comes again."""
        loop = self._loop
        if loop is None:
            return
        self._stopping.set()
        self._end(within)
        await asyncio.wait({loop})
        self._declared.triggers.discard(self)
        if self._loop is loop:
            self._loop = None

    async def let_go(self, bus: NatsBus, within: float) -> None:
        """Have nothing open on a connection that ends; when there is another one, it goes on with that."""
        if self.bus is bus and self._trigger is not None:
            self._end(within)
            await self._idle.wait()

    def held(self, token: str) -> Delivery | None:
        """The delivery of this ack token, if this trigger holds it."""
        return None if self._trigger is None else self._trigger.held(token)

    def _consumer(self) -> ConsumerConfig:
        """The consumer with its stream: its own, or the declared one's, whose other settings count, too (S-50).

        Raises:
            PluginError: no stream is named or declared.
        """
        ours = self._subscription.consumer
        declared = self._declared.consumer(ours.name, ours.stream_name)
        if declared is None:
            if not ours.stream_name:
                raise PluginError(
                    f"{self.title}: stream_name is required: no module of type infra.eventbus.consumer declares "
                    f'the consumer "{ours.name}", from which it could be taken'
                )
            return ours
        theirs = declared.config
        for name in (field.name for field in fields(ConsumerConfig) if field.name not in ("name", "stream_name")):
            mine, other = getattr(ours, name), getattr(theirs, name)
            if mine and mine != other:
                raise PluginError(
                    f"{self.title}: {name} is {_shown(mine)}, and {declared.title} has {_shown(other)} for the same "
                    "consumer: leave it out here"
                )
        return theirs

    def _end(self, within: float) -> None:
        if self._trigger is not None and self._supervisor is not None:
            self._supervisor.stop()  # which may wait to start it again after a crash
            self._trigger.stop(within)

    async def _run(self) -> None:
        pause, told = Backoff(0.2, 5.0), ""
        while not self._stopping.is_set():
            try:
                trigger = await self._attached()
            except EventbusError as error:
                if told != str(error):
                    told = str(error)
                    self._declared.tell(Warned(self.title, f"waiting: {told}", {}))
                await self._rest(pause.delay())
                continue
            if trigger is None:
                return
            told = ""
            pause.reset()
            self._trigger, self._supervisor = trigger, Supervisor(self._declared.tell)
            self._idle.clear()
            try:
                await self._supervisor.keep(trigger)
            finally:
                self._trigger, self._supervisor, self.bus = None, None, None
                self._idle.set()
            if not self._stopping.is_set():  # its bus ended, or it failed in a way that only time or people can mend
                await self._rest(_FAILED_RESTS if trigger.state == "failed" else pause.delay())

    async def _attached(self) -> SubscribeTrigger | None:
        """As `_attach`; None where the stop comes first, since that must not wait for a connection."""
        attaching = asyncio.ensure_future(self._attach())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({attaching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return None if self._stopping.is_set() else attaching.result()
        finally:
            attaching.cancel()
            stopping.cancel()
            await asyncio.gather(attaching, stopping, return_exceptions=True)

    async def _attach(self) -> SubscribeTrigger:
        """A trigger on the bus as it is now."""
        contract = self._consumer()
        declared = self._declared.consumer(contract.name, contract.stream_name)
        module = self._declared.bus(self._subscription.bus or (declared.bus if declared is not None else ""))
        self.bus = bus = await module.connect()
        stream = self._declared.stream(contract.stream_name, module.name)
        section = TriggerConfig(
            bus=module.name,
            stream=contract.stream_name,
            consumer=contract.name,
            pipeline=self.name,
            ack=self._subscription.ack,  # type: ignore[arg-type]  # `Subscription.of` has seen to it
            max_in_flight=self._subscription.max_in_flight,
        )
        config = RuntimeConfig(
            consumers={contract.name: to_consumer(contract, ack_wait=stream.config.ack_wait if stream else None)},
            triggers={self.title: section},
        )
        topology = Topology(config, {module.name: bus}, {}, self._declared.tell)
        return SubscribeTrigger(
            self.title,
            section,
            bus,
            HostPipeline(self.name, self._callback),
            tell=self._declared.tell,
            prepare=partial(topology.prepare, self.title),
            advisories=partial(topology.advisories, self.title),
        )

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass


def _shown(value: object) -> str:
    return value.name if isinstance(value, IntEnum) else repr(value)
