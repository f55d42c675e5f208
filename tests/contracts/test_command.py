"""`eventbus contracts`, and what works without the extra `rpc`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from eventbus_runtime.contracts.json_schema import json_schema
from eventbus_runtime.contracts.proto import proto_text
from tests.cli.command import eventbus

# As if protobuf were not installed.
WITHOUT = "import sys; sys.modules['google.protobuf'] = None\n"


def without_protobuf(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program where protobuf is missing."""
    command = [sys.executable, "-c", WITHOUT + program]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)


def test_it_prints_the_file_for_protobufs_compiler() -> None:
    done = eventbus("contracts")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, proto_text(), b"")
    assert eventbus("contracts", "--format", "proto").stdout == done.stdout


def test_it_prints_the_json_schema() -> None:
    done = eventbus("contracts", "--format", "json-schema")
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, json_schema(), b"")


def test_another_format_is_refused_by_name() -> None:
    done = eventbus("contracts", "--format", "avro")
    assert done.returncode == 2
    assert b"'avro' is not one of 'proto', 'json-schema'" in b" ".join(done.stderr.replace("│".encode(), b"").split())


@pytest.mark.parametrize("form", ["proto", "json-schema"])
def test_it_needs_no_protobuf(form: str) -> None:
    done = without_protobuf(
        f"sys.argv[1:] = ['contracts', '--format', '{form}']\nfrom eventbus_runtime.cli.main import main\nmain()"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == eventbus("contracts", "--format", form).stdout.decode()


def test_json_and_the_conversion_need_no_protobuf() -> None:
    done = without_protobuf(
        "from eventbus_runtime.contracts import ClusterConfig\n"
        "from eventbus_runtime.contracts.convert import to_bus\n"
        "from eventbus_runtime.contracts.json_mapping import from_json\n"
        "print(to_bus(from_json(ClusterConfig, {'provider': 'nats'})).provider)"
    )
    assert (done.stdout, done.stderr) == ("nats\n", "")


def test_what_needs_protobuf_says_how_to_get_it() -> None:
    done = without_protobuf(
        "from eventbus_runtime.errors import EventbusError\n"
        "try:\n"
        "    import eventbus_runtime.contracts.wire\n"
        "except EventbusError as error:\n"
        "    print(error)"
    )
    assert (done.stdout, done.stderr) == ("protobuf is not installed: pip install 'eventbus-runtime[rpc]'\n", "")
