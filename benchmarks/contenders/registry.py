"""Who races: for each contender its command, which modes it has, and whether it can be had here."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.contenders import native

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BENCH_PYTHON = ROOT / ".venv-bench" / "bin" / "python"

_CONFIG = """
[runtime]
http = "127.0.0.1:0"
log_level = "info"
[buses.main]
url = "{url}"
"""
_CONSUMER = """
[streams.B]
declare = false
[consumers.c]
stream = "B"
declare = false
"""
_TRIGGER = """
[triggers.work]
consumer = "c"
pipeline = "{mode}"
max_in_flight = {window}
"""


class Job(NamedTuple):
    """What a contender is asked to do; the environment tells it.

    Args:
        mode: see `contenders.common.Orders`.
        messages: how many.
        size: bytes of payload.
        window: most deliveries unsettled at once.
        url: the server.
        folder: of its own, for this run.
    """

    mode: str
    messages: int
    size: int = 128
    window: int = 1000
    url: str = ""
    folder: Path = Path()

    @property
    def file(self) -> Path:
        """Where the mode latency writes its samples."""
        return self.folder / "samples.txt"

    def environment(self) -> dict[str, str]:
        """The variables that carry it."""
        return {
            "BENCH_URL": self.url,
            "BENCH_MODE": self.mode,
            "BENCH_MESSAGES": str(self.messages),
            "BENCH_SIZE": str(self.size),
            "BENCH_WINDOW": str(self.window),
            "BENCH_FILE": str(self.file),
        }


class Contender(NamedTuple):
    """One way to do the work.

    Args:
        name: short, for the command line and the results.
        label: for people.
        modes: what it can do.
        command: the command line for a job.
        missing: makes it ready where needed; why it can't be had here, or empty.
        environment: variables of its own.
        named_only: whether it races only where a case names it.
    """

    name: str
    label: str
    modes: frozenset[str]
    command: Callable[[Job], list[str]]
    missing: Callable[[], str] = lambda: ""
    environment: Mapping[str, str] = {}
    named_only: bool = False


def _ours(job: Job) -> list[str]:
    """`eventbus-run` on a folder like a user's."""
    config = _CONFIG.format(url=job.url)
    if job.mode == "publish":
        shutil.copy(HERE / "ours_publisher.py", job.folder / "handlers.py")
    else:
        shutil.copy(HERE / "ours_handlers.py", job.folder / "handlers.py")
        config += _CONSUMER + _TRIGGER.format(mode=job.mode, window=job.window)
    return _run(job, config)


def _steps(job: Job) -> list[str]:
    """`eventbus-run` without a trigger: a background function that has the steps."""
    shutil.copy(HERE / "ours_steps.py", job.folder / "handlers.py")
    return _run(job, _CONFIG.format(url=job.url) + ("" if job.mode == "publish" else _CONSUMER))


def _run(job: Job, config: str) -> list[str]:
    (job.folder / "app.toml").write_text(config)
    return [str(Path(sys.executable).with_name("eventbus-run")), str(job.folder / "app.toml")]


def _python(module: str) -> Callable[[Job], list[str]]:
    return lambda job: [str(BENCH_PYTHON), "-m", f"benchmarks.contenders.{module}"]


def _no_environment() -> str:
    return "" if BENCH_PYTHON.exists() else "its environment is missing; `make bench` makes it"


_ALL = frozenset({"ack", "sleep", "relay", "hold", "latency", "publish"})

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("ours", "eventbus-run", _ALL | {"consume"}, _ours),
        Contender(
            "compatible",
            "eventbus-run, compatible reader",
            _ALL,
            _ours,
            environment={"EVENTBUS_READER": "compatible"},
        ),
        Contender(
            "steps", "eventbus-run, steps", frozenset({"ack", "consume", "relay", "publish"}), _steps, named_only=True
        ),
        Contender("hand", "nats-py, hand-written", _ALL - {"latency"}, _python("hand"), _no_environment),
        Contender(
            "callback",
            "nats-py, callback window",
            frozenset({"ack", "sleep", "hold", "latency"}),
            _python("callback"),
            _no_environment,
        ),
        Contender("faststream", "FastStream", _ALL - {"publish"}, _python("faststream_app"), _no_environment),
        Contender(
            "c",
            "C client (libnats)",
            frozenset({"ack", "publish"}),
            lambda job: [str(native.C_PROGRAM)],
            native.build_c,
        ),
        Contender(
            "go",
            "nats.go",
            frozenset({"ack", "sleep", "publish"}),
            lambda job: [str(native.GO_PROGRAM)],
            native.build_go,
        ),
    )
}
