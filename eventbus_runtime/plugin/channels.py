"""gRPC channels and calls by name; bytes as large as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc

from eventbus_runtime.plugin.handshake import Address
from eventbus_runtime.plugin.messages import SERVICES, message

T = TypeVar("T")

OPTIONS = (
    # gRPC's own bound is 1000, above which calls fail; a host may well run more steps at once.
    ("grpc.server.max_pending_requests", 1 << 20),
    ("grpc.server.max_pending_requests_hard_limit", 1 << 20),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Else a second server on the port of a first one shares its calls instead of being refused.
    ("grpc.so_reuseport", 0),
    # A proxy of the environment is none of a local socket's business.
    ("grpc.enable_http_proxy", 0),
)
"""Of all our servers and channels."""


def dial(address: Address) -> grpc.aio.Channel:
    """A channel to a process of this machine; it connects when it is first used."""
    return grpc.aio.insecure_channel(address.target, options=OPTIONS)


def call(channel: grpc.aio.Channel, service: str, method: str) -> Callable[..., Any]:
    """One method of a service, as gRPC's callable of its kind.

    Args:
        channel: where to.
        service: its full name.
        method: its name.
    """
    found = SERVICES[service][method]
    kinds: dict[tuple[bool, bool], Callable[..., Any]] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, True): channel.stream_stream,
    }
    made: Callable[..., Any] = kinds[found.asks, found.answers](
        f"/{service}/{method}",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=message(found.response).FromString,
    )
    return made


def why(error: grpc.aio.AioRpcError) -> str:
    """What a failed call says, on one line."""
    return f"{error.code().name}: {error.details()}"


async def until(ending: asyncio.Event, items: AsyncIterator[T]) -> AsyncIterator[T]:
    """Pass on what comes until `ending` is set: gRPC logs a stream that it must cancel at the end as an error."""
    end = asyncio.create_task(ending.wait())
    coming: asyncio.Future[T] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(items))
            await asyncio.wait({end, coming}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                return
            try:
                yield coming.result()
            except StopAsyncIteration:
                return
    finally:
        end.cancel()
        if coming is not None:
            coming.cancel()
            # It may end by the stream's end instead, and nobody asks for that any more.
            coming.add_done_callback(lambda left: left.cancelled() or left.exception())
