"""The origin's typed contracts (S-41, S-42), by their protobuf names and numbers.

What a message may hold is decided here; what a step or a module wants of it is decided there, and told by its name.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from eventbus_runtime import message as runtime
from eventbus_runtime.contracts.duration import Duration
from eventbus_runtime.contracts.fields import Contract, Number

PACKAGE = "workflow.plugin.eventbus.v1"
"""The protobuf package of all of these (S-40)."""

Int32: TypeAlias = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Int64: TypeAlias = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class RetentionPolicy(IntEnum):
    """When a stream drops what it stores."""

    RETENTION_POLICY_UNSPECIFIED = 0
    RETENTION_POLICY_LIMITS = 1
    RETENTION_POLICY_INTEREST = 2
    RETENTION_POLICY_WORKQUEUE = 3


class DeliverPolicy(IntEnum):
    """Where a new consumer begins."""

    DELIVER_POLICY_UNSPECIFIED = 0
    DELIVER_POLICY_ALL = 1
    DELIVER_POLICY_LAST = 2
    DELIVER_POLICY_NEW = 3
    DELIVER_POLICY_BY_START_SEQUENCE = 4
    DELIVER_POLICY_BY_START_TIME = 5


class AckPolicy(IntEnum):
    """What a consumer wants acknowledged."""

    ACK_POLICY_UNSPECIFIED = 0
    ACK_POLICY_EXPLICIT = 1
    ACK_POLICY_NONE = 2
    ACK_POLICY_ALL = 3


class KafkaSecurityProtocol(IntEnum):
    """How a Kafka client talks to its broker."""

    KAFKA_SECURITY_PROTOCOL_UNSPECIFIED = 0
    KAFKA_SECURITY_PROTOCOL_PLAINTEXT = 1
    KAFKA_SECURITY_PROTOCOL_SSL = 2
    KAFKA_SECURITY_PROTOCOL_SASL_PLAINTEXT = 3
    KAFKA_SECURITY_PROTOCOL_SASL_SSL = 4


class KafkaSaslMechanism(IntEnum):
    """How a Kafka client says who it is."""

    KAFKA_SASL_MECHANISM_UNSPECIFIED = 0
    KAFKA_SASL_MECHANISM_PLAIN = 1
    KAFKA_SASL_MECHANISM_SCRAM_SHA_256 = 2
    KAFKA_SASL_MECHANISM_SCRAM_SHA_512 = 3


class JetStreamConfig(Contract):
    """JetStream of a NATS cluster."""

    enabled: Annotated[bool, Number(1)] = Field(False, description="Whether JetStream is on.")
    max_storage_bytes: Annotated[Int64, Number(2, "int64")] = Field(0, description="Most bytes on disk; 0: no bound.")
    max_memory_bytes: Annotated[Int64, Number(3, "int64")] = Field(0, description="Most bytes in memory; 0: no bound.")
    max_age: Annotated[Duration | None, Number(4)] = Field(None, description="Most age of messages, for all streams.")


class KafkaConfig(Contract):
    """Settings of a Kafka cluster."""

    bootstrap_servers: Annotated[str, Number(1)] = Field("", description="Addresses, with commas between.")
    security_protocol: Annotated[KafkaSecurityProtocol, Number(2)] = Field(
        KafkaSecurityProtocol.KAFKA_SECURITY_PROTOCOL_UNSPECIFIED, description="How clients talk to it."
    )
    sasl_mechanism: Annotated[KafkaSaslMechanism, Number(3)] = Field(
        KafkaSaslMechanism.KAFKA_SASL_MECHANISM_UNSPECIFIED, description="How clients say who they are."
    )
    default_replication_factor: Annotated[Int32, Number(4, "int32")] = Field(0, description="Copies of a topic.")
    min_insync_replicas: Annotated[Int32, Number(5, "int32")] = Field(0, description="Copies that must confirm.")


class KinesisConfig(Contract):
    """Settings of a Kinesis stream."""

    region: Annotated[str, Number(1)] = Field("", description="AWS region.")
    shard_count: Annotated[Int32, Number(2, "int32")] = Field(0, description="Shards.")
    retention_period_hours: Annotated[Int32, Number(3, "int32")] = Field(0, description="Hours that records are kept.")


class ResourceLimits(Contract):
    """What a server may use."""

    cpu: Annotated[str, Number(1)] = Field("", description='Processor share, as "500m".')
    memory: Annotated[str, Number(2)] = Field("", description='Memory, as "512Mi".')
    storage: Annotated[str, Number(3)] = Field("", description='Disk, as "10Gi".')


class ClusterConfig(Contract):
    """A bus: config of `infra.eventbus`."""

    provider: Annotated[str, Number(1)] = Field("", description="What kind of broker it is: nats, kafka or kinesis.")
    deploy_target: Annotated[str, Number(2)] = Field("", description="Where it is put, as kubernetes.")
    version: Annotated[str, Number(3)] = Field("", description="Server version; empty: the one that is tested with.")
    replicas: Annotated[Int32, Number(4, "int32")] = Field(0, description="Servers; 0: one.")
    jetstream: Annotated[JetStreamConfig | None, Number(5)] = Field(None, description="JetStream; NATS alone.")
    kafka: Annotated[KafkaConfig | None, Number(6)] = Field(None, description="Kafka alone.")
    kinesis: Annotated[KinesisConfig | None, Number(7)] = Field(None, description="Kinesis alone.")
    limits: Annotated[ResourceLimits | None, Number(8)] = Field(None, description="What each server may use.")


class StreamConfig(Contract):
    """A stream: config of `infra.eventbus.stream`."""

    name: Annotated[str, Number(1)] = Field("", description="Name of the stream.")
    subjects: Annotated[tuple[str, ...], Number(2), BeforeValidator(_as_tuple)] = Field(
        (), description="Subjects that it stores."
    )
    retention_policy: Annotated[RetentionPolicy, Number(3)] = Field(
        RetentionPolicy.RETENTION_POLICY_UNSPECIFIED, description="When it drops what it stores; unspecified: limits."
    )
    num_replicas: Annotated[Int32, Number(4, "int32")] = Field(0, description="Copies; 0: one.")
    max_bytes: Annotated[Int64, Number(5, "int64")] = Field(0, description="Most bytes; 0: no bound.")
    max_age: Annotated[Duration | None, Number(6)] = Field(None, description="Most age of a message; absent: no bound.")
    ack_wait: Annotated[Duration | None, Number(7)] = Field(None, description="ack_wait of its consumers.")


class ConsumerConfig(Contract):
    """A durable consumer: config of `infra.eventbus.consumer` and of `trigger.eventbus.subscribe`."""

    name: Annotated[str, Number(1)] = Field("", description="Name of the durable consumer.")
    stream_name: Annotated[str, Number(2)] = Field("", description="Its stream.")
    filter_subject: Annotated[str, Number(3)] = Field("", description="What it gets of the stream; empty: all.")
    deliver_policy: Annotated[DeliverPolicy, Number(4)] = Field(
        DeliverPolicy.DELIVER_POLICY_UNSPECIFIED, description="Where it begins; unspecified: all."
    )
    ack_policy: Annotated[AckPolicy, Number(5)] = Field(
        AckPolicy.ACK_POLICY_UNSPECIFIED, description="What must be acknowledged; unspecified: explicit."
    )
    max_deliver: Annotated[Int32, Number(6, "int32")] = Field(0, description="Most deliveries; 0: no bound.")


class PublishRequest(Contract):
    """Input of `step.eventbus.publish`."""

    subject: Annotated[str, Number(1)] = Field("", description="Where to; required.")
    payload: Annotated[bytes, Number(2)] = Field(b"", description="The body.")
    headers: Annotated[dict[str, str], Number(3)] = Field({}, description="Headers, one value each.")
    correlation_id: Annotated[str, Number(4)] = Field("", description="Becomes the header Nats-Correlation-Id.")


class PublishResponse(Contract):
    """Output of `step.eventbus.publish`."""

    sequence: Annotated[str, Number(1)] = Field("", description="Sequence in the stream, decimal.")
    acked_at: Annotated[str, Number(2)] = Field("", description="When it was confirmed: RFC 3339, UTC.")


class ConsumeRequest(Contract):
    """Input of `step.eventbus.consume`."""

    consumer: Annotated[str, Number(1)] = Field("", description="The consumer, which must be declared; required.")
    batch_size: Annotated[Int32, Number(2, "int32")] = Field(0, description="Most messages: 1 to 1000; 0: one.")
    max_wait: Annotated[Duration | None, Number(3)] = Field(None, description="How long to wait for them; absent: 5 s.")


class Message(Contract):
    """A message as consume and the trigger give it (S-53)."""

    subject: Annotated[str, Number(1)] = Field("", description="The subject that it was published to.")
    payload: Annotated[bytes, Number(2)] = Field(b"", description="The body.")
    headers: Annotated[dict[str, str], Number(3)] = Field({}, description="Headers, the first value of each.")
    sequence: Annotated[str, Number(4)] = Field("", description="Sequence in the stream, decimal.")
    published_at: Annotated[str, Number(5)] = Field("", description="When the stream stored it: RFC 3339, UTC.")
    ack_token: Annotated[str, Number(6)] = Field("", description="The reply subject that settles this delivery.")

    @classmethod
    def of(cls, message: runtime.Message) -> Message:
        """A delivered message, as the contract has it. Its parts are what the server sent: nothing to validate."""
        return cls.trusted(message.as_dict())


class ConsumeResponse(Contract):
    """Output of `step.eventbus.consume`."""

    messages: Annotated[tuple[Message, ...], Number(1), BeforeValidator(_as_tuple)] = Field(
        (), description="What came in time; none is no error."
    )


class AckRequest(Contract):
    """Input of `step.eventbus.ack`. Refuses what is no JetStream acknowledgement subject, so that nobody can be made to
    publish elsewhere (S-32)."""

    ack_token: Annotated[str, Number(1), AfterValidator(runtime.check_ack_subject)] = Field(
        description="The reply subject of the delivery; required.", json_schema_extra={"pattern": r"^\$JS\.ACK\."}
    )


class AckResponse(Contract):
    """Output of `step.eventbus.ack`: nothing."""
