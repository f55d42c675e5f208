"""What a trigger needs at the server, made when it is first looked for, or when it is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.buses.questions import ask, ask_consumer
from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.config.objects import StreamConfig
from eventbus_runtime.errors import NotFoundError, TopologyError
from eventbus_runtime.events import Ensured, Tell, Warned
from eventbus_runtime.provisioning.advisories import advisory_consumer, advisory_stream, advisory_subject
from eventbus_runtime.provisioning.dead_letters import check_dead_letter
from eventbus_runtime.provisioning.topology import Changed, ensure_consumer, ensure_stream
from eventbus_runtime.subjects import any_covers


class Topology:
    """The declared streams and consumers of one runtime, ensured one at a time on each bus.

    Args:
        config: complete.
        buses: by name.
        dead_letter_streams: by trigger, the streams that are needed only if no other stores the subject.
        tell: takes facts.
    """

    def __init__(
        self, config: RuntimeConfig, buses: Mapping[str, Bus], dead_letter_streams: Mapping[str, str], tell: Tell
    ) -> None:
        self._config, self._buses, self._filled, self._tell = config, buses, dead_letter_streams, tell
        self._locks = {name: asyncio.Lock() for name in buses}
        # One for all: two buses can be one server, and their triggers share a stream of dead letters.
        self._dead_letters = asyncio.Lock()
        self._streams_created: dict[str, str] = {}
        self._doubts: set[str] = set()

    async def prepare(self, trigger: str, resume_at: int | None) -> str | None:
        """Have the stream, the consumer and the dead-letter stream of a trigger be there.

        Args:
            trigger: its name.
            resume_at: the stream sequence from which a consumer that was lost goes on; None where it is not known.

        Returns:
            The stream that stores its dead letters; None without any.

        Raises:
            TopologyError: it can't be made as declared.
            BusError: not now: no answer, or something that is not ours to make is missing.
        """
        config = self._config.triggers[trigger]
        bus = self._buses[config.bus]
        async with self._locks[config.bus]:
            await self._ensure_stream(bus, config.stream)
            info = await ask(bus, f"STREAM.INFO.{config.stream}")
            before, created = self._streams_created.get(trigger), info.get("created", "")
            # It goes on only in the very stream that it was lost in, and only where the server lets it start anywhere.
            if before != created or info["config"]["retention"] != "limits":
                resume_at = None
            consumer = self._config.consumers[config.consumer]
            changed = await ensure_consumer(bus, config.consumer, consumer, opt_start_seq=resume_at)
            self._note(bus, f"consumer {config.consumer} of stream {config.stream}", changed)
            if changed is Changed.CREATED and before is not None and resume_at is None:
                text = f"the consumer of {config.stream} was lost, and is made again by its declared deliver_policy"
                self._tell(Warned(trigger, text, {"stream": config.stream}))
            self._streams_created[trigger] = created
            if config.dead_letter is None:
                return None
            async with self._dead_letters:
                return await self._dead_letter_stream(bus, trigger, config.dead_letter)

    async def advisories(self, trigger: str, consumer: ConsumerInfo) -> tuple[str, str]:
        """Have what the server says be kept and read when it gives up a message of a consumer with a `max_deliver`.

        Args:
            trigger: its name.
            consumer: the trigger's, as the server has it.

        Returns:
            The stream that stores these advisories, and the consumer there that brings those of `consumer` alone.

        Raises:
            TopologyError: they are not stored, or the trigger has no end for what is given up.
            BusError: not now.
        """
        config = self._config.triggers[trigger]
        bus = self._buses[config.bus]
        async with self._locks[config.bus]:
            await self._ensure_storing(bus, advisory_subject(consumer))
            stream = await advisory_stream(bus, trigger, config, consumer)
            name, reader = advisory_consumer(stream, consumer)
            changed = await ensure_consumer(bus, name, reader)
            self._note(bus, f"consumer {name} of stream {stream}", changed)
        return stream, name

    async def prepare_all(self, bus: Bus) -> None:
        """Have every declared stream and consumer of a bus be there, whether or not a trigger asks for it.

        Raises:
            TopologyError: one that no enabled trigger asks for can't be made as declared; the triggers tell of theirs.
            BusError: not now.
        """
        triggers = [
            trigger for trigger in self._config.triggers.values() if trigger.enabled and trigger.bus == bus.name
        ]
        filled = set(self._filled.values())
        async with self._locks[bus.name]:
            for name, stream in self._config.streams.items():
                if stream.bus == bus.name and name not in filled:
                    with _told_by(any(name == each.stream for each in triggers)):
                        await self._ensure_stream(bus, name)
            for name, consumer in self._config.consumers.items():
                declared = self._config.streams.get(consumer.stream)
                if declared is not None and declared.bus == bus.name:
                    with _told_by(any(name == each.consumer for each in triggers)):
                        changed = await ensure_consumer(bus, name, consumer)
                        self._note(bus, f"consumer {name} of stream {consumer.stream}", changed)

    async def _ensure_stream(self, bus: Bus, name: str) -> None:
        declared = self._config.streams.get(name)
        if declared is not None:
            self._note(bus, f"stream {name}", await ensure_stream(bus, name, declared))

    async def _ensure_storing(self, bus: Bus, subject: str) -> None:
        """Have the declared streams be there that store a subject."""
        for name, stream in self._config.streams.items():
            if stream.bus == bus.name and any_covers(stream.subjects, subject):
                await self._ensure_stream(bus, name)

    async def _dead_letter_stream(self, bus: Bus, trigger: str, subject: str) -> str:
        config = self._config.triggers[trigger]
        consumer = await ask_consumer(bus, config.stream, config.consumer)
        filled = self._filled.get(trigger)
        declared: tuple[str, StreamConfig] | None = None
        if filled is not None:
            declared = filled, self._config.streams[filled]
        else:
            await self._ensure_storing(bus, subject)
        name, doubts = await check_dead_letter(
            bus,
            trigger=trigger,
            subject=subject,
            stream=config.stream,
            filter_subjects=consumer.filter_subjects,
            ack_wait=max(consumer.backoff or (consumer.ack_wait,)),
            longest_delay=max(config.retry.delays),
            declared=declared,
            note=partial(self._note, bus),
        )
        for doubt in doubts:
            if doubt not in self._doubts:
                self._doubts.add(doubt)
                self._tell(Warned(trigger, doubt, {}))
        return name

    def _note(self, bus: Bus, what: str, changed: Changed) -> None:
        if changed is not Changed.UNCHANGED:
            self._tell(Ensured(bus.name, what, str(changed)))


def _told_by(a_trigger: bool) -> AbstractContextManager[None]:
    return suppress(TopologyError, NotFoundError) if a_trigger else nullcontext()
