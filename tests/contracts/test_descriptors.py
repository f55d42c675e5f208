"""Who has only the set of files that we hand out can resolve and read every message (S-61)."""

from __future__ import annotations

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.contracts import Contract, Duration
from eventbus_runtime.contracts.registry import messages
from eventbus_runtime.contracts.wire import file_descriptor_set, from_bytes, full_name, to_bytes
from tests.contracts.values import values

EVERY = pytest.mark.parametrize("contract", [*messages(), Duration], ids=lambda contract: contract.__name__)


def stranger() -> DescriptorPool:
    """What a client makes of the bytes of the set, and of nothing else."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(file_descriptor_set().SerializeToString()).file:
        pool.Add(file)
    return pool


@pytest.mark.seed("S-61")
@EVERY
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_the_set_of_files_alone_reads_and_writes_every_message(contract: type[Contract], data: st.DataObject) -> None:
    """S-61."""
    value = data.draw(values(contract))
    message = message_factory.GetMessageClass(stranger().FindMessageTypeByName(full_name(contract)))()
    message.ParseFromString(to_bytes(value))
    assert {field.name for field, _ in message.ListFields()} <= set(contract.model_fields)
    assert from_bytes(contract, message.SerializeToString()) == value


@pytest.mark.seed("S-61")
def test_the_files_of_duration_and_struct_are_in_the_set_each_behind_what_it_imports() -> None:
    """S-61."""
    files = file_descriptor_set().file
    names = [file.name for file in files]
    assert {"google/protobuf/duration.proto", "google/protobuf/struct.proto"} < set(names)
    assert all(set(file.dependency) <= set(names[:index]) for index, file in enumerate(files))
