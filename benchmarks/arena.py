"""Where a race takes place: one server with a stream, a consumer made anew for each round, and the clock.

The consumer is paused while a contender starts (server 2.11 and later), so every contender stands at the line with its
pull request open at the server; resuming the consumer is the start, and the server's time of the last ack is the end.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.child import Child
from benchmarks.contenders.registry import Contender, Job
from benchmarks.wire import ApiError, Wire
from eventbus_runtime.testing.server import NatsServer

STREAM, CONSUMER, RELAYED = "B", "c", "OUT"
MAX_ACK_PENDING = 1000
_READY_WITHIN = 30.0
_STALLED_AFTER = 15.0
_SETTLED_WITHIN = 300.0
_LOOKS = 0.01
_NEVER = "2100-01-01T00:00:00Z"


class Arena:
    """A server of its own with the stream B (`b.>`) and OUT (`out.>`); entered and left like a file."""

    def __init__(self) -> None:
        self._server = NatsServer()
        self.wire: Wire
        """The driver's connection."""

    def __enter__(self) -> Self:
        self._server.start()
        try:
            self.wire = Wire(self._server.url)
            self.make_stream(STREAM, "b.>")
            self.make_stream(RELAYED, "out.>")
        except BaseException:
            self._server.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wire.__exit__(kind, error, trace)
        self._server.remove()

    @property
    def url(self) -> str:
        """Address of the server."""
        return self._server.url

    @property
    def version(self) -> str:
        """The server's version."""
        return str(self.wire.info["version"])

    def make_stream(self, name: str, subjects: str, **more: Any) -> None:
        """Make a stream on disk."""
        config = {"name": name, "subjects": [subjects], "storage": "file", **more}
        self.wire.api(f"STREAM.CREATE.{name}", config)

    def messages(self, stream: str) -> int:
        """How many messages a stream holds."""
        return int(self.wire.api(f"STREAM.INFO.{stream}")["state"]["messages"])

    def empty(self, stream: str) -> None:
        """Remove all messages of a stream."""
        self.wire.api(f"STREAM.PURGE.{stream}")

    def renew_relayed(self) -> None:
        """The stream OUT, new: one that is merely emptied remembers ids, and would drop the next round's as doubles."""
        self.wire.api(f"STREAM.DELETE.{RELAYED}")
        self.make_stream(RELAYED, "out.>")

    def make_consumer(self, *, paused: bool) -> None:
        """The consumer, new: at the stream's beginning, explicit acks, the same for all contenders."""
        with suppress(ApiError):  # the first round has none
            self.wire.api(f"CONSUMER.DELETE.{STREAM}.{CONSUMER}")
        # A consumer that is merely resumed delivers nothing until the next pull request or heartbeat; a changed
        # max_ack_pending wakes it at once.
        self._configure("create", **({"pause_until": _NEVER, "max_ack_pending": MAX_ACK_PENDING - 1} if paused else {}))

    def state(self) -> dict[str, Any]:
        """The consumer's state, as the server tells it."""
        return self.wire.api(f"CONSUMER.INFO.{STREAM}.{CONSUMER}")

    def release(self) -> float:
        """Resume the consumer; the wall clock's time of the start."""
        began = time.time()
        self.wire.api(f"CONSUMER.PAUSE.{STREAM}.{CONSUMER}", {})
        self._configure("update")
        return began

    def _configure(self, action: str, **changes: Any) -> None:
        config = {
            "durable_name": CONSUMER,
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "max_ack_pending": MAX_ACK_PENDING,
        }
        body = {"stream_name": STREAM, "config": config | changes, "action": action}
        self.wire.api(f"CONSUMER.CREATE.{STREAM}.{CONSUMER}", body)

    @contextmanager
    def running(self, contender: Contender, job: Job) -> Iterator[Child]:
        """A contender's process in a folder of its own; killed on leaving."""
        with tempfile.TemporaryDirectory(prefix="eventbus-bench-") as name:
            job = job._replace(url=self.url, folder=Path(name))
            with Child(contender.command(job), job.environment() | dict(contender.environment), job.folder) as child:
                yield child

    def wait_open(self, child: Child) -> None:
        """Wait until the contender's pull request is open at the server and its start is behind it.

        Raises:
            FailedError: it ended, or did not get so far.
        """
        deadline = time.monotonic() + _READY_WITHIN
        while not self.state()["num_waiting"]:
            child.check()
            if time.monotonic() > deadline:
                raise child.failure(f"no pull request within {_READY_WITHIN:g} s")
            time.sleep(_LOOKS)
        child.calm()

    def wait_settled(self, child: Child, messages: int) -> float:
        """Wait until the server has the acks of all messages; its own time of the last one, by the wall clock.

        Raises:
            FailedError: the contender ended, nothing was acknowledged for long, or all took too long.
        """
        floor = 0
        began = moved = time.monotonic()
        while True:
            state = self.state()
            now = state["ack_floor"]["stream_seq"]
            if now >= messages and not state["num_pending"] and not state["num_ack_pending"]:
                return seconds(state["ack_floor"].get("last_active", state["ts"]))
            child.check()
            if now != floor:
                floor, moved = now, time.monotonic()
            elif time.monotonic() > moved + _STALLED_AFTER:
                raise child.failure(f"stalled at {floor} of {messages} messages")
            if time.monotonic() > began + _SETTLED_WITHIN:
                raise child.failure(f"not done within {_SETTLED_WITHIN:g} s: at {floor} of {messages} messages")
            time.sleep(_LOOKS)

    def wait_held(self, child: Child, deliveries: int) -> None:
        """Wait until so many deliveries are unacknowledged.

        Raises:
            FailedError: the contender ended, or took fewer.
        """
        deadline = time.monotonic() + _READY_WITHIN
        while (held := self.state()["num_ack_pending"]) < deliveries:
            child.check()
            if time.monotonic() > deadline:
                raise child.failure(f"holds only {held} of {deliveries} deliveries")
            time.sleep(_LOOKS)


def seconds(stamp: str) -> float:
    """A time of the server, as seconds since 1970; its nanoseconds are cut to microseconds."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00").timestamp()
