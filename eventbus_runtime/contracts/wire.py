"""The contracts as protobuf: descriptors made from the models, models from and to messages. Needs the extra `rpc`."""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Any, TypeVar, cast

from eventbus_runtime.contracts.duration import Duration
from eventbus_runtime.contracts.fields import Contract, Field, fields

# Others read and write contracts by this one module, whatever the form.
from eventbus_runtime.contracts.json_mapping import from_json as from_json
from eventbus_runtime.contracts.json_mapping import to_json as to_json
from eventbus_runtime.contracts.json_mapping import well_formed
from eventbus_runtime.contracts.model import PACKAGE
from eventbus_runtime.contracts.registry import enums, messages
from eventbus_runtime.contracts.told import below, validated
from eventbus_runtime.contracts.told import told as told
from eventbus_runtime.errors import ContractError

try:
    from google.protobuf import descriptor_pb2, duration_pb2, empty_pb2, message_factory, struct_pb2
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import DecodeError
    from google.protobuf.message import Message as ProtoMessage
    from google.protobuf.unknown_fields import UnknownFieldSet
except ModuleNotFoundError:
    raise ContractError("protobuf is not installed: pip install 'eventbus-runtime[rpc]'") from None

C = TypeVar("C", bound=Contract)

FILE = "workflow/plugin/eventbus/v1/eventbus.proto"
_DURATION = "google.protobuf.Duration"
_TYPE = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": _TYPE.TYPE_STRING,
    "bytes": _TYPE.TYPE_BYTES,
    "bool": _TYPE.TYPE_BOOL,
    "int32": _TYPE.TYPE_INT32,
    "int64": _TYPE.TYPE_INT64,
    "enum": _TYPE.TYPE_ENUM,
    "message": _TYPE.TYPE_MESSAGE,
    "map": _TYPE.TYPE_MESSAGE,
}


def full_name(contract: type[Contract]) -> str:
    """The name of a contract's message, package included."""
    return _DURATION if contract is Duration else f"{PACKAGE}.{contract.__name__}"


@cache
def file_descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """All files that the messages need, each behind what it imports: with these alone a caller can read all (S-61)."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (struct_pb2, empty_pb2, duration_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.append(_file())
    return files


def message_class(contract: type[Contract]) -> type[ProtoMessage]:
    """The protobuf class of a contract."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(full_name(contract)))


def to_message(value: Contract) -> ProtoMessage:
    """A contract's value as a protobuf message."""
    message = message_class(type(value))()
    _fill(message, value)
    return message


def from_message(contract: type[C], message: ProtoMessage) -> C:
    """The value that a message holds.

    Raises:
        ContractError: it has a field that the contract has not, or a value that it may not have.
    """
    _refuse_unknown(contract, message, contract.__name__)
    return validated(contract, _values(contract, message))


def to_bytes(value: Contract) -> bytes:
    """A contract's value on the wire; the same bytes for the same value."""
    return to_message(value).SerializeToString(deterministic=True)


def from_bytes(contract: type[C], data: bytes) -> C:
    """The value that came off the wire.

    Raises:
        ContractError: it is none of this contract.
    """
    message = message_class(contract)()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ContractError(f"{contract.__name__}: these bytes are no such message: {error}") from None
    return from_message(contract, message)


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in file_descriptor_set().file:
        pool.Add(file)
    return pool


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=FILE, package=PACKAGE, syntax="proto3")
    file.dependency.append(duration_pb2.DESCRIPTOR.name)
    for held in enums():
        described = file.enum_type.add(name=held.__name__)
        for value in held:
            described.value.add(name=value.name, number=value.value)
    for contract in messages():
        described_message = file.message_type.add(name=contract.__name__)
        for field in fields(contract):
            _describe(described_message, field)
    return file


def _describe(message: descriptor_pb2.DescriptorProto, field: Field) -> None:
    described = message.field.add(name=field.name, number=field.number, type=_TYPES[field.kind])
    described.label = _TYPE.LABEL_REPEATED if field.repeated or field.kind == "map" else _TYPE.LABEL_OPTIONAL
    if field.kind == "map":
        entry = message.nested_type.add(name=f"{field.name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        for number, name in enumerate(("key", "value"), start=1):
            entry.field.add(name=name, number=number, type=_TYPE.TYPE_STRING, label=_TYPE.LABEL_OPTIONAL)
        described.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
    elif field.kind == "message":
        described.type_name = f".{full_name(cast(type[Contract], field.type))}"
    elif field.kind == "enum":
        described.type_name = f".{PACKAGE}.{cast(type, field.type).__name__}"


def _fill(message: Any, value: Contract) -> None:
    for field in fields(type(value)):
        held = getattr(value, field.name)
        if field.kind == "map":
            getattr(message, field.name).update({well_formed(key): well_formed(one) for key, one in held.items()})
        elif field.kind == "message" and field.repeated:
            for one in held:
                _fill(getattr(message, field.name).add(), one)
        elif field.kind == "message":
            if held is not None:
                getattr(message, field.name).SetInParent()
                _fill(getattr(message, field.name), held)
        elif field.repeated:
            getattr(message, field.name).extend(map(well_formed, held))
        else:
            setattr(message, field.name, well_formed(held) if field.kind == "string" else held)


def _values(contract: type[Contract], message: Any) -> dict[str, Any]:
    return {
        field.name: _value(field, message)
        for field in fields(contract)
        if field.kind != "message" or field.repeated or message.HasField(field.name)
    }


def _value(field: Field, message: Any) -> Any:
    held = getattr(message, field.name)
    if field.kind == "map":
        return dict(held)
    if field.kind == "message":
        inner = cast(type[Contract], field.type)
        return [_values(inner, one) for one in held] if field.repeated else _values(inner, held)
    if field.kind == "enum":
        known = cast(type[IntEnum], field.type)
        return known(held) if held in known._value2member_map_ else held  # an unknown one is told with its field's name
    return list(held) if field.repeated else held


def _refuse_unknown(contract: type[Contract], message: Any, where: str) -> None:
    known = {field.number: field.name for field in fields(contract)}
    for number in sorted({one.field_number for one in UnknownFieldSet(message)}):  # type: ignore[attr-defined]  # it iterates
        if number in known:
            raise ContractError(f"{below(where, known[number])}: field {number} came as another type")
        listed = ", ".join(f"{one} {name}" for one, name in known.items()) or "none"
        raise ContractError(f"{where}: unknown field {number} (known: {listed})")
    for field in fields(contract):
        if field.kind != "message" or not (field.repeated or message.HasField(field.name)):
            continue
        held = getattr(message, field.name)
        for index, one in enumerate(held if field.repeated else [held]):
            at = below(where, field.name)
            _refuse_unknown(cast(type[Contract], field.type), one, below(at, index) if field.repeated else at)
