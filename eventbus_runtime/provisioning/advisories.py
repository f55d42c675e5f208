"""Where the server's MAX_DELIVERIES advisories are stored, without which a finite `max_deliver` loses messages.

They are plain messages, lost where nobody listens; on the last delivery a worker that dies would lose its message in
silence. So a consumer with a limit is refused unless a stream keeps them.
"""

from __future__ import annotations

from typing import Final

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.buses.questions import ask, streams_storing
from eventbus_runtime.config.model import TriggerConfig
from eventbus_runtime.config.objects import ConsumerConfig
from eventbus_runtime.errors import TopologyError

_ADVISORIES: Final = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"

_READER: Final = "exhausted--"

_STREAM: Final = f"""
[streams.ADVISORIES]
subjects = ["{_ADVISORIES}.>"]
max_age = "30d\""""


def advisory_subject(consumer: ConsumerInfo) -> str:
    """Where the server tells that it gave up a message of a consumer. No API prefix or domain changes it."""
    return advisory_subject_of(consumer.stream, consumer.name)


def advisory_subject_of(stream: str, consumer: str) -> str:
    """The same, by names."""
    return f"{_ADVISORIES}.{stream}.{consumer}"


def is_advisory_consumer(name: str) -> bool:
    """Whether a consumer of this name is one that the runtime has made to read advisories."""
    return name.startswith(_READER)


def advisory_consumer(stream: str, consumer: ConsumerInfo) -> tuple[str, ConsumerConfig]:
    """The durable consumer of stream `stream` that brings the advisories of `consumer`: its name, and its declaration.
    All instances share it."""
    what = f"consumer {consumer.name} of stream {consumer.stream}"
    config = ConsumerConfig(
        stream=stream,
        description=f"What used up max_deliver of the {what}",
        filter_subjects=(advisory_subject(consumer),),
    )
    return f"{_READER}{consumer.stream}--{consumer.name}", config


async def advisory_stream(bus: Bus, trigger: str, config: TriggerConfig, consumer: ConsumerInfo) -> str:
    """The stream that stores the advisories of a trigger's consumer, which has a finite `max_deliver`.

    Args:
        bus: the trigger's bus.
        trigger: its name.
        config: its configuration.
        consumer: its consumer, as the server has it.

    Raises:
        TopologyError: there is none, or it could lose some, or the trigger has no end for what is given up.
        BusUnavailableError: no answer.
    """
    limit = (
        f"the consumer {consumer.name} of stream {consumer.stream} has max_deliver = {consumer.max_deliver}, and what "
        f"a worker that dies on the last delivery leaves behind would be lost in silence, since"
    )
    lift = (
        f"lift the limit (leave max_deliver out of [consumers.{consumer.name}], or, for one made by hand: "
        f"nats consumer edit {consumer.stream} {consumer.name} --max-deliver=-1)"
    )
    if config.dead_letter is None and config.on_exhausted != "terminate":
        raise TopologyError(
            f"{limit} the trigger {trigger} has no end for it: {lift}, or give [triggers.{trigger}] a dead_letter"
        )
    subject = advisory_subject(consumer)
    names = await streams_storing(bus, subject)
    if not names:
        raise TopologyError(f"{limit} no stream stores {subject}: {lift}, or declare such a stream:{_STREAM}")
    name: str = names[0]
    kept = (await ask(bus, f"STREAM.INFO.{name}"))["config"].get("max_msgs_per_subject", -1)
    if kept > 0:
        raise TopologyError(
            f"{limit} the stream {name} keeps {kept} messages of {subject} (max_msgs_per_subject): "
            f"lift that limit of {name}, or {lift}"
        )
    return name
