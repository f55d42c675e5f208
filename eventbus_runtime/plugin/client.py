"""A host in Python: starts a plugin process and talks to it as the workflow engine does. For tests, for the conformance
suite, and for who wants to use such a plugin without the engine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # it has no hints

from eventbus_runtime.contracts.fields import Contract
from eventbus_runtime.plugin.channels import call, dial, why
from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.plugin.handshake import COOKIE, Address
from eventbus_runtime.plugin.host import Fired, Host
from eventbus_runtime.plugin.messages import BROKER, PLUGIN_SERVICE, SERVICES, Proto, message
from eventbus_runtime.plugin.types import Types
from eventbus_runtime.plugin.values import packed, typed

_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows knows no other
_ENDS_WITHIN = 1.0

R = TypeVar("R", bound=Contract)

Config: TypeAlias = Contract | Mapping[str, Any] | Proto | None
"""A model goes as an Any of its message, a mapping as a Struct, an Any (of `Types.pack`) as it is."""

OnFire: TypeAlias = Callable[[Fired], Awaitable[None]]
"""Runs a workflow; what it raises is told to the plugin as the answer's error."""


class PluginProcess:
    """A plugin process, from its handshake to its end: `async with PluginProcess() as plugin:`.

    Args:
        command: what to start; left out, the plugin of this environment.
        environment: variables beside those of this process.
        folder: where it runs; left out, here.
        start_within: seconds until its handshake.

    Raises (on entering):
        PluginError: it ended, or said something else than a handshake; with what it wrote on stderr.
    """

    def __init__(
        self,
        command: Sequence[str | Path] = (sys.executable, "-P", "-m", "eventbus_runtime.plugin"),
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        start_within: float = 30.0,
    ) -> None:
        self.address = Address("", "")
        self.stderr: list[str] = []
        """What it logged, line by line."""
        self.stdout = bytearray()
        """What was printed in it."""
        self._command, self._folder, self._start_within = command, folder, start_within
        self._environment = {**os.environ, COOKIE[0]: COOKIE[1], **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None
        self._connections: Any = None
        self._hosts: list[Host] = []  # of an earlier callback workflows may still run
        self._pipes: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *map(str, self._command),
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._pipes.append(asyncio.create_task(self._read_stderr()))
        try:
            self.address = Address.parse(await self._first_line())
            self._channel = dial(self.address)
            self._connections = call(self._channel, f"{BROKER}.GRPCBroker", "StartStream")()
            self._tasks.append(asyncio.create_task(self._read_stdout()))
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.returncode is None and error is None:
            await self.shutdown()
        await self.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "the plugin process is not started"
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code; None while it runs."""
        return None if self._process is None else self._process.returncode

    async def wait(self, within: float = 10.0) -> int:
        """Wait for its end.

        Raises:
            TimeoutError: it still runs after so many seconds.
        """
        assert self._process is not None, "the plugin process is not started"
        async with asyncio.timeout(within):
            return await self._process.wait()

    async def shutdown(self, within: float = 2.0) -> int:
        """Tell it to end, as a host does, and kill it if it does not within so many seconds; its exit code."""
        with suppress(grpc.aio.AioRpcError):
            await self.raw(f"{BROKER}.GRPCController", "Shutdown", message(f"{BROKER}.Empty")())
        try:
            return await self.wait(within)
        except TimeoutError:
            await self.kill()
            return self.returncode or 0

    async def kill(self) -> None:
        """End it at once if it still runs, and let go all that belongs to it. Idempotent."""
        assert self._process is not None, "the plugin process is not started"
        if self._process.returncode is None:
            # Not asyncio's own `kill`: it looks first whether the process has ended, and so may take its exit code away
            # from who waits for it.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, _KILL)
        await self._process.wait()
        for task in self._tasks:
            task.cancel()
        # The pipes end by themselves: what it said last must not be missed.
        await asyncio.gather(*self._pipes, *self._tasks, return_exceptions=True)
        for host in self._hosts:
            await host.close()
        if self._channel is not None:
            await self._channel.close()

    async def raw(self, service: str, method: str, request: Proto, *, timeout: float | None = None) -> Proto:
        """Any unary call, as it is: a status is raised as `grpc.aio.AioRpcError`, an `error` field is in the answer."""
        assert self._channel is not None, "the plugin process is not started"
        return await call(self._channel, service, method)(request, timeout=timeout)

    async def call(self, method: str, *, timeout: float | None = None, **fields: Any) -> Proto:
        """A call of the plugin's service.

        Args:
            method: its name, as `GetManifest`.
            timeout: its deadline, in seconds; None: none.
            fields: of its request.

        Raises:
            PluginError: the answer's error, or the status that came instead.
        """
        request = message(SERVICES[PLUGIN_SERVICE][method].request)(**fields)
        try:
            answer = await self.raw(PLUGIN_SERVICE, method, request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise PluginError(f"{method}: {why(error)}") from error
        if getattr(answer, "error", ""):
            raise PluginError(answer.error)
        return answer

    async def healthy(self) -> bool:
        """Whether it says that it serves."""
        assert self._channel is not None, "the plugin process is not started"
        asked = health_pb2.HealthCheckRequest(service="plugin")
        answer: Any = await health_pb2_grpc.HealthStub(self._channel).Check(asked)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def manifest(self) -> Proto:
        """Name, version, author, description."""
        return await self.call("GetManifest")

    async def types(self) -> Types:
        """The message types of its contracts, from its FileDescriptorSet alone (S-61)."""
        registry = await self.contract_registry()
        return Types(registry.file_descriptor_set.SerializeToString())

    async def contract_registry(self) -> Proto:
        """Its contracts."""
        return await self.call("GetContractRegistry")

    async def module_types(self) -> list[str]:
        """The types that `create_module` takes."""
        return list((await self.call("GetModuleTypes")).types)

    async def step_types(self) -> list[str]:
        """The types that `create_step` takes."""
        return list((await self.call("GetStepTypes")).types)

    async def trigger_types(self) -> list[str]:
        """The types that `create_trigger` takes."""
        return list((await self.call("GetTriggerTypes")).types)

    async def create_module(self, kind: str, name: str, config: Config = None) -> str:
        """Make a module; its handle."""
        answer = await self.call("CreateModule", type=kind, name=name, **_given("config", "typed_config", config))
        return str(answer.handle_id)

    async def init_module(self, handle: str) -> None:
        """Make it known to the others."""
        await self.call("InitModule", handle_id=handle)

    async def start_module(self, handle: str, *, timeout: float | None = None) -> None:
        """Start a module, or a trigger."""
        await self.call("StartModule", handle_id=handle, timeout=timeout)

    async def stop_module(self, handle: str, *, timeout: float | None = None) -> None:
        """Stop a module, or a trigger."""
        await self.call("StopModule", handle_id=handle, timeout=timeout)

    async def destroy_module(self, handle: str) -> None:
        """Forget it."""
        await self.call("DestroyModule", handle_id=handle)

    async def run_module(self, kind: str, name: str, config: Config = None) -> str:
        """Create, initialise and start a module; its handle."""
        handle = await self.create_module(kind, name, config)
        await self.init_module(handle)
        await self.start_module(handle)
        return handle

    async def create_step(self, kind: str, name: str, config: Config = None) -> str:
        """Make a step; its handle."""
        answer = await self.call("CreateStep", type=kind, name=name, **_given("config", "typed_config", config))
        return str(answer.handle_id)

    async def execute_step(
        self, handle: str, request: Contract, response: type[R], *, timeout: float | None = None
    ) -> R:
        """Run a step.

        Args:
            handle: its handle.
            request: its input.
            response: the contract of its output.
            timeout: its deadline, in seconds; None: none.
        """
        answer = await self.call("ExecuteStep", handle_id=handle, typed_input=packed(request), timeout=timeout)
        return typed(response, answer.typed_output)

    async def destroy_step(self, handle: str) -> None:
        """Forget it."""
        await self.call("DestroyStep", handle_id=handle)

    async def create_trigger(self, kind: str, name: str, config: Mapping[str, Any] | None = None) -> str:
        """Make a trigger; its handle, for `start_module` and `stop_module`."""
        answer = await self.call("CreateTrigger", type=kind, name=name, **_given("config", "", config))
        return str(answer.handle_id)

    async def serve_callbacks(self, on_fire: OnFire, *, number: int = 1, announce: bool = True) -> Host:
        """Have its triggers call this process from now on.

        Args:
            on_fire: runs a workflow.
            number: of the broker connection.
            announce: False: the address is told when `announce` is called, as a host may do late.
        """
        host = await Host.serve(on_fire)
        self._hosts.append(host)
        configured = asyncio.create_task(self.call("ConfigureCallback", broker_id=number))
        if announce:
            await self.announce(host, number)
        await configured
        return host

    async def announce(self, host: Host, number: int) -> None:
        """Tell where a broker connection is served."""
        info = message(f"{BROKER}.ConnInfo")
        await self._connections.write(
            info(service_id=number, network=host.address.network, address=host.address.address)
        )

    async def _first_line(self) -> str:
        assert self._process is not None, "the plugin process is not started"
        assert self._process.stdout is not None, "it was started with pipes"
        line = b""
        with suppress(TimeoutError, ValueError):  # a line without an end
            async with asyncio.timeout(self._start_within):
                line = await self._process.stdout.readline()
        self._pipes.append(asyncio.create_task(_drain(self._process.stdout)))
        if not line:
            with suppress(TimeoutError):
                await self.wait(_ENDS_WITHIN)
            code = self.returncode
            await self.kill()
            what = "no handshake from it" if code is None else f"it ended with {code} before any handshake"
            raise PluginError(f"{self._command[0]}: {what}: " + "\n".join(self.stderr))
        return line.decode("utf-8", "replace")

    async def _read_stderr(self) -> None:
        assert self._process is not None, "the plugin process is not started"
        assert self._process.stderr is not None, "it was started with pipes"
        rest = b""  # a stream's own lines have a bound, behind which it would read no more, and the process hang
        while part := await self._process.stderr.read(1 << 16):
            *lines, rest = (rest + part).split(b"\n")
            self.stderr += [line.decode("utf-8", "replace") for line in lines]
        if rest:
            self.stderr.append(rest.decode("utf-8", "replace"))

    async def _read_stdout(self) -> None:
        assert self._channel is not None, "the plugin process is not started"
        with suppress(grpc.aio.AioRpcError):
            async for part in call(self._channel, f"{BROKER}.GRPCStdio", "StreamStdio")(
                message("google.protobuf.Empty")()
            ):
                self.stdout += part.data


async def _drain(pipe: asyncio.StreamReader) -> None:
    """Read what nobody wants, so that who writes it does not stand still."""
    while await pipe.read(1 << 16):
        pass


def _given(struct: str, typed_field: str, config: Config) -> dict[str, Any]:
    if config is None:
        return {}
    if isinstance(config, Contract):
        return {typed_field: packed(config)}
    if isinstance(config, Mapping):
        found = message("google.protobuf.Struct")()
        found.update(config)
        return {struct: found}
    return {typed_field: config}
