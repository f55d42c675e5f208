"""The sections of a configuration to and from the contracts, in this one place.

A value that has no place on the other side is an error that names its field, unless it is the default; no error shows a
value, since a bus holds secrets. Three things have their place elsewhere:

- A stream's name and a consumer's are the keys of their tables, and a stream's `bus` is where it is declared: who calls
  gives and takes them.
- `StreamConfig.ack_wait` is of the stream's consumers, where alone a server has it. `to_stream` passes it over,
  `to_consumer` takes it.
- `JetStreamConfig.max_age` is of the streams that say none themselves. `to_bus` passes it over, `to_stream` takes it.

Numbers that are not positive stand for what an unset one does (S-8, S-13, S-41): one server, one copy, no bound. What a
contract leaves unset the section leaves out, so that a stream or consumer that is there already keeps what it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from eventbus_runtime.config import model as config_model
from eventbus_runtime.config import objects
from eventbus_runtime.contracts.duration import Duration
from eventbus_runtime.contracts.fields import Contract
from eventbus_runtime.contracts.model import (
    AckPolicy,
    ClusterConfig,
    ConsumerConfig,
    DeliverPolicy,
    JetStreamConfig,
    KafkaConfig,
    KinesisConfig,
    ResourceLimits,
    RetentionPolicy,
    StreamConfig,
)
from eventbus_runtime.contracts.told import below, validated
from eventbus_runtime.errors import ContractError

M = TypeVar("M", bound=BaseModel)

_RETENTION = {
    RetentionPolicy.RETENTION_POLICY_LIMITS: "limits",
    RetentionPolicy.RETENTION_POLICY_INTEREST: "interest",
    RetentionPolicy.RETENTION_POLICY_WORKQUEUE: "workqueue",
}
_ACK = {
    AckPolicy.ACK_POLICY_EXPLICIT: "explicit",
    AckPolicy.ACK_POLICY_NONE: "none",
    AckPolicy.ACK_POLICY_ALL: "all",
}
_DELIVER = {
    DeliverPolicy.DELIVER_POLICY_ALL: "all",
    DeliverPolicy.DELIVER_POLICY_LAST: "last",
    DeliverPolicy.DELIVER_POLICY_NEW: "new",
}
_LONGEST = 2**63 - 1


def to_bus(config: ClusterConfig) -> config_model.BusConfig:
    """A bus as `[buses.NAME]` declares it. Without `jetstream` it has none.

    Raises:
        ContractError: it has no provider, or settings of Kafka or Kinesis, for which a section has no keys.
    """
    if not config.provider:
        raise ContractError("ClusterConfig: provider: is required")
    for name, default in (("kafka", KafkaConfig()), ("kinesis", KinesisConfig())):
        if getattr(config, name) not in (None, default):
            raise ContractError(f"ClusterConfig: {name}: a bus of this runtime has no such settings; leave it out")
    jetstream, limits = config.jetstream or JetStreamConfig(), config.limits or ResourceLimits()
    return config_model.BusConfig(
        provider=config.provider,
        deploy_target=config.deploy_target or None,
        version=config.version,
        replicas=config.replicas,
        jetstream=config_model.JetStreamLimits(
            enabled=jetstream.enabled,
            max_storage_bytes=max(0, jetstream.max_storage_bytes),
            max_memory_bytes=max(0, jetstream.max_memory_bytes),
        ),
        limits=config_model.ResourceLimits(**limits.model_dump()),
    )


def from_bus(config: config_model.BusConfig) -> ClusterConfig:
    """The contract of a bus: how it is provisioned.

    Raises:
        ContractError: it says how to connect (`url`, `auth` and the like), of which a contract knows nothing.
    """
    known = {"provider", "deploy_target", "version", "replicas", "jetstream", "limits"}
    _refuse_others(config, known, ClusterConfig, config_model.BusConfig())
    jetstream = {name: max(0, value) for name, value in config.jetstream.model_dump(mode="python").items()}
    limits = config.limits.model_dump()
    return validated(
        ClusterConfig,
        {
            "provider": config.provider,
            "deploy_target": config.deploy_target or "",
            "version": config.version,
            "replicas": config.replicas,
            "jetstream": {**jetstream, "enabled": config.jetstream.enabled} if any(jetstream.values()) else None,
            "limits": limits if any(limits.values()) else None,
        },
    )


def to_stream(config: StreamConfig, *, bus: str = "", max_age: Duration | None = None) -> objects.StreamConfig:
    """A stream as `[streams.NAME]` declares it, under its name; without its `ack_wait`.

    Args:
        config: the contract.
        bus: on which it is.
        max_age: of its bus's `jetstream`, if the stream has none of its own.

    Raises:
        ContractError: no stream can bear its name, it has no subjects or one that is none, or a number is out of range.
    """
    _check_name(config)
    _time(config, "ack_wait", config.ack_wait)
    if not config.subjects:
        raise ContractError("StreamConfig: subjects: at least one is required")
    values = {
        "bus": bus,
        "subjects": config.subjects,
        "retention": _RETENTION.get(config.retention_policy),
        "num_replicas": config.num_replicas if config.num_replicas > 0 else None,
        "max_bytes": config.max_bytes if config.max_bytes > 0 else None,
        "max_age": _time(config, "max_age", config.max_age or max_age),
    }
    return _made(objects.StreamConfig, values, config, {"retention": "retention_policy"})


def from_stream(name: str, config: objects.StreamConfig) -> StreamConfig:
    """The contract of a stream.

    Args:
        name: of the stream.
        config: its section.

    Raises:
        ContractError: it sets what a contract has no field for, as `storage` or `declare`.
    """
    known = {"bus", "subjects", "retention", "num_replicas", "max_bytes", "max_age"}
    _refuse_others(config, known, StreamConfig, objects.StreamConfig(subjects=(">",)))
    return validated(
        StreamConfig,
        {
            "name": name,
            "subjects": config.subjects,
            "retention_policy": RetentionPolicy[f"RETENTION_POLICY_{config.retention.upper()}"],
            "num_replicas": config.num_replicas,
            "max_bytes": max(0, config.max_bytes),
            "max_age": Duration.of(config.max_age) if config.max_age else None,
        },
    )


def to_consumer(config: ConsumerConfig, *, ack_wait: Duration | None = None) -> objects.ConsumerConfig:
    """A consumer as `[consumers.NAME]` declares it, under its name.

    Args:
        config: the contract.
        ack_wait: of its stream's contract; absent: the server's choice.

    Raises:
        ContractError: no consumer can bear its name, it has no stream, its filter is no subject, or it begins at a
            place that the contract can't say.
    """
    _check_name(config)
    if not config.stream_name:
        raise ContractError("ConsumerConfig: stream_name: is required")
    if config.deliver_policy and config.deliver_policy not in _DELIVER:
        raise ContractError(
            f"ConsumerConfig: deliver_policy: {config.deliver_policy.name} needs a sequence or time to begin at, for "
            "which a contract has no field; declare it in a configuration, with opt_start_seq or opt_start_time"
        )
    values = {
        "stream": config.stream_name,
        "filter_subject": config.filter_subject or None,
        "deliver_policy": _DELIVER.get(config.deliver_policy),
        "ack_policy": _ACK.get(config.ack_policy),
        "ack_wait": _time(config, "ack_wait", ack_wait),
        "max_deliver": config.max_deliver if config.max_deliver > 0 else None,
    }
    return _made(objects.ConsumerConfig, values, config, {"stream": "stream_name"})


def from_consumer(name: str, config: objects.ConsumerConfig) -> ConsumerConfig:
    """The contract of a consumer.

    Args:
        name: of the consumer.
        config: its section.

    Raises:
        ContractError: it sets what a contract has no field for: several filters, `ack_wait`, a sequence or a time
            to begin at.
    """
    known = {"stream", "filter_subject", "filter_subjects", "deliver_policy", "ack_policy", "max_deliver"}
    _refuse_others(config, known, ConsumerConfig, objects.ConsumerConfig())
    filters = config.filter_subjects or ((config.filter_subject,) if config.filter_subject else ())
    if len(filters) > 1:
        raise ContractError("ConsumerConfig has no place for filter_subjects: it takes one filter")
    deliver = {word: policy for policy, word in _DELIVER.items()}.get(config.deliver_policy)
    if deliver is None:
        raise ContractError(f"ConsumerConfig has no place for deliver_policy {config.deliver_policy}")
    return validated(
        ConsumerConfig,
        {
            "name": name,
            "stream_name": config.stream,
            "filter_subject": filters[0] if filters else "",
            "deliver_policy": deliver,
            "ack_policy": AckPolicy[f"ACK_POLICY_{config.ack_policy.upper()}"],
            "max_deliver": max(0, config.max_deliver),
        },
    )


def _check_name(config: StreamConfig | ConsumerConfig) -> None:
    kind = type(config).__name__
    if not config.name:
        raise ContractError(f"{kind}: name: is required")
    try:
        objects.check_name(config.name)
    except ValueError as error:
        raise ContractError(f"{kind}: name: {error}") from None


def _time(config: Contract, name: str, duration: Duration | None) -> str | None:
    """A duration as a section's reader takes it without loss; None for none.

    Raises:
        ContractError: no server takes it.
    """
    total = duration.nanoseconds if duration else 0
    if not 0 <= total <= _LONGEST:
        raise ContractError(
            f"{type(config).__name__}: {name}: {duration} is out of range; a server takes 0 or more, at most 292 years"
        )
    return f"{total}ns" if total else None


def _made(model: type[M], values: Mapping[str, Any], source: Contract, names: Mapping[str, str]) -> M:
    """A section, by way of its checks; errors name the contract's fields.

    Args:
        model: what is made.
        values: of its fields; None is left out, so that the server, or what is there already, decides.
        source: the contract's value.
        names: the contract's name of a field, where it is another one.
    """
    try:
        return model.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        parts = []
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            at = ""
            for place in one["loc"]:
                at = below(at, names.get(str(place), place))
            text = one["msg"].removeprefix("Value error, ")
            parts.append(f"{at}: {text}" if at else text)
        raise ContractError(f"{type(source).__name__}: {'; '.join(parts)}") from None


def _refuse_others(config: BaseModel, known: Iterable[str], contract: type[Contract], default: BaseModel) -> None:
    others = set(type(config).model_fields) - set(known)
    if found := sorted(name for name in others if getattr(config, name) != getattr(default, name)):
        raise ContractError(
            f"{contract.__name__} has no place for {', '.join(found)}; leave that out, or at its default"
        )
