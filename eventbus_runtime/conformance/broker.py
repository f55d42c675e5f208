"""What is a broker's own about making, counting and removing what the phases need; JetStream here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.buses.questions import ELECTION
from eventbus_runtime.errors import ApiError, NotFoundError
from eventbus_runtime.provisioning.patience import Patience, unavailable
from eventbus_runtime.provisioning.resources import Resource

NOTE = "made by a conformance run of eventbus-runtime, which removes it; left behind by one that was killed"
"""The description of each stream that is made."""

_STORE_FAILED = 10051


class Count(NamedTuple):
    """What a broker says of a durable consumer.

    Args:
        pending: messages that it has still to deliver for the first time.
        unacknowledged: messages that it has delivered, and that nobody has settled.
    """

    pending: int
    unacknowledged: int


class Broker(Protocol):
    """The broker behind a bus, seen by a bystander. Another broker than JetStream brings its own."""

    async def make_stream(self, stream: Resource) -> None:
        """Make a stream as a provider's resource says.

        Raises:
            EventbusError: it is not made; says why.
        """

    async def make_consumer(self, stream: str, name: str, *, filter_subject: str, ack_wait: float = 30.0) -> None:
        """Make a durable consumer that delivers all of a stream that its filter lets through.

        Args:
            stream: an existing stream.
            name: of the consumer.
            filter_subject: the one subject that it gets.
            ack_wait: seconds after which what is not settled is delivered again.

        Raises:
            EventbusError: it is not made; says why.
        """

    async def stored(self, stream: str) -> int | None:
        """How many messages a stream holds; None: there is no such stream."""

    async def count(self, stream: str, consumer: str) -> Count:
        """What a consumer has to deliver, and what it waits for."""

    async def remove_stream(self, stream: str) -> None:
        """Remove a stream, with its consumers; nothing where there is none."""


class JetStream:
    """JetStream, by its API alone; see `Broker`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def make_stream(self, stream: Resource) -> None:
        """Properties as S-13 has them."""
        held, name = stream.properties, stream.properties["name"]
        config = {
            "name": name,
            "description": NOTE,
            "subjects": held["subjects"].split(","),
            "retention": held["retention_policy"],
            "num_replicas": int(held["num_replicas"]),
            "max_bytes": int(held["max_bytes"]) or -1,
        }
        await self._make(f"STREAM.CREATE.{name}", config)

    async def make_consumer(self, stream: str, name: str, *, filter_subject: str, ack_wait: float = 30.0) -> None:
        config = {
            "durable_name": name,
            "ack_policy": "explicit",
            "ack_wait": round(ack_wait * 1e9),
            "filter_subject": filter_subject,
        }
        subject = f"CONSUMER.CREATE.{stream}.{name}.{filter_subject}"
        await self._make(subject, {"stream_name": stream, "action": "create", "config": config})

    async def _make(self, subject: str, body: Mapping[str, Any]) -> None:
        async def make() -> None:
            with unavailable():
                await self._bus.api(subject, body, timeout=ELECTION)

        await Patience().once_possible(make, lambda error: None)  # a cluster may have only just started

    async def stored(self, stream: str) -> int | None:
        try:
            answer: Mapping[str, Any] = await self._bus.api(f"STREAM.INFO.{stream}")
        except NotFoundError:
            return None
        return int(answer["state"]["messages"])

    async def count(self, stream: str, consumer: str) -> Count:
        info = ConsumerInfo.parse(await self._bus.api(f"CONSUMER.INFO.{stream}.{consumer}"))
        return Count(info.num_pending, info.num_ack_pending)

    async def remove_stream(self, stream: str) -> None:
        try:
            await self._bus.api(f"STREAM.DELETE.{stream}")
        except NotFoundError:
            pass
        except ApiError as error:
            # 2.11 may write into the folder that it removes, and then says so though the stream is gone.
            if error.err_code != _STORE_FAILED or await self.stored(stream) is not None:
                raise
