"""Questions and their answers: one wildcard inbox a connection, one reply subject a question, one timer for all."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, TypeAlias

from eventbus_runtime.buses.nats.writer import publication
from eventbus_runtime.errors import BusUnavailableError, NotPermittedError, PayloadTooLargeError
from eventbus_runtime.message import Raw

_NO_RESPONDERS = 503
# Seconds between two looks at what waits, at least.
_TICK = 0.05


def status(raw: Raw) -> int:
    """The code of a status message (`NATS/1.0 503`); 0 for an ordinary message."""
    code = raw[3][8:12].strip() if raw[3] else b""
    return int(code) if code.isdigit() else 0


def nobody_listens(raw: Raw) -> bool:
    """Whether the server answered in place of a responder, since there is none (NATS ADR-22)."""
    return not raw[2] and status(raw) == _NO_RESPONDERS


Failed: TypeAlias = BusUnavailableError | TimeoutError
"""Why no answer will come."""

Answer: TypeAlias = Callable[[Raw | Failed, Any], None]
"""Takes what answers first (it may be a status of the server), or why nothing will; and what it was to be given."""


class Requests:
    """The open questions of one connection.

    Whatever waits here has a deadline by `time.monotonic`. It fails no earlier, and at most 0.1 s later as long as
    nothing blocks the event loop.
    """

    def __init__(self, prefix: str, write: Callable[[bytes], None]) -> None:
        self.subject = f"{prefix}.*"
        self._prefix = f"{prefix}.".encode()
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._tokens = itertools.count()
        self._waiting: dict[bytes, tuple[Answer, Any, float, str]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._served_from = inf  # the timer is early enough for deadlines from here on

    def new_reply(self) -> bytes:
        """A reply subject that nothing else has."""
        return b"%b%x" % (self._prefix, next(self._tokens))

    def expect(self, reply: bytes, deadline: float, subject: str, answer: Answer, what: Any) -> None:
        """Have `answer` called with `what`, once, unless `reply` is forgotten before: with what answers there first,
        with TimeoutError after `deadline`, with NotPermittedError when the server refuses what goes to `subject`, or
        with BusUnavailableError when the connection is lost."""
        self._waiting[reply] = answer, what, deadline, subject
        if deadline < self._served_from:
            self._arm(deadline)

    def forget(self, reply: bytes) -> None:
        """Nobody waits for an answer at `reply` any more. Idempotent."""
        self._waiting.pop(reply, None)

    async def ask(self, subject: str, payload: bytes, *, timeout: float) -> Raw:
        """Send, and return what answers first; it may be a status of the server.

        Args:
            subject: where to.
            payload: the body.
            timeout: seconds to wait.

        Raises:
            TimeoutError: no answer came.
            BusUnavailableError: the connection was lost meanwhile.
            NotPermittedError: the server does not permit this subject.
            ValueError: the subject can't go on the wire.
        """
        answered: asyncio.Future[Raw | Exception] = self._loop.create_future()
        reply = self.new_reply()
        self.expect(reply, monotonic() + timeout, subject, _resolve, answered)
        try:
            self._write(publication(subject, payload, reply.decode()))
            answer = await answered
        finally:
            self.forget(reply)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def take(self, answers: list[Raw]) -> None:
        """The inbox's sink."""
        waiting = self._waiting
        for raw in answers:
            entry = waiting.pop(raw[0], None)
            if entry is not None:
                entry[0](raw, entry[1])

    def denied(self, subject: str) -> str | None:
        """The server does not permit publishes to `subject`, which is in lower case: fail what went there. Returns its
        name as it was written, None where nothing did."""
        refused = {reply: entry[3] for reply, entry in self._waiting.items() if entry[3].lower() == subject}
        name = next(iter(refused.values()), None)
        self._end(list(refused), lambda: NotPermittedError(name or subject))
        return name

    def fail(self, reason: str) -> None:
        """The connection is gone: no answer will come."""
        self._end(list(self._waiting), lambda: BusUnavailableError(reason))
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, replies: list[bytes], error: Callable[[], Failed]) -> None:
        for answer, what, _, _ in [self._waiting.pop(reply) for reply in replies]:
            answer(error(), what)

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = monotonic()
        due = max(deadline, now + _TICK)
        self._timer = self._loop.call_later(due - now, self._tick)
        self._served_from = due - _TICK

    def _tick(self) -> None:
        self._timer, self._served_from = None, inf
        now = monotonic()
        self._end([reply for reply, (_, _, deadline, _) in self._waiting.items() if deadline <= now], TimeoutError)
        next_deadline = min((deadline for _, _, deadline, _ in self._waiting.values()), default=inf)
        if next_deadline < self._served_from:
            self._arm(next_deadline)


def _resolve(answer: Raw | Failed, future: asyncio.Future[Raw | Exception]) -> None:
    if not future.done():  # it may have been cancelled in this turn of the event loop
        future.set_result(answer)


def too_large(subject: str, size: int, limit: int) -> PayloadTooLargeError:
    """What to raise instead of sending what is larger than the server takes: it would end the connection.

    Args:
        subject: where to.
        size: bytes of headers and payload together; that is what the server compares.
        limit: the server's `max_payload`.
    """
    return PayloadTooLargeError(
        f"the message to {subject!r} has {size} bytes with its headers, and the server takes {limit} "
        "(its max_payload); nothing was sent"
    )


def json_object(payload: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one when the payload is something else."""
    try:
        answer = json.loads(payload)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
