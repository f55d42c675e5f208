"""What a server has that a configuration neither declares nor needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.provisioning.advisories import advisory_subject_of, is_advisory_consumer
from eventbus_runtime.provisioning.plan import BusPlan
from eventbus_runtime.provisioning.rules import in_units
from eventbus_runtime.provisioning.server import Stored, is_internal
from eventbus_runtime.subjects import any_covers


class Unmanaged(NamedTuple):
    """One object.

    Args:
        stream: the stream, or the consumer's.
        consumer: the consumer's name; empty: it is the stream.
        messages: stored, or waiting for the consumer or in flight to it.
        size: bytes of the stream.
        what: how much is in it, for people.
    """

    stream: str
    consumer: str
    messages: int
    size: int
    what: str

    @property
    def label(self) -> str:
        """What it is, as "stream ORDERS"."""
        return f"consumer {self.consumer} of stream {self.stream}" if self.consumer else f"stream {self.stream}"


def unmanaged(plan: BusPlan, config: RuntimeConfig) -> tuple[Unmanaged, ...]:
    """The streams, and the durable consumers of declared streams, that nothing in the configuration names.

    Not those of key-value buckets and the like, nor what the runtime makes for itself, nor what stores the dead letters
    or the advisories of a trigger, nor what a declared stream copies from or by. Consumers of attach-only streams are
    somebody else's, as these are; those without a durable name go by themselves. What the file says of other buses
    counts as well: two of them can be one server.
    """
    sources = list(_sources(plan, config))
    used = {*config.streams, *_storing(plan, config), *(source["name"] for source in sources)}
    copying = {(source["name"], source["consumer"]["name"]) for source in sources if source.get("consumer")}
    return (
        *(
            _stream(name, stored)
            for name, stored in plan.server.streams.items()
            if name not in used and not is_internal(name)
        ),
        *(
            _consumer(name, info)
            for stream in plan.streams
            if stream.config.declare and stream.name in plan.server.streams
            for name, info in plan.server.streams[stream.name].consumers.items()
            if is_durable(info) and not is_advisory_consumer(name)
            if name not in config.consumers or config.consumers[name].stream != stream.name
            if (stream.name, name) not in copying
        ),
    )


def is_durable(info: Mapping[str, Any]) -> bool:
    """Whether a consumer, as CONSUMER.INFO says it, stays until somebody deletes it."""
    consumer = info.get("config") or {}
    return bool(consumer.get("durable_name")) and not (consumer.get("direct") or consumer.get("sourcing"))


def _storing(plan: BusPlan, config: RuntimeConfig) -> Iterator[str]:
    subjects = [
        subject
        for trigger in config.triggers.values()
        for subject in (trigger.dead_letter, advisory_subject_of(trigger.stream, trigger.consumer))
        if subject
    ]
    for name, stored in plan.server.streams.items():
        if any(any_covers(stored.config.get("subjects") or (), subject) for subject in subjects):
            yield name


def _sources(plan: BusPlan, config: RuntimeConfig) -> Iterator[Mapping[str, Any]]:
    declared = [one.to_server(name) for name, one in config.streams.items() if one.declare]
    for stream in (*declared, *(item.after or {} for item in plan.streams)):
        for source in (*(stream.get("sources") or ()), stream.get("mirror") or {}):
            if "name" in source and not source.get("external"):
                yield source


def _stream(name: str, stored: Stored) -> Unmanaged:
    messages, size = stored.state.get("messages", 0), stored.state.get("bytes", 0)
    consumers = stored.state.get("consumer_count", 0)
    what = f"{messages:,} messages, {in_units(size)}, {consumers} consumers"
    return Unmanaged(name, "", messages, size, what)


def _consumer(name: str, info: Mapping[str, Any]) -> Unmanaged:
    waiting, flying = info.get("num_pending", 0), info.get("num_ack_pending", 0)
    push = ", push" if (info.get("config") or {}).get("deliver_subject") else ""
    what = f"{waiting:,} messages wait for it, {flying:,} are in flight{push}"
    return Unmanaged(info["stream_name"], name, waiting + flying, 0, what)
