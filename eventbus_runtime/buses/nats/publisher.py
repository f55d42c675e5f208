"""Confirmed publishes: a bounded window of those that are not confirmed yet, and a line before it."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from time import monotonic
from typing import TypeAlias, cast

from eventbus_runtime.buses.base import Done, HeaderPairs, PubAck
from eventbus_runtime.buses.nats.errors import refusal
from eventbus_runtime.buses.nats.lifecycle import Lifecycle
from eventbus_runtime.buses.nats.requests import Failed, Requests, json_object, nobody_listens, too_large
from eventbus_runtime.buses.nats.writer import publication
from eventbus_runtime.errors import (
    BusUnavailableError,
    EventbusError,
    NoStreamError,
    NotPermittedError,
    PublishError,
)
from eventbus_runtime.headers import encode
from eventbus_runtime.message import Raw

# What may be unconfirmed at once; a message that is larger than all of it goes alone.
_WINDOW, _WINDOW_BYTES = 4096, 32 << 20
# NATS ADR-22: no responders may be a stream without a leader, so try twice again, this many seconds later each.
_RETRIES, _RETRY_AFTER = 2, 0.25
# Subjects whose check is remembered.
_MAX_SUBJECTS = 500
# How the server writes a confirmation. Anything else is left to JSON.
_CONFIRMED = re.compile(rb'\{"stream":"([!#-\[\]-~]+)","seq":(\d+)(,"duplicate": ?true)?\}')


_Try: TypeAlias = tuple[Requests, bytes, bytes, int, str, float, float, int, Done]
"""A publish that is not confirmed: where its answer is awaited, reply subject, command, size in bytes, subject,
time-out in seconds, deadline by `time.monotonic`, number of tries before, and whom to tell. A plain tuple, since each
publish makes one."""


class Publisher:
    """The publishes of one bus that wait for a stream's confirmation.

    At most 4096 of them, with 32 MiB of headers and payloads, are with the server; those beyond stand in line, in the
    order of their calls, while their time runs.
    """

    def __init__(self, life: Lifecycle) -> None:
        self._life = life
        self._write = life.writer.write
        self._subjects: dict[str, bytes] = {}
        self._open: dict[bytes, int] = {}
        self._open_bytes = 0
        self._line: OrderedDict[bytes, tuple[bytes, int]] = OrderedDict()
        self._advancing = False
        self._answered = self._take  # bound once, and not for every publish

    async def publish(
        self,
        subject: str,
        payload: bytes | str,
        headers: HeaderPairs,
        id: str | None,  # noqa: A002 - the header's own word
        expect_stream: str | None,
        timeout: float,
    ) -> PubAck:
        """See `buses.base.Bus.publish`."""
        done: asyncio.Future[PubAck | EventbusError] = asyncio.get_running_loop().create_future()
        reply = self.submit(subject, payload, headers, id, expect_stream, timeout, done.set_result)
        try:
            answer = await done
        except asyncio.CancelledError:
            if self._life.link is not None:
                self._life.link.requests.forget(reply)
            self._leave(reply)
            raise
        if type(answer) is PubAck:
            return answer
        raise cast(EventbusError, answer)

    def submit(
        self,
        subject: str,
        payload: bytes | str,
        headers: HeaderPairs,
        id: str | None,  # noqa: A002 - as above
        expect_stream: str | None,
        timeout: float,
        done: Done,
    ) -> bytes:
        """See `buses.base.Bus.publish_nowait`; returns the reply subject."""
        deadline = monotonic() + timeout
        life = self._life
        requests = (life.link or life.live()).requests
        body = payload if isinstance(payload, bytes) else encoded(payload)
        plain = not headers and id is None and expect_stream is None
        block = b"" if plain else header_block(headers, id, expect_stream)
        target = self._subjects.get(subject) or self._check(subject)
        size = len(block) + len(body)
        if size > life.max_payload:
            raise too_large(subject, size, life.max_payload)
        reply = requests.new_reply()
        if block:
            command = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (target, reply, len(block), size, block, body)
        else:
            command = b"PUB %b %b %d\r\n%b\r\n" % (target, reply, size, body)
        self._send((requests, reply, command, size, subject, timeout, deadline, 0, done))
        return reply

    def _send(self, one: _Try) -> None:
        requests, reply, command, size, subject, _, deadline, _, _ = one
        requests.expect(reply, deadline, subject, self._answered, one)
        if self._line or self._is_full(size):
            self._line[reply] = command, size
        else:
            self._open[reply] = size
            self._open_bytes += size
            self._write(command)

    def _take(self, answer: Raw | Failed, one: _Try) -> None:
        requests, reply, command, size, subject, timeout, deadline, tries, done = one
        was_sent = self._leave(reply)
        if isinstance(answer, Exception):
            result: PubAck | EventbusError = self._unconfirmed(answer, subject, timeout, was_sent)
        elif answer[3] is None or not nobody_listens(answer):
            result = pub_ack(answer, subject)
            self._life.counters.published += type(result) is PubAck
        elif tries < _RETRIES and (resume_at := monotonic() + _RETRY_AFTER) < deadline:
            again = (requests, reply, command, size, subject, timeout, deadline, tries + 1, done)
            requests.expect(reply, resume_at, subject, self._resume, again)
            return
        else:
            result = NoStreamError(f"no stream stores {subject!r}: declare one, or correct the subject")
        try:  # noqa: SIM105 - `suppress` would cost every publish
            done(result)
        except asyncio.InvalidStateError:
            pass  # the future of a publish that was cancelled in this turn of the event loop

    def _resume(self, why: Raw | Failed, one: _Try) -> None:
        if isinstance(why, BusUnavailableError):
            one[-1](why)
        else:
            self._send(one)

    def _is_full(self, size: int) -> bool:
        taken = len(self._open)
        return taken >= _WINDOW or (taken > 0 and self._open_bytes + size > _WINDOW_BYTES)

    def _leave(self, reply: bytes) -> bool:
        """Make room for the next; False where it had not been sent. Idempotent."""
        size = self._open.pop(reply, None)
        if size is not None:
            self._open_bytes -= size
        if self._line:
            self._line.pop(reply, None)
            if not self._advancing:
                self._advancing = True
                asyncio.get_running_loop().call_soon(self._advance)
        return size is not None

    def _advance(self) -> None:
        """Let in who is next in line: all that end in one turn of the event loop have left it by now."""
        self._advancing = False
        while self._line:
            reply, (command, size) = next(iter(self._line.items()))
            if self._is_full(size):
                return
            del self._line[reply]
            self._open[reply] = size
            self._open_bytes += size
            self._write(command)

    def _unconfirmed(self, error: Failed, subject: str, timeout: float, was_sent: bool) -> EventbusError:
        if isinstance(error, NotPermittedError):
            return error
        if was_sent:
            text = f"the message to {subject!r} may have been stored: publish it again with the same id"
        else:
            text = f"nothing was sent to {subject!r}: {len(self._open)} publishes before it were not confirmed"
        if isinstance(error, BusUnavailableError):
            return BusUnavailableError(f"{error}; {text}")
        return PublishError(f"no stream confirmed {subject!r} within {timeout:g} s; {text}")

    def _check(self, subject: str) -> bytes:
        """`subject` as it goes on the wire, remembered.

        Raises:
            ValueError: it can't go on the wire.
        """
        # With a reply that has room for the longest token, and for the sizes of headers and payload.
        publication(subject, b"", self._life.live().requests.subject + "0" * 40)
        target = subject.encode("utf-8", "surrogateescape")
        if len(self._subjects) >= _MAX_SUBJECTS:
            self._subjects.clear()
        self._subjects[subject] = target
        return target


def encoded(payload: str | bytearray | memoryview) -> bytes:
    """A payload that is not bytes, as bytes.

    Raises:
        TypeError: it is something else; it would fail half-way.
    """
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, bytearray | memoryview):
        return bytes(payload)
    raise TypeError(f"a payload is bytes or text, not {type(payload).__name__}: encode it first")


def header_block(headers: HeaderPairs, id: str | None, expect_stream: str | None) -> bytes:  # noqa: A002 - as above
    """The headers of a publish, encoded; a `Nats-Msg-Id` among them wins over `id`.

    Raises:
        ValueError: a name or value can't go on the wire.
    """
    if id is not None and not headers and expect_stream is None and "\r" not in id and "\n" not in id:
        try:
            return b"NATS/1.0\r\nNats-Msg-Id: %b\r\n\r\n" % id.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            pass  # `encode` says what is wrong
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if id is not None and all(name != "Nats-Msg-Id" for name, _ in pairs):
        pairs.append(("Nats-Msg-Id", id))
    if expect_stream is not None:
        pairs.append(("Nats-Expected-Stream", expect_stream))
    return encode(pairs)


def pub_ack(raw: Raw, subject: str) -> PubAck | PublishError:
    """A stream's answer to a publish: its confirmation; or a refusal, or what else answered, as what to raise."""
    confirmed = _CONFIRMED.fullmatch(raw[2])
    if confirmed is not None:
        # As `PubAck(…)` does it, without the call into Python that every named tuple makes.
        return tuple.__new__(PubAck, (confirmed[1].decode(), int(confirmed[2]), confirmed[3] is not None))
    answer = json_object(raw[2])
    error = answer.get("error")
    if isinstance(error, dict):
        return refusal(error, subject)
    try:
        return PubAck(str(answer["stream"]), int(answer["seq"]), bool(answer.get("duplicate", False)))
    except (KeyError, TypeError, ValueError):
        return PublishError(f"something other than a stream answered on {subject!r}: {raw[2][:80]!r}")
