"""The origin's typed contracts: their models, the registry of the seven, and what is written from them."""

from eventbus_runtime.contracts.duration import Duration
from eventbus_runtime.contracts.fields import Contract
from eventbus_runtime.contracts.model import (
    AckPolicy,
    AckRequest,
    AckResponse,
    ClusterConfig,
    ConsumerConfig,
    ConsumeRequest,
    ConsumeResponse,
    DeliverPolicy,
    JetStreamConfig,
    KafkaConfig,
    KafkaSaslMechanism,
    KafkaSecurityProtocol,
    KinesisConfig,
    Message,
    PublishRequest,
    PublishResponse,
    ResourceLimits,
    RetentionPolicy,
    StreamConfig,
)
from eventbus_runtime.contracts.registry import CONTRACTS, Spec

__all__ = [
    "CONTRACTS",
    "AckPolicy",
    "AckRequest",
    "AckResponse",
    "ClusterConfig",
    "ConsumeRequest",
    "ConsumeResponse",
    "ConsumerConfig",
    "Contract",
    "DeliverPolicy",
    "Duration",
    "JetStreamConfig",
    "KafkaConfig",
    "KafkaSaslMechanism",
    "KafkaSecurityProtocol",
    "KinesisConfig",
    "Message",
    "PublishRequest",
    "PublishResponse",
    "ResourceLimits",
    "RetentionPolicy",
    "Spec",
    "StreamConfig",
]
