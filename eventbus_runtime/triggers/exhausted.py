"""What the server has given up after `max_deliver` deliveries: read from its advisories, and ended as configured.

A worker that dies on the last delivery tells nobody, and the server does not deliver again. It says so once, on a
subject (`$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES…`); a stream must keep that until somebody reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

from anyio.abc import TaskGroup

from eventbus_runtime.buses import stored
from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.buses.questions import ask
from eventbus_runtime.config.model import TriggerConfig
from eventbus_runtime.counters import TriggerCounters
from eventbus_runtime.errors import TopologyError, TriggerError
from eventbus_runtime.events import DeliveryFailed, State, Tell
from eventbus_runtime.message import Message, nanoseconds
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.outcome import Publish, Reject
from eventbus_runtime.triggers.base import Trigger
from eventbus_runtime.triggers.fence import TERM
from eventbus_runtime.triggers.letters import DeadLetters
from eventbus_runtime.triggers.recall import Recall

Advisories: TypeAlias = Callable[[ConsumerInfo], Awaitable[tuple[str, str]]]
"""Finds the stream that stores the advisories of this consumer, has a consumer there that brings them, and returns the
names of both. Raises TopologyError where messages could be lost."""

_AT_ONCE = 32
_TIMEOUT = 5.0
_LOOKS = 0.25


class Reader(Trigger, Protocol):
    """A trigger that reads the advisories."""

    async def is_drained(self) -> bool:
        """See `SubscribeTrigger.is_drained`."""


class Exhausted:
    """Stands beside one trigger, and is the pipeline of the reader that it starts once the consumer has a limit.

    Args:
        trigger: the trigger's name.
        config: its configuration.
        bus: its bus.
        advisories: see `Advisories`; None: limits are not looked for.
        make: makes the reader, from name, configuration and pipeline, and how to prepare.
        letters: sends the trigger's dead letters.
        recall: knows what runs in the trigger, and what it has settled of late.
        counters: what it adds to.
        tell: takes facts.
    """

    blocking = False

    def __init__(
        self,
        trigger: str,
        config: TriggerConfig,
        bus: Bus,
        advisories: Advisories | None,
        make: Callable[..., Reader],
        letters: DeadLetters,
        recall: Recall,
        counters: TriggerCounters,
        tell: Tell,
    ) -> None:
        self.name = f"{trigger}.exhausted"
        self._trigger, self._config, self._bus, self._advisories = trigger, config, bus, advisories
        self._make, self._letters, self._recall, self._counters, self._tell = make, letters, recall, counters, tell
        self._reader: Reader | None = None
        self._ended = asyncio.Event()

    def begin(self, group: TaskGroup, interrupt: Callable[[str], None]) -> None:
        """The trigger runs. `group` holds its tasks; `interrupt` has it look at its consumer anew."""
        self._group, self._interrupt, self._reader = group, interrupt, None
        self._ended.clear()

    async def look(self, consumer: ConsumerInfo) -> None:
        """Have the advisories of this consumer read, which has a limit.

        Raises:
            TopologyError: they are not stored, or nothing says what to do with what they tell of.
            TriggerError: the reader has failed.
            BusError: not now.
        """
        if self._advisories is None:
            return
        if self._reader is None:
            stream, name = await self._advisories(consumer)
            section = TriggerConfig(
                bus=self._config.bus, stream=stream, consumer=name, pipeline=self.name, max_in_flight=_AT_ONCE
            )
            self._reader = self._make(self.name, section, pipeline=self, prepare=partial(self._prepare, consumer))
            self._group.start_soon(self._keep, self._reader)
        elif self._reader.state is State.FAILED:
            raise TriggerError(f"what its consumer gives up is seen by nobody: {self.name}: {self._reader.reason}")

    def stop(self, timeout: float) -> None:
        """As the trigger's."""
        if self._reader is not None:
            self._reader.stop(timeout)

    async def end(self) -> None:
        """Stop, and return when the reader has ended."""
        if self._reader is not None:
            self._reader.stop(_TIMEOUT)
            await self._ended.wait()

    async def is_drained(self) -> bool:
        """Whether no advisory waits.

        Raises:
            BusError: the server can't be asked.
        """
        return self._reader is None or await self._reader.is_drained()

    async def fire(self, delivery: Delivery) -> None:
        """See `pipelines.base.Pipeline.fire`. The delivery is an advisory.

        Raises:
            UnconfirmedError: the dead letter is not confirmed; the advisory comes again.
            BusError: the server can't be asked; likewise.
            Reject: it is no advisory.
        """
        sequence, count, time = _read(delivery.message)
        stream = self._config.stream
        # In a stream that was made anew since, the same sequence is another message.
        if nanoseconds((await ask(self._bus, f"STREAM.INFO.{stream}"))["created"]) > time:
            return
        found = await stored.get(self._bus, stream, sequence, timeout=_TIMEOUT)
        if found is None:
            return
        message = found.delivered(self._config.consumer, count)
        if not await self._is_settled(message):
            await self._give_up(message)

    def outgoing(self, result: Any) -> tuple[Publish, ...]:
        """See `pipelines.base.Pipeline.outgoing`."""
        return ()

    async def _give_up(self, message: Message) -> None:
        text = f"delivery {message.delivery_count}, the last that max_deliver allows, was not acknowledged"
        if self._config.dead_letter is None:
            self._counters.terminated += 1
            self._fail(message, text, "term")
        elif not (await self._letters.send(message, "exhausted", text)).duplicate:
            self._counters.dead_lettered += 1
            self._fail(message, text, "dead_letter")
        # Late as it is, it removes the message where acknowledged ones do not stay (tried on 2.9 to 2.15).
        await self._bus.request(message.ack_token, TERM, timeout=_TIMEOUT)

    async def _is_settled(self, message: Message) -> bool:
        """Whether the trigger has settled it by now. A handler that was slow, or stood still, may run on."""
        token = message.ack_token.encode()
        while self._recall.runs(token):  # noqa: ASYNC110 - nothing tells the end of one delivery
            await asyncio.sleep(_LOOKS)
        await asyncio.sleep(0)  # what was settled is remembered at the end of that turn
        return self._recall.memory.holds(token)

    def _fail(self, message: Message, text: str, settlement: str) -> None:
        count = message.delivery_count
        self._tell(DeliveryFailed(self._trigger, self._config.pipeline, message, count, "exhausted", text, settlement))

    async def _prepare(self, consumer: ConsumerInfo, resume_at: int | None) -> None:
        assert self._advisories is not None
        await self._advisories(consumer)

    async def _keep(self, reader: Reader) -> None:
        try:
            await reader.run()
        except (TriggerError, TopologyError) as error:
            reader.set_state(State.FAILED, str(error))
            self._interrupt(f"{self.name} failed")
        finally:
            self._ended.set()


def _read(message: Message) -> tuple[int, int, int]:
    """Of an advisory: the stream sequence, how often it was delivered, and when it was given up."""
    try:
        said = message.json()
        return int(said["stream_seq"]), int(said["deliveries"]), nanoseconds(said["timestamp"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Reject(f"this is no MAX_DELIVERIES advisory: {message.payload[:200]!r}") from error
