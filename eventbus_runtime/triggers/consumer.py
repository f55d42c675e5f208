"""The consumer of one trigger: found, made where it is declared and missing, and checked for what a trigger needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.buses.questions import ask_consumer
from eventbus_runtime.config.model import TriggerConfig
from eventbus_runtime.errors import EventbusError, NotFoundError, TriggerError

Prepare: TypeAlias = Callable[[int | None], Awaitable[str | None]]
"""Makes the trigger's stream, consumer and dead-letter stream, as far as they are declared, and returns the name of the
last. The argument: the stream sequence from which a lost consumer goes on; None where that is not known."""

_ELECTION = 15.0
_SHORT_TOKEN = 8  # dots of an ack token without a domain


def denied_name(subject: str, pulls: str) -> str | None:
    """What a consumer's pull subject, or all of its ack subjects, is called, where `subject` is one of them.

    Args:
        subject: a subject that the server does not permit, in lower case.
        pulls: the consumer's pull subject.
    """
    if subject == pulls.lower():
        return pulls
    both = ".".join(pulls.split(".")[-2:])
    if not subject.startswith("$js.ack.") or f".{both.lower()}." not in subject:
        return None
    return f"$JS.ACK.{'*.*.' if subject.count('.') > _SHORT_TOKEN else ''}{both}.>"


class ConsumerFinder:
    """What is known of the consumer, as of the last look.

    Args:
        config: the trigger's configuration.
        bus: its bus.
        prepare: see `Prepare`.
        lost: called when the consumer is gone, or is another one of its name.
        warn: told what an operator should know.
    """

    def __init__(
        self,
        config: TriggerConfig,
        bus: Bus,
        prepare: Prepare,
        *,
        lost: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self.consumer: ConsumerInfo | None = None
        self.shortest_window = 30.0
        """Seconds after which, at the earliest, the server delivers again what is not settled."""
        self.dead_letter_stream: str | None = None
        """Stores the dead letters (`Nats-Expected-Stream`)."""
        self.stale: Callable[[], None] = lambda: None
        """Called when what is known may not be so any more."""
        self._bus, self._prepare, self._lost, self._warn = bus, prepare, lost, warn
        self.limited: Callable[[ConsumerInfo], Awaitable[None]] | None = None
        """Told of one with a finite `max_deliver`, at each look; may raise what `look` does."""
        self._stream, self._name = config.stream, config.consumer
        self._prepared = False
        self._warned_of_elections = False

    async def ask(self) -> ConsumerInfo:
        """What the server says of it now; see `ask_consumer`."""
        return await ask_consumer(self._bus, self._stream, self._name)

    async def look(self) -> ConsumerInfo:
        """Find it; make it, and what it needs, where it is declared and missing.

        Raises:
            BusError: the server can't be asked, or it is not declared and not there.
            TriggerError: no trigger can pull from it.
            TopologyError: what it needs can't be made as declared.
        """
        before = self.consumer
        resume_at = None if before is None else before.ack_floor + 1
        if not self._prepared:
            try:
                self.dead_letter_stream = await self._prepare(resume_at)
                self._prepared = True
            except EventbusError as error:
                if before is None:
                    raise
                self._warn(str(error))  # what needs no dead letter goes on; tried again at the next look
        try:
            consumer = await self.ask()
        except NotFoundError:
            self._lost()
            self.dead_letter_stream = await self._prepare(resume_at)
            consumer = await self.ask()
        self._check(consumer)
        if before is not None and consumer.is_anew(before):
            self._lost()
        if consumer.max_deliver > 0 and self.limited is not None:
            await self.limited(consumer)
        self.consumer, self.shortest_window = consumer, consumer.shortest_window
        return consumer

    def no_dead_letters(self) -> None:
        """The dead-letter stream is gone, or another one stores the subject: see to it soon."""
        if self._prepared:
            self._prepared = False
            self.stale()

    def window(self, attempt: int) -> float:
        """Seconds after which the server delivers again what is not settled in this attempt, from 1."""
        return self.consumer.window(attempt) if self.consumer is not None else 30.0

    def _check(self, consumer: ConsumerInfo) -> None:
        if consumer.is_push:
            raise TriggerError(
                f"consumer {consumer.name} of {consumer.stream} is push based; a trigger needs a pull one"
            )
        if consumer.ack_policy != "explicit":
            raise TriggerError(
                f"consumer {consumer.name} of {consumer.stream} has ack_policy {consumer.ack_policy}; "
                "a trigger needs explicit, since with any other one ack settles what others still work on"
            )
        if consumer.num_replicas > 1 and consumer.shortest_window < _ELECTION and not self._warned_of_elections:
            self._warned_of_elections = True
            self._warn(
                f"consumer {consumer.name} has {consumer.num_replicas} replicas, and delivers again after "
                f"{consumer.shortest_window:g} s: an election takes 4 to 9 s, in which no progress is heard; "
                f"give it an ack_wait of {_ELECTION:g} s or more"
            )
