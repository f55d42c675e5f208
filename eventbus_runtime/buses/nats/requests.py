"""Questions and their answers: one wildcard inbox a connection, one token a question."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

from eventbus_runtime.buses.base import PubAck
from eventbus_runtime.buses.nats.writer import publication
from eventbus_runtime.errors import BusUnavailableError, PublishError
from eventbus_runtime.message import Raw

_NO_RESPONDERS = 503


def status(raw: Raw) -> int:
    """The code of a status message (`NATS/1.0 503`); 0 for an ordinary message."""
    code = raw[3][8:12].strip() if raw[3] else b""
    return int(code) if code.isdigit() else 0


def nobody_listens(raw: Raw) -> bool:
    """Whether the server answered in place of a responder, since there is none (NATS ADR-22)."""
    return not raw[2] and status(raw) == _NO_RESPONDERS


class Requests:
    """The open questions of one connection."""

    def __init__(self, prefix: str, write: Callable[[bytes], None]) -> None:
        self.subject = f"{prefix}.*"
        self._prefix = prefix
        self._cut = len(prefix) + 1
        self._write = write
        self._tokens = itertools.count()
        self._waiting: dict[bytes, asyncio.Future[Raw]] = {}

    async def ask(self, subject: str, payload: bytes, headers: bytes = b"", *, timeout: float) -> Raw:
        """Send, and return what answers first; it may be a status of the server.

        Args:
            subject: where to.
            payload: the body.
            headers: an encoded header block, or empty.
            timeout: seconds to wait.

        Raises:
            TimeoutError: no answer came.
            BusUnavailableError: the connection was lost meanwhile.
            ValueError: the subject can't go on the wire.
        """
        token = f"{next(self._tokens):x}"
        command = publication(subject, payload, f"{self._prefix}.{token}", headers)
        future: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        self._waiting[token.encode()] = future
        self._write(command)
        try:
            async with asyncio.timeout(timeout):
                return await future
        finally:
            self._waiting.pop(token.encode(), None)

    def take(self, answers: list[Raw]) -> None:
        """The inbox's sink."""
        for raw in answers:
            future = self._waiting.get(raw[0][self._cut :])
            if future is not None and not future.done():
                future.set_result(raw)

    def fail(self, reason: str) -> None:
        """The connection is gone: no answer will come."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BusUnavailableError(reason))


def pub_ack(raw: Raw, subject: str) -> PubAck:
    """Read a stream's answer to a publish.

    Raises:
        PublishError: it is a refusal, no stream listens, or something else answered.
    """
    if nobody_listens(raw):
        raise PublishError(f"no stream stores {subject!r}: declare one, or correct the subject")
    answer = json_object(raw[2])
    error = answer.get("error")
    if isinstance(error, dict):
        raise PublishError(f"{subject!r} was refused: {error.get('description')}", int(error.get("err_code", 0)))
    try:
        return PubAck(str(answer["stream"]), int(answer["seq"]), bool(answer.get("duplicate", False)))
    except (KeyError, TypeError, ValueError):
        raise PublishError(f"something other than a stream answered on {subject!r}: {raw[2][:80]!r}") from None


def json_object(payload: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one when the payload is something else."""
    try:
        answer = json.loads(payload)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
