"""`workflow.plugin.v1.PluginService`: what the host may ask, by handles."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from google.protobuf import json_format

from eventbus_runtime.contracts.fields import Contract
from eventbus_runtime.contracts.registry import BUS, CONTRACTS, STREAM, SUBSCRIBE, Spec
from eventbus_runtime.contracts.wire import from_json, message_class, to_json, to_message
from eventbus_runtime.errors import ContractError, EventbusError
from eventbus_runtime.events import Tell
from eventbus_runtime.plugin import describe, steps
from eventbus_runtime.plugin.callback import Callback
from eventbus_runtime.plugin.declared import Declared
from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.plugin.messages import Proto, message
from eventbus_runtime.plugin.modules import BusModule, ConsumerModule, Module, StreamModule
from eventbus_runtime.plugin.triggers import Subscription, TriggerModule
from eventbus_runtime.plugin.values import EMPTY, opened, overlaid, packed, plain, read, take_bus, typed

STOP_WITHIN = 5.0
"""Seconds that what runs gets when its trigger is stopped, where the call has no nearer deadline."""

_STRUCT_BELOW = 1 << 20

_CONFIGS: dict[str, Any] = {spec.name: spec.config for spec in CONTRACTS}


class _Held(NamedTuple):
    """What a handle stands for, and what makes its calls wait for each other."""

    module: Module
    busy: asyncio.Lock


class PluginService:
    """One process's modules, steps and triggers. Its methods are named as the calls; each takes a request and answers
    with a response, or raises an `EventbusError` whose text the host gets.

    Args:
        callback: the host.
        tell: takes facts.
        environ: the variables, where addresses are.
    """

    def __init__(self, callback: Callback, tell: Tell, environ: Mapping[str, str] = os.environ) -> None:
        self._callback = callback
        self._declared = Declared(environ, tell)
        self._modules: dict[str, _Held] = {}
        self._stops: set[asyncio.Task[None]] = set()
        self._steps: dict[str, steps.Step] = {}

    async def get_manifest(self, request: Proto, left: float | None) -> Proto:
        return describe.manifest()

    async def get_module_types(self, request: Proto, left: float | None) -> Proto:
        return message("TypeList")(types=describe.MODULE_TYPES)

    async def get_step_types(self, request: Proto, left: float | None) -> Proto:
        return message("TypeList")(types=describe.STEP_TYPES)

    async def get_trigger_types(self, request: Proto, left: float | None) -> Proto:
        return message("TypeList")(types=describe.TRIGGER_TYPES)

    async def get_module_schemas(self, request: Proto, left: float | None) -> Proto:
        return describe.module_schemas()

    async def get_contract_registry(self, request: Proto, left: float | None) -> Proto:
        return describe.contract_registry()

    async def create_module(self, request: Proto, left: float | None) -> Proto:
        kind = describe.ALIASES.get(request.type, request.type)
        if kind not in _CONFIGS or request.type not in describe.MODULE_TYPES:
            raise PluginError(f'unknown module type "{request.type}"; known: {", ".join(describe.MODULE_TYPES)}')
        title = f'{request.type} "{request.name}"'
        try:
            module = self._module(kind, title, request)
        except ContractError as error:
            raise PluginError(f"{title}: {error}") from None
        return self._handed(module)

    async def create_trigger(self, request: Proto, left: float | None) -> Proto:
        if request.type not in describe.TRIGGER_TYPES:
            raise PluginError(f'unknown trigger type "{request.type}"; known: {", ".join(describe.TRIGGER_TYPES)}')
        title = f'{request.type} "{request.name}"'
        try:
            return self._handed(self._trigger(title, request, Subscription.of(plain(request.config))))
        except ContractError as error:
            raise PluginError(f"{title}: {error}") from None

    async def init_module(self, request: Proto, left: float | None) -> Proto:
        async with self._only(request.handle_id) as module:
            await module.init()
        return message("ErrorResponse")()

    async def start_module(self, request: Proto, left: float | None) -> Proto:
        async with self._only(request.handle_id) as module:
            try:
                await module.start()
            except EventbusError as error:
                text = str(error)
                raise PluginError(text if text.startswith(module.title) else f"{module.title}: {text}") from error
        return message("ErrorResponse")()

    async def stop_module(self, request: Proto, left: float | None) -> Proto:
        held = self._at(request.handle_id)
        await self._stopped(held, _time(left))
        return message("ErrorResponse")()

    async def destroy_module(self, request: Proto, left: float | None) -> Proto:
        held = self._at(request.handle_id)
        del self._modules[request.handle_id]
        await self._stopped(held, _time(left))
        return message("ErrorResponse")()

    async def create_step(self, request: Proto, left: float | None) -> Proto:
        spec = steps.STEPS.get(request.type)
        if spec is None:
            raise PluginError(f'unknown step type "{request.type}"; known: {", ".join(steps.STEPS)}')
        try:
            # Its values are judged when it runs: a workflow's config may hold templates until then.
            config, values = _opened(_input(spec), request, "typed_config"), plain(request.config)
            bus = take_bus(values)
            values = {} if _has_typed_config(request) else values
        except ContractError as error:
            raise PluginError(f'{request.type} "{request.name}": {error}') from None
        handle = str(uuid.uuid4())
        self._steps[handle] = steps.Step(spec, values, config, bus)
        return message("HandleResponse")(handle_id=handle)

    async def execute_step(self, request: Proto, left: float | None) -> Proto:
        step = self._steps.get(request.handle_id)
        if step is None:
            raise PluginError(f"unknown step handle: {request.handle_id}")
        try:
            asked, bus = _asked(step, request)
        except ContractError as error:
            raise PluginError(f"{step.spec.name}: {error}") from None
        answer = await steps.run(self._declared, step, asked, bus)
        response = message("ExecuteStepResponse")(typed_output=packed(answer))
        if not request.HasField("typed_input") or len(response.typed_output.value) < _STRUCT_BELOW:
            json_format.ParseDict(to_json(answer), response.output)
        return response

    async def destroy_step(self, request: Proto, left: float | None) -> Proto:
        if self._steps.pop(request.handle_id, None) is None:
            raise PluginError(f"unknown step handle: {request.handle_id}")
        return message("ErrorResponse")()

    async def configure_callback(self, request: Proto, left: float | None) -> Proto:
        await self._callback.configure(request.broker_id)
        return message("ErrorResponse")()

    async def close(self, within: float) -> None:
        """Stop everything: triggers first, all at once, then what they use.

        Args:
            within: seconds that what runs gets.
        """
        modules = [held.module for held in self._modules.values()]
        triggers = {*self._declared.triggers, *(one for one in modules if isinstance(one, TriggerModule))}
        await _all(one.stop(within) for one in triggers)
        await _all(one.stop(0.0) for one in modules if isinstance(one, ConsumerModule))
        await _all(one.stop(0.0) for one in {*self._declared.buses.values(), *modules} if isinstance(one, BusModule))
        await self._callback.close()

    def _module(self, kind: str, title: str, request: Proto) -> Module:
        values = plain(request.config)
        if kind == SUBSCRIBE:
            if request.HasField("typed_config"):
                try:
                    subscription = Subscription(typed(_CONFIGS[kind], request.typed_config))
                except ContractError as error:
                    raise ContractError(f"typed_config: {error}") from None
            else:
                subscription = Subscription.of(values)
            return self._trigger(title, request, subscription)
        bus = take_bus(values) if kind != BUS else ""
        config = read(_CONFIGS[kind], request, "typed_config", values)
        if kind == BUS:
            return BusModule(title, request.name, config, self._declared)
        if kind == STREAM:
            return StreamModule(title, request.name, config, bus, self._declared)
        return ConsumerModule(title, request.name, config, bus, self._declared)

    def _trigger(self, title: str, request: Proto, subscription: Subscription) -> TriggerModule:
        return TriggerModule(title, request.name or request.type, subscription, self._declared, self._callback)

    def _handed(self, module: Module) -> Proto:
        handle = str(uuid.uuid4())
        self._modules[handle] = _Held(module, asyncio.Lock())
        return message("HandleResponse")(handle_id=handle)

    def _at(self, handle: str) -> _Held:
        if handle not in self._modules:
            raise PluginError(f"unknown module handle: {handle}")
        return self._modules[handle]

    async def _stopped(self, held: _Held, within: float) -> None:
        """Stop it to the end, even where the host asks no more: half a stop is none."""
        stop = asyncio.create_task(_stop(held, within))
        self._stops.add(stop)  # which alone keeps it alive, once nobody waits for it
        stop.add_done_callback(self._stops.discard)
        await asyncio.shield(stop)

    @asynccontextmanager
    async def _only(self, handle: str) -> AsyncIterator[Module]:
        """The module of a handle, for one call at a time.

        Raises:
            PluginError: there is none, or not any more.
        """
        async with self._at(handle).busy:
            yield self._at(handle).module


async def _stop(held: _Held, within: float) -> None:
    async with held.busy:
        await held.module.stop(within)


async def _all(stops: Any) -> None:
    waiting: list[Awaitable[None]] = list(stops)
    await asyncio.gather(*waiting, return_exceptions=True)


def _time(left: float | None) -> float:
    """Of a call's time that is left, what a drain may take: its answer must still arrive."""
    return STOP_WITHIN if left is None else max(0.0, min(STOP_WITHIN, left - 2.5))


