"""The command `eventbus`, as a process of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterable
from pathlib import Path

import psutil


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


def with_closed(number: int, *arguments: str | bytes | Path) -> subprocess.CompletedProcess[bytes]:
    """Run it without standard input (0) or output (1)."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {number}>&-', "sh", *command_line(*arguments)],
        env=environment(),
        capture_output=True,
        timeout=40,
        check=False,
    )


def interrupted(*arguments: str | bytes | Path, at: str) -> tuple[int, str]:
    """Run it on a terminal where somebody presses Ctrl-C once `at` is shown: the exit code, and all that is shown."""
    return _typed(arguments, b"\x03", at.encode(), 140)


def on_a_terminal(*arguments: str | bytes | Path, answer: bytes = b"", columns: int = 140) -> tuple[int, str]:
    """Run it on a terminal where somebody types `answer`: the exit code, and all that the terminal got."""
    return _typed(arguments, answer, b"", columns)


def _await_read(pid: int) -> None:
    """Return once it waits for what is typed. Of a signal that comes just before, Python's input() learns when it has
    read a line, which is too late."""
    deadline = time.monotonic() + 20
    while psutil.Process(pid).status() != psutil.STATUS_SLEEPING:
        assert time.monotonic() < deadline, "it asks, and does not wait for an answer"
        time.sleep(0.001)


def _typed(arguments: Iterable[str | bytes | Path], answer: bytes, at: bytes, columns: int) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command_line(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment({"COLUMNS": str(columns), "TERM": "xterm"}),
        start_new_session=True,
        # Its own terminal, so that what is typed can interrupt it.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 40
    typed = not at
    if typed:
        os.write(ours, answer)
    try:
        while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
            shown += os.read(ours, 65536)
            if not typed and at in shown:
                _await_read(process.pid)
                os.write(ours, answer)
                typed = True
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    try:
        return process.wait(timeout=5), shown.decode()
    finally:
        process.kill()
