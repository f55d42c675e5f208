"""Confirmed publishes: a bounded window of those that are not confirmed yet, and a line before it."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from time import monotonic

from eventbus_runtime.buses.base import HeaderPairs, PubAck
from eventbus_runtime.buses.nats.errors import refusal
from eventbus_runtime.buses.nats.lifecycle import Lifecycle
from eventbus_runtime.buses.nats.requests import json_object, nobody_listens, too_large
from eventbus_runtime.buses.nats.writer import publication
from eventbus_runtime.errors import BusUnavailableError, EventbusError, NoStreamError, PublishError
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


class Publisher:
    """The publishes of one bus that wait for a stream's confirmation.

    At most 4096 of them, with 32 MiB of headers and payloads, are with the server; those beyond stand in line, in the
    order of their calls, while their time runs.
    """

    def __init__(self, life: Lifecycle) -> None:
        self._life = life
        self._write = life.writer.write
        self._subjects: dict[str, bytes] = {}
        self._open = 0
        self._open_bytes = 0
        self._line: OrderedDict[bytes, tuple[asyncio.Future[Raw], bytes, int]] = OrderedDict()

    async def publish(  # long: one coroutine, since each more is paid by every publish
        self,
        subject: str,
        payload: bytes | str,
        headers: HeaderPairs,
        id: str | None,  # noqa: A002 - the header's own word
        expect_stream: str | None,
        timeout: float,
    ) -> PubAck:
        """See `buses.base.Bus.publish`."""
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
        retries = 0
        while True:
            reply, answer = requests.expect(deadline)
            if block:
                command = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (target, reply, len(block), size, block, body)
            else:
                command = b"PUB %b %b %d\r\n%b\r\n" % (target, reply, size, body)
            if self._line or self._full(size):
                self._line[reply] = answer, command, size
            else:
                self._open += 1
                self._open_bytes += size
                self._write(command)
            try:
                raw = await answer
            except (TimeoutError, BusUnavailableError) as error:
                raise self._unconfirmed(error, subject, reply, timeout) from None
            finally:
                requests.forget(reply)
                if self._line:
                    self._leave(reply, size)
                else:
                    self._open -= 1
                    self._open_bytes -= size
            if raw[3] is None or not nobody_listens(raw):
                ack = pub_ack(raw, subject)
                life.counters.published += 1
                return ack
            if retries == _RETRIES or monotonic() + _RETRY_AFTER >= deadline:
                raise NoStreamError(f"no stream stores {subject!r}: declare one, or correct the subject")
            retries += 1
            await requests.pause(_RETRY_AFTER)
            requests = life.live().requests

    def _full(self, size: int) -> bool:
        return self._open >= _WINDOW or (self._open > 0 and self._open_bytes + size > _WINDOW_BYTES)

    def _leave(self, reply: bytes, size: int) -> None:
        """End what stands in line, or is with the server; then let in who is next."""
        line = self._line
        if line.pop(reply, None) is None:
            self._open -= 1
            self._open_bytes -= size
        while line:
            reply, (answer, command, size) = next(iter(line.items()))
            # Who has failed in line leaves by itself, still in this turn of the loop.
            if answer.done() or self._full(size):
                return
            del line[reply]
            self._open += 1
            self._open_bytes += size
            self._write(command)

    def _unconfirmed(
        self, error: TimeoutError | BusUnavailableError, subject: str, reply: bytes, timeout: float
    ) -> EventbusError:
        if reply in self._line:
            text = f"nothing was sent to {subject!r}: {self._open} publishes before it were not confirmed"
        else:
            text = f"the message to {subject!r} may have been stored: publish it again with the same id"
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
        return b"NATS/1.0\r\nNats-Msg-Id: %b\r\n\r\n" % id.encode("utf-8", "surrogateescape")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if id is not None and all(name != "Nats-Msg-Id" for name, _ in pairs):
        pairs.append(("Nats-Msg-Id", id))
    if expect_stream is not None:
        pairs.append(("Nats-Expected-Stream", expect_stream))
    return encode(pairs)


def pub_ack(raw: Raw, subject: str) -> PubAck:
    """Read a stream's answer to a publish.

    Raises:
        PublishError: it is a refusal, or something else answered.
    """
    confirmed = _CONFIRMED.fullmatch(raw[2])
    if confirmed is not None:
        # As `PubAck(…)` does it, without the call into Python that every named tuple makes.
        return tuple.__new__(PubAck, (confirmed[1].decode(), int(confirmed[2]), confirmed[3] is not None))
    answer = json_object(raw[2])
    error = answer.get("error")
    if isinstance(error, dict):
        raise refusal(error, subject)
    try:
        return PubAck(str(answer["stream"]), int(answer["seq"]), bool(answer.get("duplicate", False)))
    except (KeyError, TypeError, ValueError):
        raise PublishError(f"something other than a stream answered on {subject!r}: {raw[2][:80]!r}") from None