def _asked(step: steps.Step, request: Proto) -> tuple[Contract, str]:
    """What a step is asked for, and the name of the bus. What its config sets goes before what a pipeline holds.

    Raises:
        ContractError: names the field.
    """
    contract, current, values = _input(step.spec), plain(request.current), plain(request.config)
    bus = take_bus(current)
    bus = take_bus(values) or bus
    if _has_typed_config(request):
        config, table = _opened(contract, request, "typed_config"), {}
    else:
        config, table = step.config, step.values | values
    if not request.HasField("typed_input"):
        written = json_format.MessageToDict(config, preserving_proto_field_name=True)
        return from_json(contract, current | written | table), bus
    configs = [config, *([to_message(from_json(contract, table))] if table else ())]
    return overlaid(contract, _opened(contract, request, "typed_input"), *configs), bus


def _has_typed_config(request: Proto) -> bool:
    """Whether it has one that says something: the origin's steps had an empty one."""
    return request.HasField("typed_config") and not request.typed_config.type_url.endswith(EMPTY)


def _input(spec: Spec) -> type[Contract]:
    assert spec.input is not None, f"{spec.name} has an input"
    return spec.input


def _opened(contract: type[Contract], request: Proto, name: str) -> Proto:
    """The message in an Any of a request; an empty one where it is not set, or is the empty config of the origin."""
    if not (_has_typed_config(request) if name == "typed_config" else request.HasField(name)):
        return message_class(contract)()
    try:
        return opened(contract, getattr(request, name))
    except ContractError as error:
        raise ContractError(f"{name}: {error}") from None
