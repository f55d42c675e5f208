"""Streams and consumers as abstract resources (S-13), for who provisions without the runtime's own `apply`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.resources import Resource, State

_RETENTION = ("limits", "interest", "workqueue")
_LABELS = {"provider": "nats"}


class StreamSpec(NamedTuple):
    """A stream; durations in nanoseconds, 0 for those that are not set.

    Args:
        name: of the stream.
        subjects: at least one.
        retention: the server's word; empty: limits.
        num_replicas: servers that keep a copy; not positive: 1.
        max_bytes: most bytes kept, as declared.
        max_age: of a message.
        ack_wait: of its consumers, where the declaration says it of the stream (S-41).
    """

    name: str
    subjects: tuple[str, ...]
    retention: str = ""
    num_replicas: int = 0
    max_bytes: int = 0
    max_age: int = 0
    ack_wait: int = 0


class ConsumerSpec(NamedTuple):
    """A durable pull consumer; durations in nanoseconds.

    Args:
        name: of the consumer.
        stream: that it reads.
        filter_subjects: only these; empty: all.
        deliver_policy, ack_policy: the server's words.
        ack_wait: 0: the server's choice.
        max_deliver: deliveries of one message; not positive: no limit.
        max_ack_pending: 0: the server's choice.
    """

    name: str
    stream: str
    filter_subjects: tuple[str, ...] = ()
    deliver_policy: str = "all"
    ack_policy: str = "explicit"
    ack_wait: int = 0
    max_deliver: int = 0
    max_ack_pending: int = 0


class Declared(NamedTuple):
    """What a configuration declares on one bus."""

    streams: tuple[StreamSpec, ...]
    consumers: tuple[ConsumerSpec, ...]


def declared(config: RuntimeConfig, bus: str) -> Declared:
    """The streams of a bus, and their consumers; not those that are only attached to, nor streams that copy others and
    have no subjects: an abstract stream can't say from where.

    Args:
        config: complete.
        bus: which one.
    """
    streams = {name: one for name, one in config.streams.items() if one.bus == bus}
    return Declared(
        tuple(
            StreamSpec(name, one.subjects, one.retention, one.num_replicas, one.max_bytes, one.max_age)
            for name, one in streams.items()
            if one.declare and one.subjects
        ),
        tuple(
            ConsumerSpec(
                name,
                one.stream,
                one.filter_subjects or ((one.filter_subject,) if one.filter_subject else ()),
                one.deliver_policy,
                one.ack_policy,
                one.backoff[0] if one.backoff else one.ack_wait,
                one.max_deliver,
                one.max_ack_pending,
            )
            for name, one in config.consumers.items()
            if one.declare and one.stream in streams
        ),
    )


def stream_resources(
    streams: Iterable[StreamSpec | None], state: State, consumers: Iterable[ConsumerSpec | None] = ()
) -> tuple[Resource, ...]:
    """One `nats.stream_create` for each stream, then one `nats.consumer_create` for each consumer (S-13).

    A missing entry is skipped. Where the state's `uri` is a secret, or holds one, `server_uri_output` names that output
    in place of `server_uri`: resources are shown in plans (S-3).

    Raises:
        ConfigError: an entry has no name (says its index), no subjects or no stream (says its name), or a retention
            that the server does not know.
    """
    server = _server(state)
    return (
        *(_stream(*one, server) for one in _there(streams)),
        *(_consumer(*one, server) for one in _there(consumers)),
    )


def go_duration(nanoseconds: int) -> str:
    """A duration as Go writes it (`time.Duration.String`): "72h0m0s", "1.5s", "300ms", "0s".

    Args:
        nanoseconds: 0 or more.
    """
    if nanoseconds < 10**9:
        for unit, length in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if nanoseconds >= length:
                return f"{_decimal(nanoseconds, length)}{unit}"
        return "0s"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 10**9)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    digits = f"{part:0{len(str(unit)) - 1}d}".rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)


_T = TypeVar("_T")


def _there(entries: Iterable[_T | None]) -> Iterator[tuple[int, _T]]:
    return ((index, entry) for index, entry in enumerate(entries) if entry is not None)


def _server(state: State) -> dict[str, str]:
    uri = state.value("uri")
    if not uri:
        return {}
    return {"server_uri_output": "uri"} if state["uri"].sensitive or "@" in uri else {"server_uri": uri}


def _stream(index: int, stream: StreamSpec, server: dict[str, str]) -> Resource:
    if not stream.name:
        raise ConfigError(f"streams[{index}] has no name")
    if not stream.subjects:
        raise ConfigError(f"stream {stream.name} has no subjects; give it at least one")
    if stream.retention and stream.retention not in _RETENTION:
        raise ConfigError(
            f'stream {stream.name}: retention "{stream.retention}" is unknown; known: {", ".join(_RETENTION)}'
        )
    properties = {
        "name": stream.name,
        "subjects": ",".join(stream.subjects),
        "retention_policy": stream.retention or _RETENTION[0],
        "num_replicas": str(max(1, stream.num_replicas)),
        "max_bytes": str(stream.max_bytes),
        **server,
        **_durations(max_age=stream.max_age, ack_wait=stream.ack_wait),
    }
    return Resource("nats.stream_create", stream.name, properties, _LABELS)


def _consumer(index: int, consumer: ConsumerSpec, server: dict[str, str]) -> Resource:
    if not consumer.name:
        raise ConfigError(f"consumers[{index}] has no name")
    if not consumer.stream:
        raise ConfigError(f"consumer {consumer.name} has no stream; name the one that it reads")
    properties = {
        "name": consumer.name,
        "stream_name": consumer.stream,
        "filter_subjects": ",".join(consumer.filter_subjects),
        "deliver_policy": consumer.deliver_policy,
        "ack_policy": consumer.ack_policy,
        "max_deliver": str(consumer.max_deliver if consumer.max_deliver > 0 else -1),
        "max_ack_pending": str(consumer.max_ack_pending) if consumer.max_ack_pending else "",
        **server,
        **_durations(ack_wait=consumer.ack_wait),
    }
    return Resource(
        "nats.consumer_create", consumer.name, {key: value for key, value in properties.items() if value}, _LABELS
    )


def _durations(**nanoseconds: int) -> dict[str, str]:
    return {key: go_duration(value) for key, value in nanoseconds.items() if value > 0}
