"""The host's own service, which the triggers of a plugin process call."""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc
from google.protobuf import json_format

from eventbus_runtime.contracts.model import Message
from eventbus_runtime.frames import describe
from eventbus_runtime.plugin.channels import OPTIONS
from eventbus_runtime.plugin.handshake import Address, Place
from eventbus_runtime.plugin.messages import CALLBACK_SERVICE, Proto, message
from eventbus_runtime.plugin.server import listen
from eventbus_runtime.plugin.values import typed


class Fired(NamedTuple):
    """A workflow that a trigger wants run.

    Args:
        trigger_type: which.
        action: what happened.
        data: the six fields (S-53) by protobuf's JSON mapping: the payload is in base64.
        message: the same as a value; None where it was too large to be sent twice.
    """

    trigger_type: str
    action: str
    data: dict[str, Any]
    message: Message | None

    @property
    def payload(self) -> bytes:
        """The message's body."""
        return base64.b64decode(self.data["payload"])


class Host:
    """Serves `EngineCallbackService`; made by `serve`.

    Args:
        server: the server.
        place: where it listens.
        address: the same, as told.
    """

    def __init__(self, server: grpc.aio.Server, place: Place, address: Address) -> None:
        self._server, self._place, self.address = server, place, address

    @classmethod
    async def serve(cls, on_fire: Callable[[Fired], Awaitable[None]], *, most: int = -1) -> Host:
        """Serve at a private address.

        Args:
            on_fire: runs a workflow; what it raises is the answer's error.
            most: largest request that is taken, in bytes; -1: any.
        """

        async def trigger(data: bytes, context: Any) -> bytes:
            request = message("TriggerWorkflowRequest").FromString(data)
            try:
                await on_fire(_fired(request))
            except Exception as error:  # noqa: BLE001 - whatever a workflow raises is its failure
                return _error(str(error) or describe(error))
            return _error("")

        async def log(data: bytes, context: Any) -> bytes:
            return b""

        options = [*dict([*OPTIONS, ("grpc.max_receive_message_length", most)]).items()]
        server = grpc.aio.server(options=options)
        calls: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "TriggerWorkflow": grpc.unary_unary_rpc_method_handler(trigger),
            "Log": grpc.unary_unary_rpc_method_handler(log),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(CALLBACK_SERVICE, calls)])
        place = Place(os.environ)
        return cls(server, place, await listen(place, server))

    async def close(self) -> None:
        """End it. Idempotent."""
        await self._server.stop(None)
        self._place.close()


def _fired(request: Proto) -> Fired:
    found = typed(Message, request.typed_data) if request.HasField("typed_data") else None
    return Fired(request.trigger_type, request.action, json_format.MessageToDict(request.data), found)


def _error(text: str) -> bytes:
    data: bytes = message("ErrorResponse")(error=text).SerializeToString()
    return data
