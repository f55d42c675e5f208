"""What the process says of itself: manifest, types, schemas, contracts (S-20, S-40, S-60, S-61)."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pb2

from eventbus_runtime.contracts.registry import CONTRACTS
from eventbus_runtime.plugin import describe
from eventbus_runtime.plugin.messages import number
from eventbus_runtime.plugin.types import Types
from tests.plugin.hosting import BUS, CONSUMER, STREAM, SUBSCRIBE, alive, plugin, unary

V1 = "workflow.plugin.eventbus.v1"
STRICT = number("ContractMode", "CONTRACT_MODE_STRICT_PROTO")


@pytest.mark.seed("S-60")
async def test_the_manifest_names_the_plugin_as_its_folder_and_its_release() -> None:
    """S-60: name, version, author and description."""
    async with plugin() as process:
        manifest = await process.manifest()
        assert manifest.name == "workflow-plugin-eventbus"
        assert manifest.version == describe.plugin_version()
        assert len(manifest.version.split(".")) == 3
        assert manifest.author
        assert "NATS JetStream" in manifest.description
        assert await process.healthy()


@pytest.mark.seed("S-20", "S-60")
async def test_it_lists_the_four_module_types_their_later_names_three_steps_and_the_trigger() -> None:
    """S-20, S-60: the fourth module type is the trigger's; the later releases' names stand beside."""
    async with plugin() as process:
        assert await process.module_types() == [
            "infra.eventbus",
            "infra.eventbus.stream",
            "infra.eventbus.consumer",
            "trigger.eventbus.subscribe",
            "eventbus.broker",
            "eventbus.stream",
            "eventbus.consumer",
        ]
        assert await process.step_types() == ["step.eventbus.publish", "step.eventbus.consume", "step.eventbus.ack"]
        assert await process.trigger_types() == ["trigger.eventbus.subscribe"]


@pytest.mark.seed("S-40", "S-60")
async def test_the_registry_holds_the_seven_contracts_and_all_are_strict() -> None:
    """S-40: which type takes and gives which message. The config of a step sets fields of its input."""
    async with plugin() as process:
        registry = await process.contract_registry()
        found = {
            each.module_type or each.step_type or each.trigger_type: (
                each.config_message,
                each.input_message,
                each.output_message,
            )
            for each in registry.contracts
        }
        assert found == {
            "infra.eventbus": (f"{V1}.ClusterConfig", "", ""),
            "infra.eventbus.stream": (f"{V1}.StreamConfig", "", ""),
            "infra.eventbus.consumer": (f"{V1}.ConsumerConfig", "", ""),
            "step.eventbus.publish": (f"{V1}.PublishRequest", f"{V1}.PublishRequest", f"{V1}.PublishResponse"),
            "step.eventbus.consume": (f"{V1}.ConsumeRequest", f"{V1}.ConsumeRequest", f"{V1}.ConsumeResponse"),
            "step.eventbus.ack": (f"{V1}.AckRequest", f"{V1}.AckRequest", f"{V1}.AckResponse"),
            "trigger.eventbus.subscribe": (f"{V1}.ConsumerConfig", "", f"{V1}.Message"),
        }
        assert len(registry.contracts) == len(CONTRACTS) == 7
        assert {each.mode for each in registry.contracts} == {STRICT}
        assert {each.proto_package for each in registry.contracts} == {V1}
        assert len({each.schema_digest for each in registry.contracts}) == 1


@pytest.mark.seed("S-61")
async def test_a_caller_resolves_every_message_from_the_registry_alone() -> None:
    """S-61: each file stands behind what it imports, and each named message, also duration and struct, is there."""
    async with plugin() as process:
        registry = await process.contract_registry()
        files = descriptor_pb2.FileDescriptorSet.FromString(registry.file_descriptor_set.SerializeToString())
        seen: set[str] = set()
        for file in files.file:
            assert set(file.dependency) <= seen, f"{file.name} comes before what it imports"
            seen.add(file.name)
        assert {"google/protobuf/duration.proto", "google/protobuf/struct.proto"} <= seen
        types = await process.types()
        for each in registry.contracts:
            for name in (each.config_message, each.input_message, each.output_message, *each.message_names):
                if name:
                    assert types.message(name).DESCRIPTOR.full_name == name


async def test_a_set_that_lacks_an_import_is_refused() -> None:
    async with plugin() as process:
        registry = await process.contract_registry()
        files = descriptor_pb2.FileDescriptorSet.FromString(registry.file_descriptor_set.SerializeToString())
        alone = descriptor_pb2.FileDescriptorSet(file=[files.file[-1]])
        with pytest.raises(TypeError):
            Types(alone.SerializeToString())


async def test_the_schemas_tell_an_editor_each_field_of_each_module() -> None:
    async with plugin() as process:
        answer = await process.call("GetModuleSchemas")
        schemas = {schema.type: schema for schema in answer.schemas}
        assert set(schemas) == set(await process.module_types())
        fields = {field.name: field for field in schemas[STREAM].config_fields}
        assert [name for name, field in fields.items() if field.required] == ["name", "subjects"]
        assert fields["retention_policy"].type == "select"
        assert "RETENTION_POLICY_WORKQUEUE" in fields["retention_policy"].options
        assert (fields["max_age"].type, fields["num_replicas"].type) == ("duration", "number")
        assert fields["subjects"].type == "array"
        assert all(field.description for schema in answer.schemas for field in schema.config_fields)
        assert [each.name for each in schemas[SUBSCRIBE].outputs] == ["message"]
        assert schemas["eventbus.broker"].config_fields == schemas[BUS].config_fields
        assert schemas["eventbus.consumer"].label == schemas[CONSUMER].label


async def test_what_the_origin_does_not_offer_is_unimplemented() -> None:
    async with plugin() as process:
        for method in ("InvokeService", "DeliverMessage", "GetConfigFragment", "GetAsset"):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await unary(process, method)(b"")
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await alive(process)
