"""`step.eventbus.ack` (S-32)."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.contracts.model import AckRequest, AckResponse
from eventbus_runtime.contracts.registry import ACK
from eventbus_runtime.errors import EventbusError, StepError
from eventbus_runtime.message import check_ack_subject
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.steps.joined import JoinedAcks

Find = Callable[[str], Delivery | None]
"""The delivery of this ack token that a trigger of this process holds, if any."""


def nowhere(token: str) -> None:
    """Where no trigger holds anything."""


class AckStep:
    """Acknowledges a delivery: `await ack(AckRequest(ack_token=message.ack_token))`.

    Args:
        bus: where to.
        find: knows what triggers of this process hold. Such a delivery settles itself, so that it is settled once.
    """

    def __init__(self, bus: Bus, find: Find = nowhere) -> None:
        self._joined, self._find = JoinedAcks(bus), find
        self._own: Delivery | None = None

    def within(self, delivery: Delivery) -> AckStep:
        """The step as the handler of this delivery gets it."""
        step = copy(self)
        step._own = delivery
        return step

    async def __call__(self, request: AckRequest) -> AckResponse:
        """Acknowledge. A delivery that is held here settles itself, as its trigger does it; one that is settled already
        stays as it is. For any other the server's confirmation is waited for.

        Raises:
            StepError: nothing confirmed it: the consumer is gone, or there is no connection. Or the token is no
                JetStream acknowledgement subject, in a request that was made past its own check.
        """
        token, own = request.ack_token, self._own
        try:
            if own is not None and own.message.ack_token == token:
                await own.ack()
                return _DONE
            held = self._find(check_ack_subject(token))
            if held is not None:
                await held.ack()
            else:
                await self._joined.ack(token)
        except (EventbusError, ValueError) as error:
            raise StepError(f"{ACK}: {error}") from error
        return _DONE


_DONE = AckResponse.model_construct()
