"""Fetches a batch of one consumer when somebody asks for it, and nothing in between (S-31).

A call has an inbox and a `PullWindow` of its own, since a delivery does not name its request; the inbox is kept for the
next call. What comes while nobody waits for it any more is handed back at once, so that it comes again soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from eventbus_runtime.buses.base import Bus, Frame, Inbox
from eventbus_runtime.buses.questions import ask_consumer
from eventbus_runtime.errors import (
    BusUnavailableError,
    EventbusError,
    NotFoundError,
    NotPermittedError,
    TriggerError,
)
from eventbus_runtime.message import Raw
from eventbus_runtime.triggers.backoff import Alarm, Backoff
from eventbus_runtime.triggers.delivery import NAK
from eventbus_runtime.triggers.pull import Command, Fail, Limits, Ping, PullWindow, Request
from eventbus_runtime.triggers.status import Status

_TOKEN = b"$JS.ACK."  # no client can forge a reply subject below it
# Seconds. A heartbeat is for waits that are long enough to notice a silence; the server's last word on a request may
# come so late; a request that is open for less is none.
_HEARTBEAT, _WORTH_HEARTBEATS, _LATE, _SHORTEST = 5.0, 2.0, 0.5, 0.001
_PATIENCE = 1.0
_KEPT = 4


class Fetcher:
    """A durable consumer that batches are fetched of; implements `pipelines.steps.consume.Source`. Makes no consumer.

    Calls may overlap: each gets its own deliveries, in its own time.

    Args:
        bus: its bus.
        stream: the consumer's stream.
        consumer: its name.
    """

    def __init__(self, bus: Bus, stream: str, consumer: str) -> None:
        self.bus, self.stream, self.consumer = bus, stream, consumer
        self.pulls = bus.api_subject(f"CONSUMER.MSG.NEXT.{stream}.{consumer}")
        self.largest = 0
        """Bytes of the largest payload of late; 0 before the first."""
        self._limits: Limits | None = None  # the consumer's, as of the last look on this connection
        self._idle: list[_Line] = []
        self._calls: set[_Call] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._unlisten: Callable[[], None] | None = None

    async def fetch(self, batch: int, max_wait: float) -> list[Raw]:
        """What comes within `max_wait` seconds, at most `batch` deliveries; returns at once when they are there.

        Whoever is cancelled meanwhile loses nothing: what had come is handed back. Where the connection is lost, or the
        consumer is gone, what had come is the answer: it may still be acknowledged, or comes again.

        Raises:
            NotFoundError: there is no such consumer.
            TriggerError: nothing can be pulled from it.
            BusUnavailableError: no connection, or no answer.
        """
        if self._unlisten is None:
            self._unlisten = self.bus.listen(self)
        call = _Call(self, batch, max_wait)
        self._calls.add(call)
        unwanted: Sequence[Raw] = call.raws
        try:
            found, unwanted = await call.run(), ()
            return found
        finally:
            self._calls.discard(call)
            call.leave(unwanted)

    async def close(self) -> None:
        """Give up what is open. A call that still waits ends with an error. Idempotent."""
        for call in list(self._calls):
            call.fail(BusUnavailableError(f"the consumer {self.consumer} is not fetched from any more"))
        while self._idle:
            self.retire(self._idle.pop())
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        if self._retiring:
            await asyncio.wait(self._retiring)

    def connected(self) -> None:
        """See `buses.base.ConnectionListener`."""

    def disconnected(self) -> None:
        """See `buses.base.ConnectionListener`: requests and inboxes are gone with it."""
        self._limits = None
        while self._idle:
            self._idle.pop().close()
        for call in self._calls:
            call.fail(BusUnavailableError("the connection was lost while it waited for messages"))

    def denied(self, subject: str) -> str | None:
        """See `buses.base.ConnectionListener`."""
        if subject != self.pulls.lower():
            return None
        for call in self._calls:
            call.fail(NotPermittedError(self.pulls))
        return self.pulls

    async def limits(self, *, anew: bool) -> Limits:
        """How requests must look; the server is asked where that is not known on this connection, or `anew`.

        Raises:
            NotFoundError: there is no such consumer.
            TriggerError: nothing can be pulled from it.
            BusUnavailableError: no answer.
        """
        if self._limits is None or anew:
            try:
                found = await ask_consumer(self.bus, self.stream, self.consumer)
            except NotFoundError as error:
                text = f"there is no consumer {self.consumer} of the stream {self.stream}: {error.description}"
                raise NotFoundError(error.code, error.err_code, text, error.subject) from None
            if found.is_push:
                raise TriggerError(
                    f"consumer {self.consumer} of {self.stream} is push based; only from a pull one can be fetched"
                )
            self._limits = Limits(expires=found.max_expires, max_batch=found.max_batch)
        return self._limits

    async def line(self) -> _Line:
        """An open inbox that nobody uses.

        Raises:
            BusUnavailableError: there is no connection.
        """
        if self._idle:
            return self._idle.pop()
        line = _Line(self.bus)
        line.inbox = await self.bus.open_inbox(line.take, wildcard=True)
        return line

    def keep(self, line: _Line) -> None:
        """Nothing is open on this inbox: it is good for the next call."""
        line.call = None
        if len(self._idle) < _KEPT:
            self._idle.append(line)
        else:
            self.retire(line)

    def retire(self, line: _Line, unwanted: Sequence[Raw] = ()) -> None:
        """Have the server drop the requests of this inbox, then hand back what is unwanted: told before, it could
        deliver that to the very same request."""
        line.call = None
        task = asyncio.create_task(self._retire(line, unwanted))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, line: _Line, unwanted: Sequence[Raw]) -> None:
        await line.drop()
        hand_back(self.bus, unwanted)
        await self.bus.ping()
        line.close()


class _Line:
    """One inbox, for one call at a time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.inbox: Inbox | None = None
        self.call: _Call | None = None

    def take(self, raws: list[Raw]) -> None:
        """The inbox's sink. What nobody waits for is handed back."""
        if self.call is not None:
            self.call.take(raws)
        else:
            hand_back(self._bus, raws)

    async def drop(self) -> None:
        """Tell the server to send no more; what is under way still comes."""
        if self.inbox is not None:
            await self.inbox.unsubscribe()

    def close(self) -> None:
        """Forget it."""
        if self.inbox is not None:
            self.inbox.close()
            self.inbox = None


