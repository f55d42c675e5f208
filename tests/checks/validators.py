"""The offline validators, as a user would call them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def check_jsonschema(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`check-jsonschema` of this environment."""
    command = [str(Path(sys.executable).with_name("check-jsonschema")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
