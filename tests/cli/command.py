"""The command `eventbus`, as a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path


def command_line(*arguments: str | bytes | Path) -> list[str | bytes | Path]:
    """What to start for `eventbus` with these arguments."""
    return [sys.executable, "-m", "eventbus_runtime.cli.main", *arguments]


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """Our environment without what configures a bus, and with `more`."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("EVENTBUS", "NATS"))}
    return plain | (more or {})


def eventbus(
    *arguments: str | bytes | Path, stdin: bytes = b"", environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    return subprocess.run(
        command_line(*arguments), input=stdin, env=environment(environ), capture_output=True, timeout=40, check=False
    )


def on_a_terminal(*arguments: str | bytes | Path, answer: bytes = b"", columns: int = 140) -> tuple[int, str]:
    """Run it on a terminal where somebody types `answer`: the exit code, and all that the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command_line(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment({"COLUMNS": str(columns), "TERM": "xterm"}),
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, answer)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    return process.wait(timeout=40), shown.decode()
