"""The messages and services of the host's protocol, from one table of their names and numbers; no generated code."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple, TypeAlias, cast

from google.protobuf import any_pb2, descriptor_pb2, duration_pb2, empty_pb2, message_factory, struct_pb2
from google.protobuf.descriptor_pool import DescriptorPool

Proto: TypeAlias = Any
"""A message of a class that is made at run time, which no type checker knows."""

PLUGIN, BROKER = "workflow.plugin.v1", "plugin"
"""The protobuf packages: the workflow engine's, and go-plugin's own."""

# A field is "number name type"; without a type it is a string. "*T" is any number of T, "{T}" a map from text to T.
_ENUMS = {
    f"{PLUGIN}.ContractKind": "CONTRACT_KIND_ UNSPECIFIED MODULE STEP SERVICE TRIGGER MESSAGE",
    f"{PLUGIN}.ContractMode": "CONTRACT_MODE_ UNSPECIFIED LEGACY_STRUCT PROTO_WITH_LEGACY_STRUCT STRICT_PROTO",
    f"{BROKER}.Channel": "CHANNEL_ INVALID STDOUT STDERR",
}
_MESSAGES = {
    PLUGIN: {
        "Manifest": "1 name, 2 version, 3 author, 4 description, 5 config_mutable bool, 6 sample_category",
        "TypeList": "1 types *string",
        "ContractRegistry": "1 contracts *ContractDescriptor, 2 file_descriptor_set google.protobuf.FileDescriptorSet",
        "ContractDescriptor": "1 kind ContractKind, 2 module_type, 3 step_type, 4 trigger_type, 5 service_name, "
        "6 method, 7 config_message, 8 input_message, 9 output_message, 10 mode ContractMode, 11 contract_type, "
        "12 proto_package, 13 message_names *string, 14 go_import_path, 15 schema_digest, 16 protocol_version",
        "ModuleSchemaList": "1 schemas *ModuleSchema",
        "ModuleSchema": "1 type, 2 label, 3 category, 4 description, 5 inputs *ServiceIODef, "
        "6 outputs *ServiceIODef, 7 config_fields *ConfigFieldDef",
        "ServiceIODef": "1 name, 2 type, 3 description",
        "ConfigFieldDef": "1 name, 2 type, 3 description, 4 default_value, 5 required bool, 6 options *string",
        "CreateModuleRequest": "1 type, 2 name, 3 config google.protobuf.Struct, 4 typed_config google.protobuf.Any",
        "CreateStepRequest": "1 type, 2 name, 3 config google.protobuf.Struct, 4 typed_config google.protobuf.Any",
        "CreateTriggerRequest": "1 type, 2 name, 3 config google.protobuf.Struct",
        "ConfigureCallbackRequest": "1 broker_id uint32",
        "HandleResponse": "1 handle_id, 2 error",
        "HandleRequest": "1 handle_id",
        "ErrorResponse": "1 error",
        "ExecuteStepRequest": "1 handle_id, 2 trigger_data google.protobuf.Struct, "
        "3 step_outputs {google.protobuf.Struct}, 4 current google.protobuf.Struct, "
        "5 metadata google.protobuf.Struct, 6 config google.protobuf.Struct, 7 typed_config google.protobuf.Any, "
        "8 typed_input google.protobuf.Any",
        "ExecuteStepResponse": "1 output google.protobuf.Struct, 2 error, 3 stop_pipeline bool, "
        "4 typed_output google.protobuf.Any",
        "TriggerWorkflowRequest": "1 trigger_type, 2 action, 3 data google.protobuf.Struct, "
        "4 typed_data google.protobuf.Any",
        "LogRequest": "1 level, 2 message, 3 fields google.protobuf.Struct",
    },
    BROKER: {
        "Empty": "",
        "ConnInfo": "1 service_id uint32, 2 network, 3 address, 4 knock Knock",
        "Knock": "1 knock bool, 2 ack bool, 3 error",
        "StdioData": "1 channel Channel, 2 data bytes",
    },
}

_TYPE = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _TYPE.TYPE_STRING,
    "bytes": _TYPE.TYPE_BYTES,
    "bool": _TYPE.TYPE_BOOL,
    "uint32": _TYPE.TYPE_UINT32,
}
_FIELD = re.compile(r"(?P<number>\d+) (?P<name>\w+)(?: (?P<many>[*{]?)(?P<type>[\w.]+)}?)?")
_IMPORTED = (descriptor_pb2, any_pb2, duration_pb2, empty_pb2, struct_pb2)


class Method(NamedTuple):
    """One call of a service.

    Args:
        request, response: full names of its messages.
        asks, answers: whether these are streams.
    """

    request: str
    response: str
    asks: bool = False
    answers: bool = False


_EMPTY, _OURS = "google.protobuf.Empty", f"{PLUGIN}."
_BY_HANDLE = Method(f"{_OURS}HandleRequest", f"{_OURS}ErrorResponse")

PLUGIN_SERVICE = f"{PLUGIN}.PluginService"
"""What the plugin process serves."""

CALLBACK_SERVICE = f"{PLUGIN}.EngineCallbackService"
"""What the host serves, as far as we call it."""

SERVICES: dict[str, dict[str, Method]] = {
    PLUGIN_SERVICE: {
        "GetManifest": Method(_EMPTY, f"{_OURS}Manifest"),
        "GetModuleTypes": Method(_EMPTY, f"{_OURS}TypeList"),
        "GetStepTypes": Method(_EMPTY, f"{_OURS}TypeList"),
        "GetTriggerTypes": Method(_EMPTY, f"{_OURS}TypeList"),
        "GetModuleSchemas": Method(_EMPTY, f"{_OURS}ModuleSchemaList"),
        "GetContractRegistry": Method(_EMPTY, f"{_OURS}ContractRegistry"),
        "CreateModule": Method(f"{_OURS}CreateModuleRequest", f"{_OURS}HandleResponse"),
        "InitModule": _BY_HANDLE,
        "StartModule": _BY_HANDLE,
        "StopModule": _BY_HANDLE,
        "DestroyModule": _BY_HANDLE,
        "CreateStep": Method(f"{_OURS}CreateStepRequest", f"{_OURS}HandleResponse"),
        "ExecuteStep": Method(f"{_OURS}ExecuteStepRequest", f"{_OURS}ExecuteStepResponse"),
        "DestroyStep": _BY_HANDLE,
        "ConfigureCallback": Method(f"{_OURS}ConfigureCallbackRequest", f"{_OURS}ErrorResponse"),
        "CreateTrigger": Method(f"{_OURS}CreateTriggerRequest", f"{_OURS}HandleResponse"),
    },
    CALLBACK_SERVICE: {
        "TriggerWorkflow": Method(f"{_OURS}TriggerWorkflowRequest", f"{_OURS}ErrorResponse"),
        "Log": Method(f"{_OURS}LogRequest", _EMPTY),
    },
    f"{BROKER}.GRPCController": {"Shutdown": Method(f"{BROKER}.Empty", f"{BROKER}.Empty")},
    f"{BROKER}.GRPCBroker": {
        "StartStream": Method(f"{BROKER}.ConnInfo", f"{BROKER}.ConnInfo", asks=True, answers=True)
    },
    f"{BROKER}.GRPCStdio": {"StreamStdio": Method(_EMPTY, f"{BROKER}.StdioData", answers=True)},
}
"""The calls of each service, by their names."""


@cache
def message(name: str) -> type[Proto]:
    """The class of a message.

    Args:
        name: full, as `plugin.ConnInfo`; a name without dots is one of `workflow.plugin.v1`.
    """
    full = name if "." in name else f"{PLUGIN}.{name}"
    return cast("type[Proto]", message_factory.GetMessageClass(_pool().FindMessageTypeByName(full)))


@cache
def number(enum: str, value: str) -> int:
    """The number of an enum's value, as `number("ContractMode", "CONTRACT_MODE_STRICT_PROTO")`."""
    return _pool().FindEnumTypeByName(f"{PLUGIN}.{enum}").values_by_name[value].number


