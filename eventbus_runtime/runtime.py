"""A configuration, running for as long as it is entered: buses, resources, triggers, HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from eventbus_runtime.buses.embedded import EmbeddedServer
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.connections import require_addresses
from eventbus_runtime.config.loader import Loaded, load
from eventbus_runtime.config.model import EMBEDDED
from eventbus_runtime.counters import BusCounters, TriggerCounters
from eventbus_runtime.errors import BusError, ConfigError, EventbusError, Problem, TopologyError, TriggerError
from eventbus_runtime.events import Fact, Listener, State, StateChanged, Warned
from eventbus_runtime.frames import describe
from eventbus_runtime.launch import launch
from eventbus_runtime.observability.blocking import BlockingWatch
from eventbus_runtime.observability.logging import LogListener, get_logger
from eventbus_runtime.pipelines.binding import bindable
from eventbus_runtime.pipelines.pipeline import bind, bind_background
from eventbus_runtime.pipelines.registry import Registration, Registry
from eventbus_runtime.pipelines.resources import Resources
from eventbus_runtime.provisioning.prepare import Topology
from eventbus_runtime.steps import RuntimeSteps
from eventbus_runtime.supervisor import Supervisor
from eventbus_runtime.triggers.backoff import Backoff
from eventbus_runtime.triggers.subscribe import SubscribeTrigger

if TYPE_CHECKING:
    from nats.aio.client import Client

_HTTP_WAITS = 0.5
_IDLE_LOOKS = 0.25


class Runtime:
    """The whole thing as `async with`: enter it in an application's lifespan, in a test, or by `eventbus-run`.

    Entering opens buses and resources and starts the triggers; it does not wait until the buses are connected. Leaving
    drains: running handlers get `runtime.shutdown_timeout`.

    Args:
        loaded: a checked configuration.
        connections: open nats-py connections to use instead of own ones, by bus; used, never closed (S-24).
        listeners: take facts, beside those that the configuration names.

    Raises (on entering):
        ConfigError: a bus without address, or a `Bus` parameter that could mean several.
        BusError: an embedded server can't be started.
        ResourceError: a resource can't be opened.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        connections: Mapping[str, Client] | None = None,
        listeners: Sequence[Listener] | None = None,
    ) -> None:
        self.config, self._loaded = loaded.config, loaded
        self._connections = dict(connections or {})
        self._listeners = [*(listeners if listeners is not None else [LogListener()]), *loaded.listeners]
        self._triggers: dict[str, SubscribeTrigger] = {}
        self._buses: dict[str, NatsBus] = {}
        self._servers: list[EmbeddedServer] = []
        self._stack = AsyncExitStack()
        self._backgrounds: TaskGroup | None = None
        self._supervisor: Supervisor | None = None
        self.failure: EventbusError | None = None
        """What ended it, once something did; it is logged."""
        self._stopping = False
        self._finished, self._triggers_ended = asyncio.Event(), asyncio.Event()
        self._begun, self._prepared = asyncio.Event(), asyncio.Event()
        self.http_address = ""
        """Where the HTTP endpoint listens, as `127.0.0.1:8080`; empty while it does not."""

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        overrides: Sequence[str] = (),
        environ: Mapping[str, str] = os.environ,
        secrets_dir: Path | None = None,
        only: Sequence[str] = (),
        connections: Mapping[str, Client] | None = None,
        listeners: Sequence[Listener] | None = None,
    ) -> Self:
        """The runtime of a configuration file; arguments as in `config.loader.load` and above.

        Raises:
            ConfigError: with every mistake that was found.
        """
        loaded = load(Path(path), overrides=overrides, environ=environ, secrets_dir=secrets_dir, only=only)
        return cls(loaded, connections=connections, listeners=listeners)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._enter(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        try:
            if not isinstance(error, asyncio.CancelledError):
                await self._triggers_ended.wait()
        finally:
            if self._backgrounds is not None:
                self._backgrounds.cancel_scope.cancel()
            # Without the body's error: the task group would wrap it, and it leaves this block by itself.
            await self._stack.aclose()

    async def _enter(self, stack: AsyncExitStack) -> None:
        self._require_addresses()
        for name in self.config.buses:
            self._buses[name] = await stack.enter_async_context(await self._bus(name, stack))
        registry = self._loaded.registry
        steps = RuntimeSteps(self.config, self._triggers)
        stack.push_async_callback(steps.close)
        resources = Resources(registry, self._only_bus(), steps.over)
        topology = Topology(self.config, self._buses, self._loaded.dead_letter_streams, self._tell)
        self._supervisor = Supervisor(self._tell)
        for name, config in self.config.triggers.items():
            if config.enabled:
                registration = registry.pipelines[config.pipeline]
                threads = anyio.CapacityLimiter(config.max_in_flight)
                bus = self._buses[config.bus]
                self._triggers[name] = SubscribeTrigger(
                    name,
                    config,
                    bus,
                    bind(registration, registry=registry, bus=bus, resources=resources, threads=threads),
                    tell=self._tell,
                    prepare=partial(topology.prepare, name),
                    shutdown_timeout=self.config.runtime.shutdown_timeout,
                    launch=launch(self._loaded, name, bus),
                    advisories=partial(topology.advisories, name),
                )
        backgrounds = {
            name: bind_background(each, registry=registry, bus=self._only_bus(), resources=resources)
            for name, each in registry.backgrounds.items()
        }
        stack.enter_context(BlockingWatch(self._tell))
        await stack.enter_async_context(resources)
        group = await stack.enter_async_context(anyio.create_task_group())
        self._backgrounds = group
        for bus in self._buses.values():
            group.start_soon(self._watch, bus, topology)
        for server in self._servers:
            group.start_soon(self._watch_server, server)
        group.start_soon(self._keep_triggers)
        for name, start in backgrounds.items():
            group.start_soon(self._keep_background, name, start)
        if self.config.runtime.http is not None:
            group.start_soon(self._serve_http, self.config.runtime.http)

    async def _bus(self, name: str, stack: AsyncExitStack) -> NatsBus:
        config = self.config.buses[name]
        if name in self._connections:
            return NatsBus.adopt(name, self._connections[name], config=config, tell=self._tell)
        urls: Sequence[str] = config.url
        if EMBEDDED in urls:
            server = await stack.enter_async_context(EmbeddedServer(name, config, self._loaded.path.absolute().parent))
            self._servers.append(server)
            urls = [server.url]
        return NatsBus(name, config, urls=urls, tell=self._tell)

    def _require_addresses(self) -> None:
        own = {name: bus for name, bus in self.config.buses.items() if name not in self._connections}
        require_addresses(self.config.model_copy(update={"buses": own}), self._loaded.path)

    def _only_bus(self) -> NatsBus:
        """The bus that a resource's or a background function's `Bus` parameter means; there must be one alone."""
        registry = self._loaded.registry
        if len(self._buses) > 1:
            asking = [
                Problem(
                    each.where, each.name, "its Bus or step could mean any of several buses; one alone can be meant"
                )
                for each in (*registry.backgrounds.values(), *registry.resources.values())
                if _asks_for_bus(each, registry)
            ]
            if asking:
                raise ConfigError(asking)
        return next(iter(self._buses.values()))

    def stop(self, timeout: float | None = None) -> None:
        """Take nothing new; `wait` returns, and leaving drains.

        Args:
            timeout: seconds for running handlers; None: `runtime.shutdown_timeout`. A later call can only shorten it.
        """
        self._stopping = True
        if self._supervisor is not None:
            self._supervisor.stop()
        for trigger in self._triggers.values():
            trigger.stop(self.config.runtime.shutdown_timeout if timeout is None else timeout)
        self._finished.set()

    async def wait(self) -> None:
        """Return when somebody called `stop`.

        Raises:
            AuthenticationError: a bus refused the credentials.
            TriggerError: every trigger has failed.
            EventbusError: something else that nothing here can mend.
        """
        await self._finished.wait()
        if self.failure is not None:
            raise self.failure

    async def wait_idle(self, seconds: float) -> None:
        """Return when nothing was to do for a while: every trigger running, no delivery here, and none pending or
        unacknowledged at the server.

        Args:
            seconds: how long that must have been so.

        Raises:
            TriggerError: a trigger has failed, so that it will never be idle.
            EventbusError: as `wait`.
        """
        loop = asyncio.get_running_loop()
        since, received = loop.time(), -1
        while not self._finished.is_set():
            failed = [name for name, trigger in self._triggers.items() if trigger.state is State.FAILED]
            if failed:
                raise TriggerError(f"can't become idle: {', '.join(failed)} failed")
            now_received = sum(trigger.counters.received for trigger in self._triggers.values())
            if received != now_received or not await self._nothing_to_do():
                since, received = loop.time(), now_received
            elif loop.time() - since >= seconds:
                return
            with anyio.move_on_after(min(_IDLE_LOOKS, seconds / 4)):
                await self._finished.wait()
        await self.wait()

    async def _nothing_to_do(self) -> bool:
        for trigger in self._triggers.values():
            if trigger.state is not State.RUNNING or trigger.counters.in_flight:
                return False
            try:
                if not await trigger.is_drained():
                    return False
            except BusError:
                return False
        return True

    @property
    def exit_code(self) -> int:
        """What `eventbus-run` exits with: 0; 1 after a failure; 3 when deliveries had to be cancelled or left."""
        if self.failure is not None:
            return self.failure.exit_code
        return 3 if any(trigger.cancelled for trigger in self._triggers.values()) else 0

    async def _keep_triggers(self) -> None:
        assert self._supervisor is not None
        try:
            async with anyio.create_task_group() as group:
                for trigger in self._triggers.values():
                    group.start_soon(self._keep, trigger)
        finally:
            self._triggers_ended.set()

    async def _keep(self, trigger: SubscribeTrigger) -> None:
        assert self._supervisor is not None
        await self._supervisor.keep(trigger)
        if not self._stopping and all(each.state is State.FAILED for each in self._triggers.values()):
            reasons = "; ".join(f"{name}: {each.reason}" for name, each in self._triggers.items())
            self._fail(TriggerError(f"every trigger has failed: {reasons}"))

    async def _keep_background(self, name: str, start: Callable[[], Awaitable[None]]) -> None:
        """One that asks for the bus begins when that stands, with all that is declared: its first publish must not
        fail for coming too early."""
        assert self._supervisor is not None
        registry = self._loaded.registry
        if _asks_for_bus(registry.backgrounds[name], registry):
            await self._prepared.wait()
        await self._supervisor.keep_background(name, start)

    async def _watch_server(self, server: EmbeddedServer) -> None:
        self._fail(await server.ended())

    async def _watch(self, bus: NatsBus, topology: Topology) -> None:
        """Wait for a bus, since refused credentials end everything; then ensure all that is declared for it."""
        pause = Backoff()
        while True:
            try:
                await bus.wait_connected()
            except EventbusError as error:
                if not self._stopping:
                    self._fail(error)
                break
            try:
                await topology.prepare_all(bus)
            except TopologyError as error:
                self._tell(Warned(bus.name, str(error), {}))
            except BusError:
                await asyncio.sleep(pause.delay())
                continue
            self._prepared.set()
            break

    async def _serve_http(self, address: str) -> None:
        # Its imports take a tenth of a second: after the first pull, and in a thread, beside what that brings.
        with anyio.move_on_after(_HTTP_WAITS):
            await self._begun.wait()
        await anyio.to_thread.run_sync(import_module, "eventbus_runtime.observability.http")
        from eventbus_runtime.observability.http import serve

        section = self.config.runtime
        try:
            await serve(
                self,
                address=address,
                token=section.http_token,
                public=section.http_public,
                started=self._http_started,
            )
        except EventbusError as error:
            self._fail(error)

    def _http_started(self, address: str) -> None:
        self.http_address = address
        get_logger().info("http: listening", address=address)

    def _fail(self, error: EventbusError) -> None:
        if self.failure is None:
            self.failure = error
            get_logger().error(str(error))
        self.stop()

    def _tell(self, fact: Fact) -> None:
        if isinstance(fact, StateChanged) and all(each.state is not State.STARTING for each in self._triggers.values()):
            self._begun.set()
        for listener in self._listeners:
            try:
                listener.on_fact(fact)
            except Exception as error:  # noqa: BLE001 - a user's listener must not end a delivery
                if not isinstance(fact, Warned):
                    self._tell(Warned(type(listener).__name__, f"this listener raised {describe(error)}", {}))

    def status(self) -> dict[str, Any]:
        """See `counters.RuntimeView`."""
        return {
            "ready": not self.unready(),
            "state": str(State.DRAINING if self._stopping else State.RUNNING),
            "buses": {
                name: {
                    "state": str(bus.state),
                    "reason": bus.reason,
                    "url": bus.url,
                    "server_version": bus.server_version,
                    "counters": asdict(bus.counters),
                }
                for name, bus in self._buses.items()
            },
            "triggers": {name: trigger.status() for name, trigger in self._triggers.items()},
        }

    def unready(self) -> list[str]:
        """See `counters.RuntimeView`."""
        parts = [
            *((f"bus {name}", bus.state, bus.reason) for name, bus in self._buses.items()),
            *((f"trigger {name}", trigger.state, trigger.reason) for name, trigger in self._triggers.items()),
        ]
        return [
            f"{what} is {state}" + (f": {reason}" if reason else "")
            for what, state, reason in parts
            if state is not State.RUNNING
        ]

    def trigger_counters(self) -> Mapping[str, tuple[State, TriggerCounters]]:
        """See `counters.RuntimeView`."""
        return {name: (trigger.state, trigger.counters) for name, trigger in self._triggers.items()}

    def bus_counters(self) -> Mapping[str, tuple[State, BusCounters]]:
        """See `counters.RuntimeView`."""
        return {name: (bus.state, bus.counters) for name, bus in self._buses.items()}


def _asks_for_bus(registration: Registration, registry: Registry) -> bool:
    return any(source.what in ("bus", "step") for source in bindable(registration, registry).sources)
