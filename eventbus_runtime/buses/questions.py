"""Questions to JetStream's API: they change nothing, so that they may be asked again before they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.errors import BusUnavailableError

# Seconds after which it is asked again. Who is asked amid an election may never answer, and its successor only what it
# is asked later; and where the way is slow an answer takes its time.
_AGAIN: Final = 1.0

ELECTION: Final = 10.0
"""Seconds in which a group elects a leader, 4 to 9 where a server is away. A question that comes meanwhile is never
answered; a change is, once there is a leader."""


async def ask(
    bus: Bus, subject: str, body: Mapping[str, Any] | None = None, *, patience: float = 5.0
) -> dict[str, Any]:
    """The API's first answer to a question, which is asked again each second until there is one.

    Args:
        bus: connected.
        subject: behind the API prefix, as `STREAM.INFO.ORDERS`.
        body: its JSON.
        patience: seconds.

    Raises:
        BusError: the server can't be asked, or answers by an error.
    """
    asked: list[asyncio.Task[dict[str, Any]]] = []
    try:
        while True:  # the first question's time-out ends it
            asked.append(asyncio.create_task(bus.api(subject, body, timeout=patience)))
            asked[-1].add_done_callback(_looked_at)
            done, _ = await asyncio.wait(asked, timeout=_AGAIN, return_when=asyncio.FIRST_COMPLETED)
            if done:  # behind a blocked event loop, maybe an answer and the time-out of an earlier question
                ended = [question for question in asked if question in done]
                return min(ended, key=lambda one: isinstance(one.exception(), BusUnavailableError)).result()
    finally:
        for question in asked:
            question.cancel()


async def ask_consumer(bus: Bus, stream: str, consumer: str) -> ConsumerInfo:
    """What the server says of a consumer now.

    Raises:
        BusError: the server can't be asked, or there is no such consumer.
    """
    return ConsumerInfo.parse(await ask(bus, f"CONSUMER.INFO.{stream}.{consumer}"))


async def streams_storing(bus: Bus, subject: str, *, patience: float = 5.0) -> list[str]:
    """The names of the streams that store a subject.

    Raises:
        BusError: the server can't be asked.
    """
    return (await ask(bus, "STREAM.NAMES", {"subject": subject}, patience=patience)).get("streams") or []


def _looked_at(question: asyncio.Task[dict[str, Any]]) -> None:
    """What comes second may fail, and nobody asks why."""
    if not question.cancelled():
        question.exception()
