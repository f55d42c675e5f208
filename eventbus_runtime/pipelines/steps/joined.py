"""Acks that are waited for, as cheap as those that are not: joined, so that one answer of the server proves many."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.message import stream_at

# Acks that are written at once, so that the server begins with them while this turn of the loop makes more.
_PLENTY = 64
_Group: TypeAlias = tuple[bytes, list[bytes], list[asyncio.Future[None]]]
"""How the tokens of a consumer begin, those that are not written yet, and who waits for any."""


class JoinedAcks:
    """Acknowledges by token, and waits for the server's word.

    What is acknowledged in one turn of the event loop is written together, and the last of each consumer asks for an
    answer. A consumer's leader works off acks in order, so that it proves those before it on this connection.

    Args:
        bus: where to.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._due: dict[bytes, _Group] = {}
        self._confirming: set[asyncio.Task[None]] = set()
        self._latest: _Group = b"", [], []  # that of the last token: most often the next one's too

    def ack(self, token: str) -> asyncio.Future[None]:
        """Acknowledge; what is returned is done once the server has it.

        Args:
            token: of a delivery, checked by the caller (`message.check_ack_subject`).

        It raises:
            BusUnavailableError: there is no connection, nobody listens there, or no answer came.
            ValueError: a token of this turn can't go on the wire.
        """
        loop, subject = asyncio.get_running_loop(), token.encode()
        group = self._latest
        if not group[0] or not subject.startswith(group[0]):
            group = self._latest = self._group(subject, loop)
        waiter: asyncio.Future[None] = loop.create_future()
        due = group[1]
        if len(due) >= _PLENTY and self._bus.is_connected:  # else it would be dropped, and a connection may come back
            self._bus.answer_all(due)
            due.clear()
        due.append(subject)
        group[2].append(waiter)
        return waiter

    def _group(self, subject: bytes, loop: asyncio.AbstractEventLoop) -> _Group:
        parts = subject.split(b".")
        consumer = b".".join(parts[: stream_at(parts) + 2]) + b"."
        group = self._due.get(consumer)
        if group is None:
            group = self._due[consumer] = consumer, [], []
            task = loop.create_task(self._confirm(group))
            self._confirming.add(task)
            task.add_done_callback(self._confirming.discard)
        return group

    async def _confirm(self, group: _Group) -> None:
        """Begins in the next turn of the event loop: by then all of this one are in the group."""
        consumer, tokens, waiters = group
        del self._due[consumer]
        if self._latest is group:
            self._latest = b"", [], []
        error: BaseException | None = None
        try:
            if len(tokens) > 1:
                self._bus.answer_all(tokens[:-1])
            await self._bus.request(tokens[-1].decode())
        except BaseException as raised:  # noqa: BLE001 - whatever it is, those who wait must learn of it
            error = raised
        for waiter in waiters:
            if waiter.done():  # who waited was cancelled
                continue
            if error is None:
                waiter.set_result(None)
            elif isinstance(error, Exception):
                waiter.set_exception(error)
            else:
                waiter.cancel()
