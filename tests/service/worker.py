"""`eventbus-run` as a process of its own, as an operator sees it: files, output, signals, exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import TracebackType
from typing import Any, Self

WITHIN = 20.0


def wait_for(what: Callable[[], bool], text: str, within: float = WITHIN) -> None:
    """Poll until it holds; `text` says what, when it does not within so many seconds."""
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline, f"not within {within:g} s: {text}"
        time.sleep(0.02)


class Worker:
    """One `eventbus-run` process on a folder with `app.toml` and `handlers.py`.

    Args:
        folder: where to.
        config: text of app.toml.
        handlers: text of handlers.py.
        arguments: more of the command line.
        environment: more variables.
    """

    def __init__(self, folder: Path, config: str, handlers: str = "", *arguments: str, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        (folder / "app.toml").write_text(dedent(config))
        (folder / "handlers.py").write_text(dedent(handlers))
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        self._command = [sys.executable, "-m", "eventbus_runtime.cli.run", str(folder / "app.toml"), *arguments]
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("EVENTBUS")}
        self._environment |= {"PYTHONUNBUFFERED": "1", **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it."""
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(self._command, stdout=out, stderr=err, env=self._environment)
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        if error is not None:
            print(self.errors)  # noqa: T201 - shown by pytest with the failure

    @property
    def lines(self) -> list[str]:
        """What its handlers printed."""
        return self._out.read_text().splitlines()

    @property
    def errors(self) -> str:
        """What it logged."""
        return self._err.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log lines."""
        return [json.loads(line) for line in self.errors.splitlines() if line.startswith("{")]

    def has_logged(self, text: str) -> bool:
        """Whether a log line's event holds `text`."""
        return any(text in str(line["event"]) for line in self.log)

    def wait_logged(self, text: str, within: float = WITHIN) -> None:
        """Wait for such a line."""
        wait_for(lambda: self.has_logged(text), f"a log line with {text!r}", within)

    def wait_lines(self, count: int, within: float = WITHIN) -> None:
        """Wait until the handlers have printed so many lines."""
        wait_for(lambda: len(self.lines) >= count, f"{count} lines from the handlers", within)

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, within: float = WITHIN) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        return self.process.wait(within)

    def run(self, within: float = WITHIN) -> int:
        """Start it and wait for its end; the exit code."""
        with self:
            return self.wait(within)
