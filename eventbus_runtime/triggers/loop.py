"""The bounded pull loop: inboxes and requests around a `PullWindow`; attaches, pulls, begins anew when it must."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from eventbus_runtime.buses.base import Bus, Frame, Inbox
from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.counters import TriggerCounters
from eventbus_runtime.errors import BusError, BusUnavailableError, NotPermittedError, TriggerError
from eventbus_runtime.events import State
from eventbus_runtime.message import AckToken, Raw
from eventbus_runtime.triggers.backoff import Alarm, Backoff
from eventbus_runtime.triggers.consumer import denied_name
from eventbus_runtime.triggers.fence import Fence
from eventbus_runtime.triggers.pull import Attach, Command, Fail, Limits, Ping, PullWindow, Renew, Request
from eventbus_runtime.triggers.pull_bytes import sizes_of
from eventbus_runtime.triggers.status import Status

_OPEN_CREDIT_AT_STOP = 0.25
_ANSWER_AT_STOP = 1.0
# Seconds without an open request, after which the consumer may be another one.
_BLIND = 1.0
_ANOTHER = "its consumer is another one now, or was set back"


class PullLoop:
    """Brings deliveries of one consumer, never more than its window has room for.

    Args:
        bus: where from.
        window: how many.
        limits: how our pull requests look.
        fence: keeps acks; it must be proven before anything is pulled.
        counters: what it adds to.
        look: finds the consumer (makes it, where it is declared) and says what it is like.
        start: takes deliveries that there is room for, with their sizes in bytes and the event loop's time; calls
            `freed` soon, as after each turn of the event loop in which some were settled.
        refuse: takes deliveries that must not start: no room, or we are stopping.
        set_state: told of each change.
        warn: told what an operator should know.
    """

    def __init__(
        self,
        bus: Bus,
        window: PullWindow,
        limits: Limits,
        fence: Fence,
        counters: TriggerCounters,
        *,
        look: Callable[[], Awaitable[ConsumerInfo]],
        start: Callable[[list[Raw], list[int], float], None],
        refuse: Callable[[list[Raw]], None],
        set_state: Callable[[State, str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._bus, self._window, self._fence, self._counters = bus, window, fence, counters
        fence.proven, fence.unanswered, fence.sees = self.perform, self.unanswered, self.sees
        self._ours = self._limits = limits
        self._look, self._start, self._refuse, self._set_state, self._warn = look, start, refuse, set_state, warn
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm()
        self._backoff = Backoff()
        self._todo: deque[Command] = deque()
        self._inboxes: list[Inbox] = []
        self._generation = 0
        self._subject = ""
        self._first = b""  # how the ack tokens of first deliveries begin
        self._strangers = False
        self._pausing = False
        self._unproven = False  # the consumer looks well, but its pulls failed: running only once one is answered
        self._stopping = False
        self._closed = False
        self._looking: anyio.CancelScope | None = None
        self._check_at = self._delivered_at = self._looked_at = 0.0

    def connected(self) -> None:
        """See `buses.base.ConnectionListener`."""
        self._alarm.ring()

    def disconnected(self) -> None:
        """See `buses.base.ConnectionListener`: the requests are void, and their inboxes with them."""
        self._window.disconnected()
        self._fence.disconnected()
        self._todo.clear()
        self._forget_inboxes()
        self._alarm.ring()

    def denied(self, subject: str) -> str | None:
        """See `buses.base.ConnectionListener`: nothing can be pulled, or nothing settled."""
        name = denied_name(subject, self._subject)
        if name is not None:
            why = str(NotPermittedError(name))
            if name != self._subject:
                self._fence.why = why
            self.unanswered(why)
        return name

    def stop(self) -> None:
        """Ask for nothing more; `run` returns soon. Deliveries that are under way still start, until `close`."""
        self._stopping = True
        self._window.stop()
        if self._looking is not None:
            self._looking.cancel()
        self._alarm.ring()

    def abort(self) -> None:
        """As `stop`, and start nothing more from now on."""
        self.stop()
        self._closed = True

    def freed(self, deliveries: int, size: int) -> None:
        """Deliveries were settled, of `size` bytes in all: ask for as many."""
        self._window.freed(deliveries, size)
        self.perform()

    def unanswered(self, why: str = "") -> None:
        """The server does not answer, or says `why` it will not: look at the consumer, and begin anew."""
        self._window.interrupt(why or self._fence.why)
        self.perform()

    def sees(self) -> bool:
        """Whether what was settled may be said. Who has no request open is not told that the consumer is another one,
        where an old token would settle a message, and skip all before it; so after a second it is looked at first."""
        seen_at = max(self._delivered_at, self._looked_at)
        if self._stopping or self._window.credit or self._loop.time() - seen_at < _BLIND:
            return True
        self.look_soon()
        return False

    def look_soon(self) -> None:
        """The consumer is not what it was: see."""
        self._check_at = 0.0
        self._alarm.ring()

    async def run(self) -> None:
        """Pull until `stop`.

        Raises:
            TriggerError: the server says that pulling can never work.
        """
        attached = False
        while not self._stopping:
            if not self._bus.is_connected:
                if attached:
                    self._enter(State.BACKING_OFF, "the bus is not connected")
                await self._alarm.wait(None)
            elif await self._attach():
                attached = True
                await self._pull()

    async def _attach(self) -> bool:
        """Find the consumer and open inboxes, however long it takes; False when there is no connection or no need."""
        while True:
            if self._pausing:
                await self._alarm.wait(self._loop.time() + self._backoff.delay())
            if self._stopping or not self._bus.is_connected:
                return False
            try:
                consumer = None
                self._fence.asking()
                with anyio.CancelScope() as self._looking:
                    consumer = await self._look()
                    self._looked_at = self._loop.time()
                if consumer is None:
                    return False
                await self._open(consumer)
                return True
            except BusError as error:
                self._pausing = True
                self._enter(State.BACKING_OFF, str(error))

    async def _open(self, consumer: ConsumerInfo | None = None) -> None:
        """Give up the inboxes, open new ones, and pull on them."""
        if consumer is not None:
            self._subject = self._bus.api_subject(f"CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}")
            self._first = f"$JS.ACK.{consumer.stream}.{consumer.name}.1.".encode()
            self._limits = self._ours.within(
                max_expires=consumer.max_expires, max_batch=consumer.max_batch, max_bytes=consumer.max_bytes
            )
        self._generation += 1
        generation, old, new = self._generation, self._inboxes, list[Inbox]()
        self._inboxes = new
        for slot in range(self._window.slots):
            new.append(await self._bus.open_inbox(partial(self._take, generation, slot), wildcard=True))
        await self._retire(old)  # before we ask anew, since what it still brings takes room
        if consumer is not None:
            self._fence.recall.attached(consumer)
            if self._window.slots == 1:
                self._window.expect(self._bus.max_payload)
        try:
            await self._fence.prove(consumer.delivered if consumer is not None else None)
        except BusError:
            if generation == self._generation:
                raise
        if generation != self._generation:  # the connection broke meanwhile
            for inbox in new:
                inbox.close()
            raise BusUnavailableError("the connection was lost")
        self._check_at = self._loop.time() + self._limits.check
        self._window.resume(self._loop.time(), self._limits)
        self.perform()

    async def _retire(self, inboxes: list[Inbox], timeout: float = 5.0) -> bool:
        """Give up inboxes; False when the server did not answer within `timeout` seconds."""
        # What the server had sent before it read the UNSUB still comes: the sinks stay until the PONG behind it.
        for inbox in inboxes:
            await inbox.unsubscribe()
        answered = not inboxes or await self._bus.ping(timeout)
        for inbox in inboxes:
            inbox.close()
        return answered

    async def _pull(self) -> None:
        """Do what the window says until it wants the consumer looked at, the connection is gone, or we stop."""
        if not self._unproven:
            self._backoff.reset()
            self._enter(State.RUNNING)
        self._pausing = False
        generation = self._generation
        while generation == self._generation and not self._stopping:
            await self._alarm.wait(self._loop.time() + self._limits.heartbeat / 2)
            self._window.tick(self._loop.time())
            self.perform()
            try:
                while self._todo:
                    command = self._todo.popleft()
                    if isinstance(command, Ping):
                        self._window.pong(await self._bus.ping(self._limits.heartbeat))
                        self.perform()
                    elif isinstance(command, Renew):
                        self._counters.pull_restarts += 1
                        await self._open()
                        generation = self._generation
                    elif isinstance(command, Attach):
                        self._interrupted(command)
                        return
                    elif isinstance(command, Fail):
                        raise TriggerError(command.reason)
                await self._check()
            except BusError as error:
                self._interrupted(Attach(str(error), pause=True))
                return

    def _interrupted(self, command: Attach) -> None:
        self._counters.pull_restarts += 1
        self._pausing = self._unproven = command.pause
        self._enter(State.BACKING_OFF, command.reason)

    def _enter(self, state: State, reason: str = "") -> None:
        if not self._stopping:  # it is draining, whatever happens here
            self._set_state(state, reason)

    async def _check(self) -> None:
        """Once a minute: is the consumer what it was, and how far is its ack floor? Where nothing came since the last
        time: do messages pend that we have asked for?"""
        now = self._loop.time()
        if now < self._check_at:
            return
        self._check_at = now + self._limits.check
        consumer = await self._look()
        self._looked_at = self._loop.time()
        if not self._fence.recall.knows(consumer):
            self.unanswered(_ANOTHER)
            return
        self._fence.recall.looked(consumer, now)
        self._window.relax()
        may_come = consumer.max_ack_pending <= 0 or consumer.num_ack_pending < consumer.max_ack_pending
        silent = now - self._delivered_at >= self._limits.check
        if silent and consumer.num_pending and may_come and not consumer.paused and self._window.credit:
            self._window.doubt(now)
            self.perform()

    def _take(self, generation: int, slot: int, raws: list[Raw]) -> None:
        """The sink of every inbox: deliveries have a token to reply to, statuses have no reply subject."""
        now = self._loop.time()
        current = generation == self._generation
        deliveries = self._deliveries(raws)
        others = len(raws) - len(deliveries)
        if deliveries:
            self._delivered_at = now
            if self._window.slots > 1:
                sizes = sizes_of(deliveries)
            else:
                sizes = [0] * len(deliveries)
                # Two will do: where many fit into one read, they are small.
                self._window.weigh(max(len(deliveries[0][2]), len(deliveries[-1][2])))
            known = self._fence.arrived(slot, deliveries)
            if not known:
                self.unanswered(_ANOTHER)
            admitted = self._window.admit(slot, sizes, now, current=current) if known and not self._closed else 0
            if admitted < len(deliveries):
                self._refuse(deliveries[admitted:])
                del deliveries[admitted:]
            if deliveries:
                self._start(deliveries, sizes, now)
        if others and current:
            for raw in raws:
                if not raw[1]:
                    self._on_status(slot, raw, now)
            self.perform()  # what deliveries ask for waits until their handlers have begun: see `freed`
        if self._unproven and current and self._window.pulling:
            self._unproven = False
            self._backoff.reset()
            self._enter(State.RUNNING)
        if self._stopping and not self._window.credit:
            self._alarm.ring()

    def _deliveries(self, raws: list[Raw]) -> list[Raw]:
        # No client can forge one: the server refuses what is published with a reply subject below $JS.ACK.
        first = self._first
        return [raw for raw in raws if raw[1].startswith(first) or self._is_redelivery(raw[1])]

    def _is_redelivery(self, reply: bytes) -> bool:
        """Count one that is not plainly the first; False for what is no delivery (anyone may publish to an inbox)."""
        if not reply:
            return False
        try:
            token = AckToken.parse(reply.decode())
        except ValueError:
            if not self._strangers:
                self._warn(f"somebody else writes to its inbox (reply subject {reply[:80]!r}); that is ignored")
            self._strangers = True
            return False
        self._counters.redelivered += token.delivery_count > 1
        return True

    def _on_status(self, slot: int, raw: Raw, now: float) -> None:
        status = Status.parse(raw[3])
        if not status.code:  # a stranger's; the server's have one
            return
        token = raw[0].rpartition(b".")[2].decode("utf-8", "replace")
        was_alone = self._window.alone
        self._window.status(slot, token, status, now)
        if self._window.alone and not was_alone:
            self._warn(
                "a message is larger than a pull request may bring (max_bytes / 4); "
                "it will be handled alone, above the bound if need be: raise max_bytes"
            )

    def perform(self) -> None:
        """Send what the window asks for now; leave to `_pull` what takes an await."""
        frames = []
        self._window.held = self._fence.late or self._fence.held
        for command in self._window.commands(self._loop.time()):
            if isinstance(command, Request):
                reply = f"{self._inboxes[command.slot].subject}.{command.token}"
                frames.append(Frame(self._subject, command.body(), reply))
            else:
                self._todo.append(command)
                self._alarm.ring()
        if frames:
            self._counters.pulls += len(frames)
            self._bus.send(frames)

    async def close(self) -> None:
        """Steps 2 to 4 of the stop order: let open credit arrive, close the inboxes, and make sure that the server
        has dropped our requests; what comes late is refused."""
        if self._bus.is_connected and self._inboxes:
            until = self._loop.time() + _OPEN_CREDIT_AT_STOP
            while self._window.credit and self._inboxes and not self._closed and self._loop.time() < until:
                await self._alarm.wait(until)
            self._closed = True
            try:
                if await self._retire(self._inboxes, _ANSWER_AT_STOP):
                    await self._outlive_requests()
            except BusError:
                pass  # the connection is gone, and with it our requests
        self._closed = True
        self._forget_inboxes()

    async def _outlive_requests(self) -> None:
        """One tiny pull on a fresh inbox: once it is answered, the leader has seen that our other inboxes are gone.
        On 2.9 a nak before that can start a second copy of what still runs here."""
        answered = asyncio.Event()

        def sink(raws: list[Raw]) -> None:
            self._refuse(self._deliveries(raws))
            answered.set()

        inbox = await self._bus.open_inbox(sink)
        try:
            self._bus.send([Frame(self._subject, b'{"batch":1,"expires":1000000}', inbox.subject)])
            with anyio.move_on_after(_ANSWER_AT_STOP):
                await answered.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await self._retire([inbox], _ANSWER_AT_STOP)

    def _forget_inboxes(self) -> None:
        self._generation += 1
        inboxes, self._inboxes = self._inboxes, []
        for inbox in inboxes:
            inbox.close()
