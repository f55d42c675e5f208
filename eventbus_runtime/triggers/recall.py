"""What runs here, and what was done here lately, so that a server that delivers it anew does not have it done twice.

A server that was killed, and has the consumer on itself alone, forgets the deliveries and acks of its last moments, and
delivers those messages again as if for the first time. A consumer that is made anew goes on from the last ack floor
that was seen, above which some are done. And after a lost connection, or behind a blocked event loop, the server
delivers again what still runs here.

Messages are told apart by stream sequence and time of storage: in a stream that was made anew a sequence comes again,
and means another message.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.message import Raw

if TYPE_CHECKING:
    from eventbus_runtime.triggers.delivery import ActiveDelivery

# Seconds, and bytes, of ack tokens that are remembered; a server writes down what it was told within a second.
_KEPT, _MOST_BYTES = 10.0, 8 << 20
# Seconds that a delivery may be on its way.
_TRANSIT = 1.0
# Seconds for which it is known what runs: what began since is not delivered again so soon, whatever others set.
_SHORTEST_LEASE = 0.5


class Recall:
    """The memory of one trigger.

    Args:
        running: all unsettled deliveries, as they are now.
    """

    def __init__(self, running: Mapping[ActiveDelivery, None]) -> None:
        self.void: set[bytes] = set()
        """Ack tokens of running deliveries that the server has forgotten: to it, they mean nothing, or the wrong
        thing. Nothing may be said to them."""
        self._now_running = running
        self._settled: deque[tuple[float, bytes]] = deque()  # joined tokens, since a million of them would take 100 MB
        self._bytes = 0
        self._asked: list[ActiveDelivery] = []
        self._consumer: ConsumerInfo | None = None
        self._numbers: dict[int, int] = {}  # of the consumer's latest delivery, by inbox
        self._is_strange = False
        self._away_since: float | None = None
        self._running: dict[bytes, ActiveDelivery] = {}
        self._snapshot: dict[bytes, ActiveDelivery] = {}
        self._snapshot_until = 0.0
        self._done: dict[bytes, int] = {}  # stream sequence by identity
        self._overtaken: set[bytes] = set()

    @property
    def expects(self) -> bool:
        """Whether what is known here may be delivered, as if for the first time or again."""
        return bool(self._done or self._running or self._overtaken)

    def keep(self, tokens: Sequence[bytes], now: float) -> None:
        """These, one at least, were settled for good at `now`, in seconds by the event loop's clock."""
        joined = b" ".join(tokens)
        self._settled.append((now, joined))
        self._bytes += len(joined)
        oldest = (now if self._away_since is None else self._away_since) - _KEPT
        while self._bytes > _MOST_BYTES or self._settled[0][0] < oldest:
            self._bytes -= len(self._settled.popleft()[1])

    def disconnected(self, now: float) -> None:
        """The server is away: what it may have forgotten gets no older meanwhile."""
        if self._away_since is None:
            self._away_since = now

    def arrived(self, slot: int, raws: Sequence[Raw]) -> bool:
        """Note these deliveries of one inbox. False where they are of another consumer of the name than the one that
        was looked at: its numbers go back. Nobody tells that to who has no request open. From then on, until the next
        look, all are."""
        first, last = int(_fields(raws[0][1])[1]), int(_fields(raws[-1][1])[1])
        self._is_strange = self._is_strange or not self._numbers.get(slot, 0) < first <= last
        self._numbers[slot] = last
        return not self._is_strange

    def runs(self, token: bytes) -> bool:
        """Whether the message of this ack token runs here, by whatever token."""
        message = _anywhere(token)
        return any(message.search(delivery.token) for delivery in self._now_running)

    def has_settled(self, token: bytes) -> bool:
        """Whether the message of this ack token was settled here for good of late, by whatever token."""
        message = _anywhere(token)
        return any(message.search(joined) for _, joined in self._settled)

    def sayable(self, tokens: list[bytes]) -> list[bytes]:
        """Those of settled deliveries that the server can be told of now; the others are told when they come again."""
        if not self.void:
            return tokens
        void = self.void.intersection(tokens)
        for token in void:
            sequence, identity = identify(token)
            self._done[identity] = sequence
        self.void -= void
        return [token for token in tokens if token not in void]

    def lost(self) -> None:
        """The consumer is gone, or is another one of its name."""
        self.void = {delivery.token for delivery in self._now_running}

    def asking(self) -> None:
        """The server is asked about the consumer: what runs here now was delivered before its answer."""
        self._asked = list(self._now_running)

    def attached(self, consumer: ConsumerInfo) -> None:
        """The trigger begins to pull; the server has answered this."""
        before, self._consumer = self._consumer, consumer
        if before is not None and consumer.is_anew(before) and not consumer.opt_start_seq:
            self._settled.clear()  # somebody made it anew, to have all delivered again
            self._bytes = 0
            self._done.clear()
        self._is_strange, self._away_since = False, None
        self._numbers.clear()
        self.looked(consumer)
        self._remember(consumer.ack_floor)
        self.void = {
            delivery.token
            for delivery in self._asked
            if delivery.token in self.void or delivery.message.sequence > consumer.delivered
        }
        self._asked.clear()
        self._running = self._by_identity()

    def knows(self, consumer: ConsumerInfo) -> bool:
        """Whether it is the one that the trigger pulls from."""
        return self._consumer is None or not consumer.is_anew(self._consumer)

    def looked(self, consumer: ConsumerInfo) -> None:
        """The server says this of the consumer: what is not above its ack floor does not come again."""
        floor = consumer.ack_floor
        self._done = {identity: sequence for identity, sequence in self._done.items() if sequence > floor}
        self._running = {identity: one for identity, one in self._running.items() if one in self._now_running}
        self._snapshot, self._snapshot_until = {}, 0.0

    def overtaken(self, raws: Sequence[Raw], now: float, unproven: Iterable[bytes]) -> bool:
        """Some of these, which are to be sifted now, are delivered again: maybe what was settled here by one of the
        `unproven` tokens, since the server would have answered those that it had before it sent. Or what runs here, if
        a lease is over, or nearly, since the server counts from when it sent, and we from when it came.

        Returns:
            Whether one of them runs here, and no lease is over: then the consumer is not what the server said of it.
        """
        self._overtaken = {identify(token)[1] for token in unproven}
        if any(delivery.lease <= now + _TRANSIT for delivery in self._now_running):
            self._running = self._by_identity()
            return False
        if now >= self._snapshot_until:
            self._snapshot, self._snapshot_until = self._by_identity(), now + _SHORTEST_LEASE
        early = any(self._snapshot.get(identify(raw[1])[1]) in self._now_running for raw in raws)
        if early:
            self.lapsed()
        return early

    def lapsed(self) -> None:
        """The event loop was blocked for so long that leases were over: what was settled since may be on its way."""
        self._running = self._by_identity()
        self._remember(0 if self._consumer is None else self._consumer.ack_floor)

    @staticmethod
    def overtaken_in(raws: Sequence[Raw]) -> set[bytes]:
        """The ack tokens of those that come again further behind."""
        latest = {identify(raw[1])[1]: raw[1] for raw in raws}
        return {raw[1] for raw in raws}.difference(latest.values())

    def sifted(self) -> None:
        """The read is sifted."""
        self._overtaken.clear()

    def recognise(self, raw: Raw, lease: float) -> bool | None:
        """Whether this delivery's message is done here. None where it is unknown, and must be started. One that runs
        here goes on by the new token, until `lease` by the event loop's clock: it is not done."""
        identity = identify(raw[1])[1]
        delivery = self._running.get(identity)
        if delivery is not None and delivery in self._now_running:
            self.void.discard(delivery.token)  # even if a consumer that is made anew says the same
            delivery.token, delivery.lease = raw[1], lease
            return False
        return True if identity in self._done or identity in self._overtaken else None

    def _remember(self, floor: int) -> None:
        for _, joined in self._settled:
            for token in joined.split(b" "):
                sequence, identity = identify(token)
                if sequence > floor:
                    self._done[identity] = sequence

    def _by_identity(self) -> dict[bytes, ActiveDelivery]:
        return {identify(delivery.token)[1]: delivery for delivery in self._now_running}


def identify(token: bytes) -> tuple[int, bytes]:
    """Stream sequence of an ack token (NATS ADR-15), and what tells its message from all others."""
    sequence, _, time = _fields(token)
    return int(sequence), b"%b.%b" % (sequence, time)


def _fields(token: bytes) -> list[bytes]:
    """Stream sequence, consumer sequence, and time of storage."""
    parts = token.split(b".")
    return parts[5:8] if len(parts) == 9 else parts[7:10]


def _anywhere(token: bytes) -> re.Pattern[bytes]:
    """Finds any ack token of the same message, also among joined ones, without taking them apart."""
    sequence, _, time = _fields(token)
    return re.compile(rb"\.%b\.\d+\.%b\." % (sequence, time))
