"""What docs/contracts.md shows is what the programs in it print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text("utf-8")


def printed(*command: str) -> str:
    """What a command prints, with our environment's programs first on PATH."""
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=40, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_program_prints_what_stands_below_it() -> None:
    ((program, shown),) = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", TEXT, re.DOTALL)
    assert printed(sys.executable, "-c", program) == shown


def test_the_commands_print_what_stands_below_them() -> None:
    (console,) = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    pairs = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", console, re.MULTILINE)
    assert [printed("sh", "-c", command) for command, _ in pairs] == [shown for _, shown in pairs]
    assert len(pairs) == 2
