"""The host's own service, which triggers call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from eventbus_runtime.contracts.fields import fields
from eventbus_runtime.contracts.model import Message as Contract
from eventbus_runtime.contracts.wire import to_json
from eventbus_runtime.message import Message
from eventbus_runtime.plugin.broker import Broker
from eventbus_runtime.plugin.channels import call, dial, why
from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.plugin.messages import CALLBACK_SERVICE, Proto, message
from eventbus_runtime.plugin.values import packed

ACTION = "message"
"""What the host is told to have happened."""

_USUALLY_TAKEN = 4 << 20
"""Bytes of a request that a gRPC server takes where nothing else is set."""

_ALL_SIX: dict[str, Any] = {field.name: {} if field.kind == "map" else "" for field in fields(Contract)}


class Callback:
    """Calls the host back, once `configure` has said where.

    Args:
        broker: knows the host's addresses.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._channel: grpc.aio.Channel | None = None
        self._fire: Callable[..., Any] | None = None

    @property
    def is_configured(self) -> bool:
        """Whether the host wants to be called."""
        return self._fire is not None

    async def configure(self, number: int) -> None:
        """Use this broker connection from now on.

        Raises:
            PluginError: there is none of this number, or nobody answers there.
        """
        if number == 0:
            raise PluginError("broker_id is required")
        address = await self._broker.address(number)
        channel = dial(address)
        try:
            async with asyncio.timeout(5.0):
                await channel.channel_ready()
        except TimeoutError:
            await channel.close()
            raise PluginError(
                f"nobody answers at {address.network} {address.address}, which the host announced"
            ) from None
        old, self._channel = self._channel, channel
        self._fire = call(channel, CALLBACK_SERVICE, "TriggerWorkflow")
        if old is not None:
            await old.close(grace=5.0)

    async def fire(self, trigger_type: str, delivered: Message) -> None:
        """Have the host run its workflow for a message; return when it is through.

        Raises:
            PluginError: the host answered with an error, or did not answer.
        """
        if self._fire is None:
            raise PluginError("the host has not said where to call it (ConfigureCallback)")
        request = _request(trigger_type, delivered)
        try:
            try:
                answer = await self._fire(request)
            except grpc.aio.AioRpcError as error:
                # Most hosts read `data` alone.
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or request.ByteSize() < _USUALLY_TAKEN:
                    raise
                request.ClearField("typed_data")
                answer = await self._fire(request)
        except grpc.aio.AioRpcError as error:
            raise PluginError(f"the host could not be called: {why(error)}") from error
        if answer.error:
            raise PluginError(f"the host says: {answer.error}")

    async def close(self) -> None:
        """End the connection. Idempotent."""
        channel, self._channel, self._fire = self._channel, None, None
        if channel is not None:
            await channel.close()


def _request(trigger_type: str, delivered: Message) -> Proto:
    """The six fields (S-53), as a Struct by protobuf's JSON mapping, bytes in base64, and as the contract's message."""
    value = Contract.of(delivered)
    request = message("TriggerWorkflowRequest")(trigger_type=trigger_type, action=ACTION, typed_data=packed(value))
    request.data.update(_ALL_SIX | to_json(value))
    return request
