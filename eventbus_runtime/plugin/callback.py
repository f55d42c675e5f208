"""The host's own service, which triggers call."""

from __future__ import annotations

import asyncio
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


class _Line:
    """A connection to the host, and how many workflows run over it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel, self.running, self.is_retired = channel, 0, False
        self._fire = call(channel, CALLBACK_SERVICE, "TriggerWorkflow")

    async def fire(self, request: Proto) -> Proto:
        """Run a workflow. The last one over a connection that is not used any more closes it."""
        self.running += 1
        try:
            return await self._fire(request)
        finally:
            self.running -= 1
            await self._close_where_done()

    async def retire(self) -> None:
        """Begin nothing over it any more. What runs ends: cut off, it would be run again beside itself."""
        self.is_retired = True
        await self._close_where_done()

    async def _close_where_done(self) -> None:
        if self.is_retired and not self.running:
            await self.channel.close()


class Callback:
    """Calls the host back, once `configure` has said where.

    Args:
        broker: knows the host's addresses.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._line: _Line | None = None
        self._lines: set[_Line] = set()

    @property
    def is_configured(self) -> bool:
        """Whether the host wants to be called."""
        return self._line is not None

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
        old, self._line = self._line, _Line(channel)
        self._lines = {line for line in self._lines if line.running} | {self._line}
        if old is not None:
            await old.retire()

    async def fire(self, trigger_type: str, delivered: Message) -> None:
        """Have the host run its workflow for a message; return when it is through.

        Raises:
            PluginError: the host answered with an error, or did not answer.
        """
        line = self._line
        if line is None:
            raise PluginError("the host has not said where to call it (ConfigureCallback)")
        request = _request(trigger_type, delivered)
        try:
            try:
                answer = await line.fire(request)
            except grpc.aio.AioRpcError as error:
                # Most hosts read `data` alone.
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or request.ByteSize() < _USUALLY_TAKEN:
                    raise
                request.ClearField("typed_data")
                answer = await line.fire(request)
        except grpc.aio.AioRpcError as error:
            raise PluginError(f"the host could not be called: {why(error)}") from error
        if answer.error:
            raise PluginError(f"the host says: {answer.error}")

    async def close(self) -> None:
        """End the connections. Idempotent."""
        lines, self._line, self._lines = self._lines, None, set()
        for line in lines:
            await line.channel.close()


def _request(trigger_type: str, delivered: Message) -> Proto:
    """The six fields (S-53), as a Struct by protobuf's JSON mapping, bytes in base64, and as the contract's message."""
    value = Contract.of(delivered)
    request = message("TriggerWorkflowRequest")(trigger_type=trigger_type, action=ACTION, typed_data=packed(value))
    request.data.update(_ALL_SIX | to_json(value))
    return request