class _Call:
    """One fetch. The window decides what is asked for, and what a status means."""

    def __init__(self, fetcher: Fetcher, batch: int, max_wait: float) -> None:
        self.raws: list[Raw] = []
        self._fetcher, self._bus, self._batch = fetcher, fetcher.bus, batch
        self._now = asyncio.get_running_loop().time
        self._until = self._now() + max_wait
        self._window = PullWindow(batch)
        # So many bytes at once the server may owe us; before anything has come, all may be as large as can be.
        self._window.expect(fetcher.largest or self._bus.max_payload)
        self._largest = 0
        self._theirs = Limits()
        self._line: _Line | None = None
        self._alarm, self._backoff = Alarm(), Backoff()
        self._todo: list[Command] = []
        self._error: EventbusError | None = None

    async def run(self) -> list[Raw]:
        """See `Fetcher.fetch`."""
        tries = 0
        while self._error is None:
            if tries > 1:
                await self._alarm.wait(min(self._until, self._now() + self._backoff.delay()))
            try:
                await self._attach(anew=tries > 0)
                if await self._pull():
                    return self.raws
            except NotPermittedError as error:
                self.fail(error)
            except BusUnavailableError as error:
                if self._is_over or not self._bus.is_connected:
                    self.fail(error)
            except EventbusError as error:
                self.fail(error)
            tries += 1
        if self.raws:
            return self.raws
        raise self._error

    def take(self, raws: list[Raw]) -> None:
        """What came to its inbox, in order."""
        window, now = self._window, self._now()
        deliveries = [raw for raw in raws if raw[1].startswith(_TOKEN)]
        if deliveries:
            size = max(len(deliveries[0][2]), len(deliveries[-1][2]))
            self._largest = max(self._largest, size)
            window.weigh(size)
            admitted = window.admit(0, [0] * len(deliveries), now)
            self.raws += deliveries[:admitted]
            hand_back(self._bus, deliveries[admitted:])
        for raw in raws if len(deliveries) < len(raws) else ():
            if not raw[1] and (status := Status.parse(raw[3])).code:
                window.status(0, raw[0].rpartition(b".")[2].decode("utf-8", "replace"), status, now)
        self._perform()
        if self._todo or not window.credit:
            self._alarm.ring()

    def fail(self, error: EventbusError) -> None:
        """Nothing more will come."""
        self._error = self._error or error
        self._window.disconnected()
        self._alarm.ring()

    def leave(self, unwanted: Sequence[Raw] = ()) -> None:
        """Nobody waits for it any more: its inbox is free for the next call, unless something may still come to it."""
        self._fetcher.largest = max(self._largest, self._fetcher.largest // 2)
        line, self._line = self._line, None
        if line is None:
            hand_back(self._bus, unwanted)
        elif unwanted or self._window.credit or self._todo or self._error is not None:
            self._fetcher.retire(line, unwanted)
        else:
            self._fetcher.keep(line)

    async def _attach(self, *, anew: bool) -> None:
        """Find the consumer where it is not known, open an inbox where there is none, and ask."""
        if anew and self._line is not None:
            self._fetcher.retire(self._line)
            self._line = None
        self._todo.clear()
        self._theirs = await self._fetcher.limits(anew=anew)
        if self._line is None:
            self._line = await self._fetcher.line()
            self._line.call = self
        self._window.resume(self._now(), self._bounded())
        self._perform()

    def _bounded(self) -> Limits:
        left = max(_SHORTEST, self._until - self._now())
        limits = Limits(left, _HEARTBEAT if left >= _WORTH_HEARTBEATS else 0.0)
        return limits.within(max_expires=self._theirs.expires, max_batch=self._theirs.max_batch, max_bytes=0)

    def _perform(self) -> None:
        """Send what the window asks for; leave to `_pull` what takes an await."""
        window, line = self._window, self._line
        window.held = self._is_over
        if window.free and not window.held:
            window.limits = self._bounded()
        frames = []
        for command in window.commands(self._now()):
            if isinstance(command, Request) and line is not None and line.inbox is not None:
                frames.append(Frame(self._fetcher.pulls, command.body(), f"{line.inbox.subject}.{command.token}"))
            else:
                self._todo.append(command)
        if frames:
            self._bus.send(frames)

    @property
    def _is_over(self) -> bool:
        return self._until - self._now() < _SHORTEST

    async def _pull(self) -> bool:
        """Wait for what was asked for. True when this call is done; False when it must begin anew, or has failed."""
        window = self._window
        while self._error is None:
            if len(self.raws) >= self._batch or (self._is_over and window.pulling and not window.credit):
                return True
            if self._now() >= self._until + _LATE:
                await self._end()
                return True
            if self._todo:
                if not await self._goes_on(self._todo.pop(0)):
                    return False
                continue
            beat = window.limits.heartbeat
            end = self._until + (_LATE if window.credit else 0.0)
            await self._alarm.wait(min(end, self._now() + beat / 2) if beat else end)
            if beat:
                window.tick(self._now())
            self._perform()
        return False

    async def _goes_on(self, command: Command) -> bool:
        """Do what the window wants; False where that is to begin anew.

        Raises:
            TriggerError: nothing can ever be pulled from this consumer.
        """
        if isinstance(command, Fail):
            raise TriggerError(f"consumer {self._fetcher.consumer} of {self._fetcher.stream}: {command.reason}")
        if isinstance(command, Ping):
            answered = await self._bus.ping(_PATIENCE)
            if not answered:
                self.fail(BusUnavailableError("the server does not answer any more"))
            self._window.pong(answered)
            self._perform()
            return True
        return False

    async def _end(self) -> None:
        """The server has not said that our time is over. 2.9 says nothing for a consumer that is not there, and amid an
        election nobody does: take what is still under way, and see what is wrong.

        Raises:
            As `Fetcher.limits`; only where nothing has come.
        """
        line = self._line
        if line is not None:
            await line.drop()
            await self._bus.ping(_PATIENCE)
            self._line = None  # not before: who is cancelled meanwhile leaves it to `leave`
            line.close()
        if not self.raws:
            await self._fetcher.limits(anew=True)


def hand_back(bus: Bus, raws: Sequence[Raw]) -> None:
    """Nak what nobody waits for, so that it comes again soon."""
    if tokens := [raw[1] for raw in raws if raw[1].startswith(_TOKEN)]:
        bus.answer_all(tokens, NAK)
