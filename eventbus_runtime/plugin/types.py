"""Message types from a FileDescriptorSet, for who knows nothing else of a plugin (S-61)."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, cast

from google.protobuf import descriptor_pb2, json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool

from eventbus_runtime.plugin.messages import Proto, message
from eventbus_runtime.plugin.values import TYPE_URL

# Its name changed with protobuf 5.26.
_WITH_DEFAULTS: dict[str, Any] = {
    name: True
    for name in ("always_print_fields_with_no_presence", "including_default_value_fields")
    if name in signature(json_format.MessageToDict).parameters
}


class Types:
    """The messages of a set of files, by full name.

    Args:
        files: a `google.protobuf.FileDescriptorSet` in bytes; each file behind what it imports.

    Raises:
        TypeError: a file is missing that another one imports.
    """

    def __init__(self, files: bytes) -> None:
        self._pool = DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(files).file:
            self._pool.AddSerializedFile(file.SerializeToString())

    def message(self, name: str) -> type[Proto]:
        """The class of a message.

        Raises:
            KeyError: there is none of this name.
        """
        return cast("type[Proto]", message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name)))

    def pack(self, name: str, values: Mapping[str, Any]) -> Proto:
        """A message from a table, by protobuf's JSON mapping, as an Any.

        Raises:
            google.protobuf.json_format.ParseError: a key or value has no place in it.
        """
        made = json_format.ParseDict(dict(values), self.message(name)())
        return message("google.protobuf.Any")(type_url=TYPE_URL + name, value=made.SerializeToString())

    def unpack(self, payload: Proto) -> dict[str, Any]:
        """What an Any holds, as a table by protobuf's JSON mapping and names; defaults included."""
        held = self.message(payload.type_url.rpartition("/")[2]).FromString(payload.value)
        return json_format.MessageToDict(held, preserving_proto_field_name=True, **_WITH_DEFAULTS)
