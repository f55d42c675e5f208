"""One contender's process: started, watched, measured, ended by its id."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parents[1]


class FailedError(Exception):
    """A contender did not do what it was asked; the race goes on without this round of it."""


class Child:
    """A process whose standard input and output are ours and whose errors go to a file.

    Args:
        command: program and arguments.
        environment: variables that it gets on top of ours; ours of `EVENTBUS…` and `PYTHON…` are kept from it.
        folder: where the file for its errors goes.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.folder = folder
        self._errors = folder / "stderr.txt"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("EVENTBUS", "PYTHON"))}
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=inherited | dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        self._view = psutil.Process(self._process.pid)
        self._out = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            FailedError: it ended.
        """
        if self._process.poll() is not None:
            raise self.failure(f"ended with exit code {self._process.returncode}")

    def failure(self, what: str) -> FailedError:
        """An error that says what went wrong, with the last line of its standard error."""
        lines = self._errors.read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return FailedError(f"{what}: {last}" if last else what)

    def cpu(self) -> float:
        """Seconds of processor time so far, user and system, of it and its children."""
        family = [self._view, *self._view.children(recursive=True)]
        return sum(times.user + times.system for times in (member.cpu_times() for member in family))

    def rss(self) -> float:
        """Resident memory of it and its children, in MiB."""
        family = [self._view, *self._view.children(recursive=True)]
        return float(sum(member.memory_info().rss for member in family)) / 2**20

    def calm(self, within: float = 10.0) -> None:
        """Return once it has used next to no processor for a quarter of a second: its start is behind it."""
        deadline, before = time.monotonic() + within, self.cpu()
        while time.monotonic() < deadline:
            time.sleep(0.25)
            self.check()
            now = self.cpu()
            if now - before < 0.015:
                return
            before = now
        raise self.failure(f"still busy {within:g} s after its start")

    def say(self, word: str) -> None:
        """Write one line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")

    def hear(self, word: str, within: float) -> None:
        """Wait until it prints the line `word`; other lines are skipped.

        Raises:
            FailedError: it did not within so many seconds, or ended before.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + within
        while True:
            line, end, rest = self._out.partition(b"\n")
            if end:
                self._out = rest
                if line.strip() == word.encode():
                    return
                continue
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise self.failure(f"did not say {word!r} within {within:g} s")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                self._process.wait(5)
                self.check()
            self._out += data
