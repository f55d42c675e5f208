"""The gRPC server: our services by name, raw bytes in and out, errors as the host expects them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, EncodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # it has no hints
from grpc_health.v1.health import aio as health  # type: ignore[import-untyped]  # nor has this

from eventbus_runtime.errors import EventbusError
from eventbus_runtime.frames import describe, one_line, printable
from eventbus_runtime.observability.logging import get_logger
from eventbus_runtime.plugin.broker import Broker
from eventbus_runtime.plugin.channels import OPTIONS, until
from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.plugin.handshake import Address, Place
from eventbus_runtime.plugin.messages import BROKER, PLUGIN_SERVICE, SERVICES, Method, Proto, message
from eventbus_runtime.plugin.service import PluginService
from eventbus_runtime.plugin.stdio import Stdout

Answer: TypeAlias = Callable[[Proto, float | None], Awaitable[Proto]]

_HEALTH = "plugin"
_LONGEST = 4000
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


async def listen(place: Place, server: grpc.aio.Server) -> Address:
    """Bind a server to the first address that is free, and start it.

    Raises:
        PluginError: none is free.
    """
    tried = []
    for address in place.candidates():
        tried.append(address)
        try:
            port = server.add_insecure_port(address.target)
        except RuntimeError:  # it is taken
            continue
        await server.start()
        return address if address.network == "unix" else Address("tcp", f"127.0.0.1:{port}")
    raise PluginError(f"nothing can listen at {tried[0].address}" + (f" to {tried[-1].address}" if tried[1:] else ""))


async def make_server(service: PluginService, broker: Broker, stdout: Stdout, ending: asyncio.Event) -> grpc.aio.Server:
    """A server of all that a host asks for, not yet bound to an address.

    Args:
        service: answers for `PluginService`.
        broker: for `GRPCBroker`.
        stdout: for `GRPCStdio`.
        ending: set when the host wants this process to end; open streams end with it.
    """
    server = grpc.aio.server(options=OPTIONS)
    answers = {
        method: _unary(found, getattr(service, _CAPITAL.sub("_", method).lower()))
        for method, found in SERVICES[PLUGIN_SERVICE].items()
    }

    async def controlled(request: Proto, left: float | None) -> Proto:
        ending.set()
        return message(f"{BROKER}.Empty")()

    own = {
        "GRPCController": {"Shutdown": _unary(SERVICES[f"{BROKER}.GRPCController"]["Shutdown"], controlled)},
        "GRPCBroker": {"StartStream": _connections(broker, ending)},
        "GRPCStdio": {"StreamStdio": _prints(stdout, ending)},
    }
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(PLUGIN_SERVICE, answers),
            *(grpc.method_handlers_generic_handler(f"{BROKER}.{name}", calls) for name, calls in own.items()),
        ]
    )
    healthy = health.HealthServicer()
    await healthy.set(_HEALTH, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    return server


def _unary(method: Method, answer: Answer) -> grpc.RpcMethodHandler[Any, Any]:
    async def called(data: bytes, context: Any) -> bytes:
        try:
            request = message(method.request).FromString(data)
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"these bytes are no {method.request}: {error}")
        try:
            found = await answer(request, context.time_remaining())
            return _written(found)
        except EventbusError as error:
            text = _told(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the host is told, and the process lives
            text = f"internal error of the plugin: {describe(error)}"
            get_logger().exception(text, request=method.request)
        response = message(method.response)
        if "error" not in response.DESCRIPTOR.fields_by_name:
            await context.abort(grpc.StatusCode.INTERNAL, text)
        return _written(response(error=text))

    return grpc.unary_unary_rpc_method_handler(called)


def _told(text: str) -> str:
    """An error's text on one line, as a host's log wants it; of one that quotes a huge value both ends."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
    return printable(text)


def _written(answer: Proto) -> bytes:
    """An answer's bytes.

    Raises:
        PluginError: it is larger than any message can be (2 GiB).
    """
    try:
        data: bytes = answer.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise PluginError(f"the answer can't be written, ask for less at once: {one_line(str(error))}") from None
    return data


def _connections(broker: Broker, ending: asyncio.Event) -> grpc.RpcMethodHandler[Any, Any]:
    knows = message(f"{BROKER}.ConnInfo")

    async def read(parts: AsyncIterator[bytes]) -> AsyncIterator[Proto]:
        async for part in until(ending, parts):
            yield knows.FromString(part)

    async def called(parts: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            async for said in broker.stream(read(parts)):
                yield said.SerializeToString()
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"these bytes are no plugin.ConnInfo: {error}")

    return grpc.stream_stream_rpc_method_handler(called)


def _prints(stdout: Stdout, ending: asyncio.Event) -> grpc.RpcMethodHandler[Any, Any]:
    async def called(data: bytes, context: Any) -> AsyncIterator[bytes]:
        async for part in until(ending, stdout.stream()):
            yield part.SerializeToString()

    return grpc.unary_stream_rpc_method_handler(called)
