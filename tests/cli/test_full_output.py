"""What a command prints meets a full disk."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.command import command_line, environment

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    "arguments", [("contracts",), ("contracts", "--format", "json-schema"), ("conformance", "--only", "targets")]
)
def test_output_onto_a_full_disk_is_told_in_one_line(arguments: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            command_line(*arguments), stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=40, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"eventbus: No space left on device\n")
