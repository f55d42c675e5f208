"""One live connection: what is subscribed and asked on it, and ends with it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from nats.aio.client import Client

from eventbus_runtime.buses.base import Sink
from eventbus_runtime.buses.nats.reader import Reader
from eventbus_runtime.buses.nats.requests import Requests
from eventbus_runtime.buses.nats.writer import Writer, check_subject


class Link:
    """The use that we make of one connected nats-py client until its connection is lost.

    Args:
        client: the connected client.
        writer: the bus's writer; this link is its way out from now on.
        inbox_prefix: first part of all reply subjects.
        lost: called with the error when the connection does not take any more.
        warn: called with what an operator should know.
    """

    def __init__(
        self,
        client: Client,
        writer: Writer,
        inbox_prefix: str,
        lost: Callable[[BaseException], None],
        warn: Callable[[str], None],
    ) -> None:
        self.client = client
        self._writer = writer
        self._inbox_prefix = inbox_prefix
        self._reader = Reader(client, warn)
        self._closed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        writer.attach(client, lost)
        self.requests = Requests(self.new_inbox(), writer.write)
        self._subscribe(self.requests.subject, self.requests.take)
        self.writing = asyncio.create_task(writer.drain(), name="eventbus bus writer")

    def new_inbox(self) -> str:
        """A reply subject that nobody else has."""
        return f"{self._inbox_prefix}.{secrets.token_hex(11)}"

    def open_inbox(self, sink: Sink, wildcard: bool) -> NatsInbox:
        """Subscribe a new inbox; with `wildcard`, to everything one token below it."""
        subject = self.new_inbox()
        sid = self._subscribe(f"{subject}.*" if wildcard else subject, sink)
        return NatsInbox(self, subject, sid)

    def unsubscribe(self, sid: int) -> None:
        """Tell the server to send no more for `sid`; its sink stays."""
        if not self._closed.done():
            self._writer.write(b"UNSUB %d\r\n" % sid)

    def forget(self, sid: int) -> None:
        """Drop the sink of `sid`."""
        self._reader.forget(sid)

    async def ping(self, timeout: float) -> bool:
        """Whether a PONG comes within `timeout` seconds; all that came before it is in its sink by then."""
        pong = self._writer.ping()
        await asyncio.wait({pong, self._closed}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        # What came before the PONG has been handed out by now, or stands before us in the event loop's line.
        return pong.done()

    def close(self, reason: str) -> None:
        """The connection is gone: hand out what it brought, fail what it owes. Idempotent."""
        if self._closed.done():
            return
        self._closed.set_result(True)
        self._reader.detach()
        self._writer.detach()
        self.requests.fail(reason)
        self.writing.cancel()

    def _subscribe(self, subject: str, sink: Sink) -> int:
        # By our own SUB, in order with all that we write: nats-py would subscribe again after a reconnect of its own,
        # and what the old connection's pull requests are still owed would come to an inbox that nobody reads.
        sid = self._reader.add(sink)
        self._writer.write(b"SUB %b %d\r\n" % (check_subject(subject), sid))
        return sid


class NatsInbox:
    """An open inbox (see `buses.base.Inbox`)."""

    def __init__(self, link: Link, subject: str, sid: int) -> None:
        self.subject = subject
        self._link, self._sid = link, sid

    async def unsubscribe(self) -> None:
        """Tell the server to send no more. The sink still gets what is under way, until `close`."""
        self._link.unsubscribe(self._sid)

    def close(self) -> None:
        """Forget the sink. Idempotent, and safe when the connection is gone."""
        self._link.forget(self._sid)
