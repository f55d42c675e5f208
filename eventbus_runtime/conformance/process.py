"""A plugin process as a real child over its real transport (S-71). Needs the extra `rpc`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from eventbus_runtime.config.targets import NATS
from eventbus_runtime.conformance.candidate import Candidate
from eventbus_runtime.conformance.phases import NotApplicableError, Phase, Suite, expect, expect_equal, refused
from eventbus_runtime.conformance.workspace import Workspace
from eventbus_runtime.contracts.model import ClusterConfig, ConsumerConfig, StreamConfig
from eventbus_runtime.contracts.registry import ACK, BUS, CONSUME, CONSUMER, CONTRACTS, PUBLISH, STREAM, SUBSCRIBE

if TYPE_CHECKING:
    from eventbus_runtime.conformance.exchange import Exchange
    from eventbus_runtime.plugin.client import PluginProcess

NAME = "process"

Launch: TypeAlias = "Callable[[dict[str, str]], PluginProcess]"
"""Makes a plugin process that is not started yet, given the variables that tell it where its bus is."""

_PLUGIN = "workflow-plugin-eventbus"
_MODULES, _STEPS, _TRIGGERS = (BUS, STREAM, CONSUMER, SUBSCRIBE), (PUBLISH, CONSUME, ACK), (SUBSCRIBE,)
_BUS = "conformance"
_FILES = ("google/protobuf/duration.proto", "google/protobuf/struct.proto")


def process_suite(candidate: Candidate, uri: str, *, replicas: int = 1, launch: Launch | None = None) -> Suite:
    """Start a plugin process, and hold it to what its host counts on.

    Args:
        candidate: the provider of its bus.
        uri: the broker's address.
        replicas: copies of the stream that is made.
        launch: makes the process; left out, the plugin of this environment.
    """
    return _Run(candidate, uri, replicas, launch or _launch).suite()


def _launch(variables: dict[str, str]) -> PluginProcess:
    from eventbus_runtime.plugin.client import PluginProcess

    return PluginProcess(environment=variables)


class _Run:
    def __init__(self, candidate: Candidate, uri: str, replicas: int, launch: Launch) -> None:
        self._candidate, self._uri, self._replicas, self._launch = candidate, uri, replicas, launch
        self._space = Workspace(candidate, uri, replicas, NAME)
        self._stack = AsyncExitStack()
        self._process: PluginProcess | None = None
        self._exchange: Exchange | None = None

    def suite(self) -> Suite:
        started, made = ("start",), ("modules",)
        rows = (
            ("start", "a child process shakes hands, and says that it serves", "S-60", self._start, ()),
            ("manifest", "it says who it is", "S-60", self._manifest, started),
            ("types", "it lists all types of modules, steps and triggers", "S-60", self._types, started),
            ("contracts", f"there are {len(CONTRACTS)}, and all are strict", "S-40", self._contracts, started),
            ("descriptors", "all messages can be made from them alone", "S-61", self._descriptors, started),
            ("modules", "bus, stream and consumer live, end, and live again", "S-26", self._modules, started),
            ("error paths", "each is told, and the process lives on", "S-33", self._error_paths, made),
            *self._exchanged("", made, self._typed),
            *self._exchanged(" by descriptors", (*made, "descriptors"), self._described),
            ("trigger", "a message reaches the host, and is acknowledged", "S-50", self._trigger, made),
            ("shutdown", "it ends when it is told to", "S-60", self._shutdown, started),
        )
        phases = [Phase(name, shows, rule, run, needs) for name, shows, rule, run, needs in rows]
        teardown = Phase("teardown", "the stream is gone afterwards", "S-70", self._space.teardown)
        return Suite(NAME, (*phases, teardown), self._clean)

    def _exchanged(self, how: str, needs: tuple[str, ...], begin: Callable[[], Awaitable[str]]) -> tuple[_Row, ...]:
        publish, consume = f"publish ten{how}", f"consume ten{how}"
        return (
            (publish, "ten are confirmed and stored", "S-30", begin, needs),
            (consume, "ten come in one batch", "S-31", self._consume, (publish,)),
            (f"ack ten{how}", "ten are acknowledged, one by one", "S-32", self._ack, (consume,)),
        )

    async def _start(self) -> str:
        if self._candidate.provider.name != NATS:
            raise NotApplicableError(f"the plugin process talks to {NATS} alone")
        if find_spec("grpc") is None:
            raise NotApplicableError("a plugin process needs gRPC: install eventbus-runtime[rpc]")
        variables = {f"EVENTBUS_{_BUS.upper()}_URI": self._uri}
        self._process = process = await self._stack.enter_async_context(self._launch(variables))
        expect(await process.healthy(), "the health service to say SERVING for plugin", "something else")
        return f"process {process.pid} serves at a {process.address.network} socket"

    async def _manifest(self) -> str:
        manifest = await self._live().manifest()
        expect_equal("name", _PLUGIN, manifest.name)
        for field in ("version", "author", "description"):
            expect(bool(getattr(manifest, field)), f"a {field} in the manifest", "none")
        return f"{manifest.name} {manifest.version}"

    async def _types(self) -> str:
        process = self._live()
        for what, wanted, listed in (
            ("module", _MODULES, await process.module_types()),
            ("step", _STEPS, await process.step_types()),
            ("trigger", _TRIGGERS, await process.trigger_types()),
        ):
            missing = set(wanted) - set(listed)
            expect(not missing, f"{what} types {', '.join(sorted(missing))}", ", ".join(listed))
        return f"{len(_MODULES)} module types, {len(_STEPS)} step types, {len(_TRIGGERS)} trigger type"

    async def _contracts(self) -> str:
        from eventbus_runtime.plugin.messages import number

        registry = await self._live().contract_registry()
        strict = number("ContractMode", "CONTRACT_MODE_STRICT_PROTO")
        found = {one.module_type or one.step_type or one.trigger_type: one for one in registry.contracts}
        expect_equal("contracts", sorted(spec.name for spec in CONTRACTS), sorted(found))
        lax = [name for name, one in found.items() if one.mode != strict]
        expect(not lax, "strict contracts", f"not strict: {', '.join(lax)}")
        return f"{len(registry.contracts)} contracts, all strict"

    async def _descriptors(self) -> str:
        process = self._live()
        registry, types = await process.contract_registry(), await process.types()
        held = [file.name for file in registry.file_descriptor_set.file]
        missing = [name for name in _FILES if name not in held]
        expect(not missing, f"files {', '.join(missing)}", ", ".join(held))
        names = {name for one in registry.contracts for name in one.message_names}
        for name in sorted(names):
            types.message(name)()
        return f"{len(held)} files, {len(names)} messages made from them"

    async def _modules(self) -> str:
        process, space, spec = self._live(), self._space, self._space.spec
        space.claim()
        cluster = ClusterConfig(provider=self._candidate.provider.name, deploy_target=self._candidate.target)
        stream = StreamConfig(
            name=spec.name, subjects=spec.subjects, num_replicas=self._replicas, max_bytes=spec.max_bytes
        )
        consumer = ConsumerConfig(name="typed", stream_name=spec.name, filter_subject=f"{space.subject}.typed")
        parts = ((BUS, _BUS, cluster), (STREAM, "stream", stream), (CONSUMER, "typed", consumer))
        handles = [await process.run_module(*part) for part in parts]
        await (await space.broker()).count(spec.name, "typed")
        for handle in reversed(handles):
            await process.stop_module(handle)
            await process.stop_module(handle)
            await process.destroy_module(handle)
        await refused("a destroyed module's start", process.start_module(handles[0]), "unknown", "handle")
        for part in parts:
            await process.run_module(*part)
        expect_equal("messages in the stream", 0, await space.stored())
        return f"stream {spec.name} and its consumer made; all three stopped twice, destroyed and made again"

    async def _error_paths(self) -> str:
        from eventbus_runtime.conformance.exchange import mistakes

        told = await mistakes(self._live())
        expect(await self._live().healthy(), "a process that lives on", "it does not serve any more")
        return f"{len(told)} mistakes refused; the last: {told[-1]}"

    async def _typed(self) -> str:
        from eventbus_runtime.conformance.exchange import Exchange, Typed

        return await self._begin(Exchange(self._space, await Typed.of(self._live()), "typed"))

    async def _described(self) -> str:
        from eventbus_runtime.conformance.exchange import Described, Exchange

        client = await Described.of(self._live())
        consumer = {"name": "described", "stream_name": self._space.stream}
        await client.run_consumer({**consumer, "filter_subject": f"{self._space.subject}.described"})
        return await self._begin(Exchange(self._space, client, "described"))

    async def _begin(self, exchange: Exchange) -> str:
        self._exchange = exchange
        return await exchange.publish()

    async def _consume(self) -> str:
        assert self._exchange is not None, "the phase before has begun it"
        return await self._exchange.consume()

    async def _ack(self) -> str:
        assert self._exchange is not None, "the phase before has begun it"
        return await self._exchange.ack()

    async def _trigger(self) -> str:
        from eventbus_runtime.conformance.exchange import fired_by

        return await fired_by(self._live(), self._space)

    async def _shutdown(self) -> str:
        code = await self._live().shutdown(within=5.0)
        expect_equal("exit code", 0, code)
        return "exit code 0"

    def _live(self) -> PluginProcess:
        assert self._process is not None, "the phase before has started it"
        return self._process

    async def _clean(self) -> None:
        try:
            await self._stack.aclose()
        finally:
            await self._space.clean()


_Row: TypeAlias = tuple[str, str, str, Callable[[], Awaitable[str]], tuple[str, ...]]