@cache
def _pool() -> DescriptorPool:
    """A pool of our own: what these files are called must not clash with what else is loaded in the process."""
    pool = DescriptorPool()
    for module in _IMPORTED:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for package in _MESSAGES:
        pool.AddSerializedFile(_file(package).SerializeToString())
    return pool


def _file(package: str) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"eventbus/{package.replace('.', '/')}.proto", package=package, syntax="proto3"
    )
    file.dependency.extend(module.DESCRIPTOR.name for module in _IMPORTED)
    for full, words in _ENUMS.items():
        if full.rpartition(".")[0] == package:
            prefix, *values = words.split()
            enum = file.enum_type.add(name=full.rpartition(".")[2])
            for at, value in enumerate(values):
                enum.value.add(name=prefix + value, number=at)
    for name, table in _MESSAGES[package].items():
        described = file.message_type.add(name=name)
        for text in filter(None, table.split(", ")):
            _add_field(described, package, text)
    return file


def _add_field(described: descriptor_pb2.DescriptorProto, package: str, text: str) -> None:
    read = _FIELD.fullmatch(text)
    assert read is not None, f"{described.name}: {text!r} is no field"
    many, kind = read["many"], read["type"] or "string"
    field = described.field.add(name=read["name"], number=int(read["number"]), label=_TYPE.LABEL_OPTIONAL)
    if many:
        field.label = _TYPE.LABEL_REPEATED
    if many == "{":
        entry = described.nested_type.add(name=f"{read['name'].title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, package, "1 key")
        _add_field(entry, package, f"2 value {kind}")
        kind = f"{package}.{described.name}.{entry.name}"
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    full = kind if "." in kind else f"{package}.{kind}"
    field.type = _TYPE.TYPE_ENUM if full in _ENUMS else _TYPE.TYPE_MESSAGE
    field.type_name = f".{full}"
