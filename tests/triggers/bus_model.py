"""A bus that is a model of its server: one stream `S`, one consumer `c`, as far as a trigger can notice.

What the server sends stays on the wire, and what it is to confirm stays open, until the test lets it go on.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from eventbus_runtime.buses.base import ConnectionListener, Done, Frame, HeaderPairs, PubAck, Sink
from eventbus_runtime.errors import BusUnavailableError, EventbusError, NotFoundError, PublishError
from eventbus_runtime.events import State
from eventbus_runtime.message import Raw, rfc3339

ACK_WAIT = 30.0
_NEXT = "$JS.API.CONSUMER.MSG.NEXT.S.c"
_WORDS = {b"": "ack", b"+TERM": "term", b"+WPI": "progress"}

Identity = tuple[int, int]
"""Stream sequence and time of storage: one message."""


def identity_of(token: bytes) -> Identity:
    """Whose delivery it is."""
    parts = token.split(b".")
    return int(parts[5]), int(parts[7])


@dataclass
class Consumer:
    """What the server knows."""

    created: int
    opt_start_seq: int = 0
    delivered: int = 0
    numbers: int = 0
    counts: dict[int, int] = field(default_factory=dict)
    pending: dict[int, float] = field(default_factory=dict)
    """Until when, by sequence."""
    done: dict[int, float] = field(default_factory=dict)
    """Since when, by sequence."""

    @property
    def floor(self) -> int:
        return min(self.pending, default=self.delivered + 1) - 1


@dataclass
class Open:
    """A pull request."""

    reply: str
    left: int
    until: float
    beat: float
    beat_at: float


@dataclass
class Asked:
    """A publish, or a request, that waits for its confirmation."""

    id: str
    done: Done


class Inbox:
    """See `buses.base.Inbox`."""

    def __init__(self, bus: ModelBus, subject: str, sink: Sink) -> None:
        self.subject, self.sink, self._bus = subject, sink, bus
        self.is_open = True

    async def unsubscribe(self) -> None:
        self._bus.drop_requests(self.subject)

    def close(self) -> None:
        self._bus.drop_requests(self.subject)
        self.is_open = False


class ModelBus:
    """See `buses.base.Bus`.

    Args:
        said: called with each word that the server could read, and with `delivered`: ack token, word, and the seconds
            of the loop's clock until which the trigger knows to have the delivery.
        asks: called with the id of each publish, and with `CONSUMER.INFO`.
    """

    name, state, max_payload, congested = "main", State.RUNNING, 1 << 20, False

    def __init__(self, said: Callable[[bytes, str, float], None], asks: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.is_connected = self.has_leader = True
        self.stream: dict[int, int] = {}
        """Times of storage, by sequence."""
        self.last = self.stored = 0
        self.made = 1
        self.consumer: Consumer | None = Consumer(1)
        self.requests: deque[Open] = deque()
        self.wire: deque[tuple[str, Raw]] = deque()
        self.answers: deque[str] = deque()
        self.asked: list[Asked] = []
        self._said, self._asks, self._leases = said, asks, dict[bytes, float]()
        self._inboxes: dict[str, Inbox] = {}
        self._names = 0
        self._listeners: list[ConnectionListener] = []
        self._kept: list[Frame] = []

    # What a trigger sees.

    async def wait_connected(self) -> None:
        raise NotImplementedError

    async def publish(
        self,
        subject: str,
        payload: bytes | str = b"",
        headers: HeaderPairs = (),
        *,
        id: str | None = None,  # noqa: A002 - as in `Bus`
        expect_stream: str | None = None,
        timeout: float = 5.0,
    ) -> PubAck:
        self._check()
        self._asks(id or "")
        done: asyncio.Future[PubAck | EventbusError] = self._loop.create_future()
        self._ask(id or "", partial(_set, done), timeout)
        answer = await done
        if isinstance(answer, PubAck):
            return answer
        raise answer

    def publish_nowait(
        self,
        subject: str,
        payload: bytes | str,
        headers: HeaderPairs,
        done: Done,
        *,
        id: str | None = None,  # noqa: A002 - as in `Bus`
        timeout: float = 5.0,
    ) -> None:
        self._check()
        self._asks(id or "")
        self._ask(id or "", done, timeout)

    async def request(self, subject: str, payload: bytes = b"", *, timeout: float = 5.0) -> bytes:
        self._check()
        token = subject.encode()
        if not self._hear(token, payload):
            raise BusUnavailableError("nobody listens")
        done: asyncio.Future[PubAck | EventbusError] = self._loop.create_future()
        self._ask("", partial(_set, done), timeout)
        answer = await done
        if isinstance(answer, PubAck):
            return b"+ACK"
        raise BusUnavailableError(str(answer))

    async def api(self, subject: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        self._check()
        if not self.has_leader:
            await asyncio.sleep(timeout)
            raise BusUnavailableError("no answer")
        self._asks("CONSUMER.INFO")
        if self.consumer is None:
            raise NotFoundError(404, 10014, "consumer not found", subject)
        return {
            "stream_name": "S",
            "name": "c",
            "created": rfc3339(self.consumer.created * 10**9),
            "config": {
                "ack_policy": "explicit",
                "ack_wait": int(ACK_WAIT * 1e9),
                "num_replicas": 3,
                "opt_start_seq": self.consumer.opt_start_seq,
            },
            "delivered": {"stream_seq": self.consumer.delivered},
            "ack_floor": {"stream_seq": self.consumer.floor},
            "num_ack_pending": len(self.consumer.pending),
            "num_pending": self.last - self.consumer.delivered,
        }

    def api_subject(self, subject: str) -> str:
        return f"$JS.API.{subject}"

    async def open_inbox(self, sink: Sink, *, wildcard: bool = False) -> Inbox:
        self._check()
        self._names += 1
        inbox = Inbox(self, f"_INBOX.{self._names}", sink)
        self._inboxes[inbox.subject] = inbox
        return inbox

    def send(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if self.is_connected:
                self._write(frame)
            elif frame.keep_until:
                self._kept.append(frame)

    def answer_all(self, subjects: Sequence[bytes], body: bytes = b"", reply: str = "") -> None:
        if not self.is_connected:
            return
        is_known = [self._hear(token, body) for token in subjects]
        if reply and is_known[-1]:
            self.answers.append(reply)

    async def ping(self, timeout: float = 5.0) -> bool:
        if self.is_connected:
            self.arrive()
        return self.is_connected

    def listen(self, listener: ConnectionListener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # What happens to the connection.

    def disconnect(self) -> None:
        """All that was under way is lost."""
        self.is_connected = False
        self.requests.clear()
        self.wire.clear()
        self.answers.clear()
        for inbox in self._inboxes.values():
            inbox.is_open = False
        for listener in list(self._listeners):
            listener.disconnected()
        while self.asked:
            self.confirm(0, BusUnavailableError("the connection was lost"))

    def reconnect(self) -> None:
        self.is_connected = True
        now, kept, self._kept = self._loop.time(), self._kept, []
        for frame in kept:
            if frame.keep_until >= now:
                self._write(frame)
        for listener in list(self._listeners):
            listener.connected()

    def confirm(self, at: int, answer: EventbusError | None = None) -> None:
        """Answer one of what is asked."""
        self.asked.pop(at).done(answer or PubAck("P", 1, False))

    def answer(self) -> None:
        """What the fence waits for comes."""
        while self.answers:
            reply = self.answers.popleft()
            self._give(reply.rpartition(".")[0], [(reply.encode(), b"", b"+ACK", None)])

    def arrive(self, most: int = 1000, at_once: int = 1000) -> None:
        """Hand out what is on the wire, so many in one list."""
        while self.wire and most > 0:
            inbox, raw = self.wire.popleft()
            raws = [raw]
            while self.wire and self.wire[0][0] == inbox and len(raws) < min(at_once, most):
                raws.append(self.wire.popleft()[1])
            most -= len(raws)
            for token in [raw[1] for raw in raws if raw[1]]:
                self._leases[token] = self._loop.time() + ACK_WAIT
                self._said(token, "delivered", self._leases[token])
            self._give(inbox, raws)

    # What the server does.

    def store(self, count: int) -> None:
        for _ in range(count):
            self.last += 1
            self.stored += 1
            self.stream[self.last] = self.stored

    def serve(self, most: int) -> None:
        """Put deliveries on the wire; those whose time is over come first."""
        now, consumer = self._loop.time(), self.consumer
        for _ in range(most):
            if consumer is None or not self.requests or not self.has_leader:
                return
            over = [sequence for sequence, until in sorted(consumer.pending.items()) if until <= now]
            sequence = over[0] if over else consumer.delivered + 1
            if sequence > self.last:
                return
            consumer.delivered = max(consumer.delivered, sequence)
            consumer.numbers += 1
            consumer.counts[sequence] = count = consumer.counts.get(sequence, 0) + 1
            consumer.pending[sequence] = now + ACK_WAIT
            token = b"$JS.ACK.S.c.%d.%d.%d.%d.0" % (count, sequence, consumer.numbers, self.stream[sequence])
            request = self.requests.popleft()
            request.left -= 1
            if request.left:
                self.requests.append(request)
            self.wire.append((request.reply.rpartition(".")[0], (b"s.a", token, b"", None)))

    def tick(self) -> None:
        """Requests expire, and others beat."""
        now = self._loop.time()
        for request in list(self.requests):
            if request.until <= now:
                self.requests.remove(request)
                self._status(request, f"408 Request Timeout\r\nNats-Pending-Messages: {request.left}")
            elif request.beat_at <= now:
                request.beat_at = now + request.beat
                self._status(request, "100 Idle Heartbeat")

    def close_requests(self, status: str) -> None:
        """All requests end, with this status."""
        while self.requests:
            self._status(self.requests.popleft(), status)

    def drop_requests(self, inbox: str) -> None:
        self.requests = deque(one for one in self.requests if one.reply.rpartition(".")[0] != inbox)

    def _ask(self, id: str, done: Done, timeout: float) -> None:  # noqa: A002 - as in `Bus`
        asked = Asked(id, done)
        self.asked.append(asked)

        def late() -> None:
            if asked in self.asked:
                self.confirm(self.asked.index(asked), PublishError("not confirmed in time"))

        self._loop.call_later(timeout, late)

    def _check(self) -> None:
        if not self.is_connected:
            raise BusUnavailableError("not connected")

    def _give(self, inbox: str, raws: list[Raw]) -> None:
        if self._inboxes[inbox].is_open:
            self._inboxes[inbox].sink(raws)

    def _status(self, request: Open, text: str) -> None:
        block = f"NATS/1.0 {text}\r\n\r\n".encode()
        self.wire.append((request.reply.rpartition(".")[0], (request.reply.encode(), b"", b"", block)))

    def _write(self, frame: Frame) -> None:
        if frame.subject != _NEXT:
            self._hear(frame.subject.encode(), frame.body)
        elif self.has_leader and self.consumer is not None:
            asked, now = json.loads(frame.body), self._loop.time()
            if frame.reply.count(".") == 1:  # the tiny one at the stop: nothing is left for it
                self._give(frame.reply, [(frame.reply.encode(), b"", b"", b"NATS/1.0 408 Request Timeout\r\n\r\n")])
                return
            beat = asked["idle_heartbeat"] / 1e9
            self.requests.append(Open(frame.reply, asked["batch"], now + asked["expires"] / 1e9, beat, now + beat))

    def _hear(self, token: bytes, body: bytes) -> bool:
        """One word about one delivery; False where it means nothing to the server."""
        now, consumer, sequence = self._loop.time(), self.consumer, identity_of(token)[0]
        word = _WORDS.get(body, "nak")
        self._said(token, word, self._leases[token])
        if word == "progress":
            self._leases[token] = now + ACK_WAIT
        if consumer is None or not self.has_leader or sequence not in consumer.counts:
            return False
        if word in ("ack", "term"):
            if consumer.pending.pop(sequence, None) is not None:
                consumer.done[sequence] = now
        elif sequence in consumer.pending:
            delay = json.loads(body[4:] or b'{"delay":0}')["delay"] / 1e9 if word == "nak" else ACK_WAIT
            consumer.pending[sequence] = now + delay
        return True


def _set(done: asyncio.Future[PubAck | EventbusError], answer: PubAck | EventbusError) -> None:
    if not done.done():  # who asked may be gone
        done.set_result(answer)
