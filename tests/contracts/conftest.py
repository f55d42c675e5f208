"""The classes that protobuf's own compiler makes of what `eventbus contracts` prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2

from eventbus_runtime.contracts.proto import proto_text


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The generated module, in a descriptor pool of its own: it shares nothing with our descriptors."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "eventbus.proto").write_text(proto_text(), "utf-8")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={folder}", "eventbus.proto"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return imported(folder / "eventbus_pb2.py")


def imported(path: Path) -> ModuleType:
    """A generated module, run with a fresh pool in place of the process's."""
    pool = descriptor_pool.DescriptorPool()
    described = descriptor_pb2.FileDescriptorProto()
    duration_pb2.DESCRIPTOR.CopyToProto(described)
    pool.Add(described)
    module = ModuleType("eventbus_pb2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descriptor_pool, "Default", lambda: pool)
        exec(compile(path.read_text("utf-8"), str(path), "exec"), module.__dict__)
    return module
