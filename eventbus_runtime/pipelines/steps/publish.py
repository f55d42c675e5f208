"""`step.eventbus.publish` (S-30)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from eventbus_runtime.buses.base import Bus, PubAck
from eventbus_runtime.contracts.model import PublishRequest, PublishResponse
from eventbus_runtime.contracts.registry import PUBLISH
from eventbus_runtime.errors import EventbusError, StepError
from eventbus_runtime.message import rfc3339
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.subjects import check_target

CORRELATION = "Nats-Correlation-Id"
"""The header that a request's `correlation_id` becomes."""

Send = Callable[[str, bytes, Mapping[str, str]], Awaitable[PubAck]]
"""Publishes subject, payload and headers, and waits for the stream's confirmation."""


class PublishStep:
    """Publishes a message, and waits until a stream has stored it: `await publish(PublishRequest(subject="…"))`.

    Args:
        send: how; see `over` for that of a bus, and `within` for a delivery's, which gives a stable `Nats-Msg-Id`.
    """

    def __init__(self, send: Send) -> None:
        self._send = send

    @classmethod
    def over(cls, bus: Bus) -> PublishStep:
        """The step over a bus, apart from any delivery."""
        return cls(bus.publish)

    @classmethod
    def within(cls, delivery: Delivery) -> PublishStep:
        """The step as the handler of this delivery gets it: what is delivered again publishes nothing twice."""
        return cls(lambda subject, payload, headers: delivery.publish(Publish(subject, payload, headers)))

    async def __call__(self, request: PublishRequest) -> PublishResponse:
        """Publish.

        Raises:
            StepError: the subject is missing or can't be published to, or nothing confirmed it.
        """
        if not request.subject:
            raise StepError(f"{PUBLISH}: subject is required")
        headers = request.headers
        if request.correlation_id:
            headers = {**headers, CORRELATION: request.correlation_id}
        try:
            ack = await self._send(check_target(request.subject), request.payload, headers)
        except (EventbusError, ValueError) as error:
            raise StepError(f"{PUBLISH}: {error}") from error
        return PublishResponse.trusted({"sequence": str(ack.sequence), "acked_at": rfc3339(time.time_ns())})
