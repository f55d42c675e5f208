"""Names and numbers, compared with a table that was written from the origin's rules and not from the models."""

from __future__ import annotations

from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from eventbus_runtime.contracts import CONTRACTS, ClusterConfig
from eventbus_runtime.contracts.wire import file_descriptor_set, full_name

FIELDS = """
ClusterConfig: provider 1 string, deploy_target 2 string, version 3 string, replicas 4 int32, jetstream 5
  JetStreamConfig, kafka 6 KafkaConfig, kinesis 7 KinesisConfig, limits 8 ResourceLimits
JetStreamConfig: enabled 1 bool, max_storage_bytes 2 int64, max_memory_bytes 3 int64, max_age 4 Duration
ResourceLimits: cpu 1 string, memory 2 string, storage 3 string
StreamConfig: name 1 string, subjects 2 repeated string, retention_policy 3 RetentionPolicy, num_replicas 4 int32,
  max_bytes 5 int64, max_age 6 Duration, ack_wait 7 Duration
ConsumerConfig: name 1 string, stream_name 2 string, filter_subject 3 string, deliver_policy 4 DeliverPolicy,
  ack_policy 5 AckPolicy, max_deliver 6 int32
PublishRequest: subject 1 string, payload 2 bytes, headers 3 repeated HeadersEntry, correlation_id 4 string
PublishResponse: sequence 1 string, acked_at 2 string
ConsumeRequest: consumer 1 string, batch_size 2 int32, max_wait 3 Duration
ConsumeResponse: messages 1 repeated Message
Message: subject 1 string, payload 2 bytes, headers 3 repeated HeadersEntry, sequence 4 string, published_at 5 string,
  ack_token 6 string
AckRequest: ack_token 1 string
AckResponse:
KafkaConfig: bootstrap_servers 1 string, security_protocol 2 KafkaSecurityProtocol, sasl_mechanism 3
  KafkaSaslMechanism, default_replication_factor 4 int32, min_insync_replicas 5 int32
KinesisConfig: region 1 string, shard_count 2 int32, retention_period_hours 3 int32
"""

ENUMS = """
RetentionPolicy: RETENTION_POLICY_ UNSPECIFIED 0, LIMITS 1, INTEREST 2, WORKQUEUE 3
DeliverPolicy: DELIVER_POLICY_ UNSPECIFIED 0, ALL 1, LAST 2, NEW 3, BY_START_SEQUENCE 4, BY_START_TIME 5
AckPolicy: ACK_POLICY_ UNSPECIFIED 0, EXPLICIT 1, NONE 2, ALL 3
KafkaSecurityProtocol: KAFKA_SECURITY_PROTOCOL_ UNSPECIFIED 0, PLAINTEXT 1, SSL 2, SASL_PLAINTEXT 3, SASL_SSL 4
KafkaSaslMechanism: KAFKA_SASL_MECHANISM_ UNSPECIFIED 0, PLAIN 1, SCRAM_SHA_256 2, SCRAM_SHA_512 3
"""

CONTRACT_TABLE = """
module infra.eventbus: ClusterConfig - -
module infra.eventbus.stream: StreamConfig - -
module infra.eventbus.consumer: ConsumerConfig - -
step step.eventbus.publish: - PublishRequest PublishResponse
step step.eventbus.consume: - ConsumeRequest ConsumeResponse
step step.eventbus.ack: - AckRequest AckResponse
trigger trigger.eventbus.subscribe: ConsumerConfig - Message
"""


def table(text: str) -> dict[str, list[str]]:
    """The lines of a table: what stands before the colon, and what behind it. An indented line goes on with another."""
    lines = [line.partition(":") for line in text.strip().replace("\n  ", " ").splitlines()]
    return {name: [part.strip() for part in rest.split(",") if part.strip()] for name, _, rest in lines}


def written(field: FieldDescriptorProto) -> str:
    """A field as the table has it."""
    kind = (
        field.type_name.rpartition(".")[2] or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    repeated = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    return f"{field.name} {field.number} {repeated}{kind}"


def described(generated: ModuleType | None) -> FileDescriptorProto:
    """The package's file: of protobuf's compiler, or of ours."""
    if generated is None:
        return file_descriptor_set().file[-1]
    found = FileDescriptorProto()
    generated.DESCRIPTOR.CopyToProto(found)
    return found


@pytest.mark.seed("S-41")
@pytest.mark.parametrize("compiled", [False, True], ids=["descriptors", "compiled"])
def test_messages_have_the_fields_and_numbers_of_the_origin(compiled: bool, generated: ModuleType) -> None:
    """S-41."""
    file = described(generated if compiled else None)
    assert file.package == "workflow.plugin.eventbus.v1"
    assert {one.name: [written(field) for field in one.field] for one in file.message_type} == table(FIELDS)


@pytest.mark.seed("S-42")
@pytest.mark.parametrize("compiled", [False, True], ids=["descriptors", "compiled"])
def test_enums_have_the_names_and_numbers_of_the_origin(compiled: bool, generated: ModuleType) -> None:
    """S-42: 0 is always unspecified."""
    file = described(generated if compiled else None)
    wanted = {}
    for name, (first, *rest) in table(ENUMS).items():
        prefix, _, unspecified = first.partition(" ")
        wanted[name] = [f"{prefix}{value}" for value in (unspecified, *rest)]
    assert {one.name: [f"{value.name} {value.number}" for value in one.value] for one in file.enum_type} == wanted


@pytest.mark.seed("S-40")
def test_there_are_seven_contracts_with_the_messages_of_the_origin() -> None:
    """S-40."""
    lines = []
    for spec in CONTRACTS:
        held = (spec.config, spec.input, spec.output)
        lines.append(f"{spec.kind} {spec.name}: {' '.join(one.__name__ if one else '-' for one in held)}")
    assert lines == CONTRACT_TABLE.strip().splitlines()
    assert full_name(ClusterConfig) == "workflow.plugin.eventbus.v1.ClusterConfig"
