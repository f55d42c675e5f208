"""`step.eventbus.ack` (S-32)."""

from __future__ import annotations

from collections.abc import Callable

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.contracts.model import AckRequest, AckResponse
from eventbus_runtime.contracts.registry import ACK
from eventbus_runtime.errors import EventbusError, StepError
from eventbus_runtime.pipelines.base import Delivery

Find = Callable[[str], Delivery | None]
"""The delivery of this ack token that a trigger of this process holds, if any."""


def _nowhere(token: str) -> None:
    return None


class AckStep:
    """Acknowledges a delivery: `await ack(AckRequest(ack_token=message.ack_token))`.

    Args:
        bus: where to.
        find: knows what triggers of this process hold. Such a delivery settles itself, so that it is settled once.
    """

    def __init__(self, bus: Bus, find: Find = _nowhere) -> None:
        self._bus, self._find = bus, find

    async def __call__(self, request: AckRequest) -> AckResponse:
        """Acknowledge, and wait until the server has confirmed it.

        Raises:
            StepError: nothing confirmed it: the consumer is gone, or there is no connection.
        """
        held = self._find(request.ack_token)
        try:
            if held is not None:
                await held.ack()
            else:
                await self._bus.request(request.ack_token)
        except EventbusError as error:
            raise StepError(f"{ACK}: {error}") from error
        return AckResponse()
