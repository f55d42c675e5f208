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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.message import Raw
from eventbus_runtime.triggers.memory import Memory, anywhere, consumer_of, fields, identify

if TYPE_CHECKING:
    from eventbus_runtime.triggers.delivery import ActiveDelivery

# Seconds that a delivery may be on its way.
_TRANSIT = 1.0
# Seconds for which it is known what runs: what began since is not delivered again so soon, whatever others set.
_SHORTEST_LEASE = 0.5
_MOST_HANDED_BACK = 10_000


class Recall:
    """The memory of one trigger.

    Args:
        running: all unsettled deliveries, as they are now.
    """

    def __init__(self, running: Mapping[ActiveDelivery, None]) -> None:
        self.void: set[bytes] = set()
        """Ack tokens of running deliveries that the server has forgotten: to it, they mean nothing, or the wrong
        thing. Nothing may be said to them."""
        self.memory = Memory()
        """What was settled for good."""
        self._now_running = running
        self._asked: list[ActiveDelivery] = []
        self._asked_at = 0.0
        self._floor = 0
        self._consumer: ConsumerInfo | None = None
        self._numbers: dict[int, int] = {}  # of the consumer's latest delivery, by inbox
        self._is_strange = False
        self._running: dict[bytes, ActiveDelivery] = {}
        self._snapshot: dict[bytes, ActiveDelivery] = {}
        self._snapshot_until = 0.0
        self._done: dict[bytes, int] = {}  # stream sequence by identity
        self._overtaken: set[bytes] = set()
        self._handed_back: set[bytes] = set()

    @property
    def expects(self) -> bool:
        """Whether what is known here may be delivered, as if for the first time or again."""
        return bool(self._done or self._running or self._overtaken)

    def arrived(self, slot: int, raws: Sequence[Raw]) -> bool:
        """Note these deliveries of one inbox. False where they are of another consumer of the name than the one that
        was looked at: its numbers go back. Nobody tells that to who has no request open. From then on, until the next
        look, all are."""
        first, last = int(fields(raws[0][1])[2]), int(fields(raws[-1][1])[2])
        self._is_strange = self._is_strange or not self._numbers.get(slot, 0) < first <= last
        self._numbers[slot] = last
        return not self._is_strange

    def runs(self, token: bytes) -> bool:
        """Whether the message of this ack token runs here, by whatever token."""
        return self._running_by(anywhere(token)) is not None

    def held(self, token: str) -> ActiveDelivery | None:
        """The unsettled delivery of this consumer that this ack token means, by whatever token it goes now."""
        first = next(iter(self._now_running), None)
        if first is None or consumer_of(subject := token.encode()) != consumer_of(first.token):
            return None
        return self._running_by(anywhere(subject))

    def _running_by(self, message: re.Pattern[bytes]) -> ActiveDelivery | None:
        return next((delivery for delivery in self._now_running if message.search(delivery.token)), None)

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

    def asking(self, now: float) -> None:
        """The server is asked about the consumer: what runs here now was delivered before its answer."""
        self._asked, self._asked_at = list(self._now_running), now

    def attached(self, consumer: ConsumerInfo) -> None:
        """The trigger begins to pull; the server has answered this."""
        before, self._consumer = self._consumer, consumer
        is_anew = before is not None and consumer.is_anew(before)
        if is_anew and not consumer.opt_start_seq:
            self.memory.clear()  # somebody made it anew, to have all delivered again
            self._done.clear()
        if consumer.num_replicas > 1:
            self.memory.outlast(max(consumer.backoff or (consumer.ack_wait,)))
        self._is_strange = False
        self._numbers.clear()
        self._handed_back.clear()  # the server may know nothing of it
        self.memory.connected()
        floor = self._floor
        self.looked(consumer, self._asked_at)
        self._done.update(_by_sequence(self.memory.recent(consumer.ack_floor)))
        if is_anew:
            self._done.update(_by_sequence(self.memory.above(floor)))
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

    def looked(self, consumer: ConsumerInfo, asked: float) -> None:
        """The server, which was asked at this time, says this of the consumer: what is not above its ack floor does
        not come again."""
        self._floor = floor = consumer.ack_floor
        self.memory.looked(floor, consumer.delivered, asked)
        self._done = {identity: sequence for identity, sequence in self._done.items() if sequence > floor}
        self._running = {identity: one for identity, one in self._running.items() if one in self._now_running}
        self._snapshot, self._snapshot_until = {}, 0.0

    def handed_back(self, token: bytes) -> None:
        """Its message was nak'd: that it comes again is no wonder, and not looked into."""
        if len(self._handed_back) >= _MOST_HANDED_BACK:  # other instances got these
            self._handed_back.clear()
        self._handed_back.add(identify(token)[1])

    def overtaken(self, raws: Sequence[Raw], now: float, unproven: Iterable[bytes]) -> bool:
        """Some of these, which are to be sifted now, are delivered again: maybe what was settled here by one of the
        `unproven` tokens, since the server would have answered those that it had before it sent. Or by a proven one,
        of which the consumer's next leader knows nothing: before nats-server 2.11 it begins without what it has not
        applied yet, and who has no request open is not told that there is another. Or what runs here, if a lease is
        over, or nearly, since the server counts from when it sent, and we from when it came.

        Returns:
            Whether one of them runs here, and no lease is over: then the consumer is not what the server said of it.
        """
        self._overtaken = {identify(token)[1] for token in unproven}
        again = {identify(raw[1])[1] for raw in raws if fields(raw[1])[0] != b"1"}
        unexpected = again - self._handed_back
        self._handed_back -= again
        if unexpected:
            settled = self.memory.index()
            self._overtaken.update(identity for identity in unexpected if identity in settled)
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
        self._done.update(_by_sequence(self.memory.recent(self._floor)))

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

    def _by_identity(self) -> dict[bytes, ActiveDelivery]:
        return {identify(delivery.token)[1]: delivery for delivery in self._now_running}


def _by_sequence(settled: Iterable[tuple[int, bytes]]) -> Iterator[tuple[bytes, int]]:
    return ((identity, sequence) for sequence, identity in settled)
