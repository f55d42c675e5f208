"""The demo runs as it stands in `config/`, from start to a clean end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A copy of the demo, so that no two tests share a folder."""
    for name in ("demo.toml", "demo_handlers.py"):
        shutil.copy(CONFIG / name, tmp_path)
    return tmp_path / "demo.toml"


def start(demo: Path, **environment: str) -> subprocess.Popen[str]:
    """`eventbus-run demo.toml`, its two outputs in one."""
    return subprocess.Popen(
        [sys.executable, "-m", "eventbus_runtime.cli.run", str(demo)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(lines: Iterator[str], word: str) -> list[str]:
    """The lines up to the first one that holds `word`, which must come."""
    seen = []
    for line in lines:
        seen.append(line)
        if word in line:
            return seen
    raise AssertionError(f"no line with {word!r} in:\n{''.join(seen)}")


def test_it_ends_by_itself_after_demo_seconds_and_says_what_was_settled_how(demo: Path) -> None:
    process = start(demo, DEMO_SECONDS="3")
    output, _ = process.communicate(timeout=40)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert len(re.findall(r"rate per second .*mailed=\d", output)) == 3
    assert "the tax office does not answer" in output
    assert "order 42 has a negative total" in output
    summary = [line for line in output.splitlines() if "summary" in line]
    assert any("billing" in line for line in summary), output
    assert any("mailing" in line for line in summary), output


def test_ctrl_c_drains_it_and_ends_its_server(demo: Path) -> None:
    process = start(demo)
    assert process.stdout is not None
    try:
        until(process.stdout, "rate per second")
        address = urlsplit((demo.parent / ".eventbus" / "main.url").read_text().strip())
        process.send_signal(signal.SIGINT)
        until(process.stdout, "summary")
        process.stdout.read()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname or "", address.port or 0), timeout=1).close()
