"""What was settled here for good: ack tokens, joined, since a million of them would take 100 MB.

What is not above the ack floor that was seen last needs no memory: a consumer that is made anew goes on from there. But
a server that was killed may forget what it has answered in its last moments, and so may a leader's successor.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Container, Iterator, Sequence

from eventbus_runtime.message import stream_at

# Bytes that are kept at most; seconds that all is kept for, though the server counts it as done: it writes down what it
# was told within a second.
_MOST_BYTES, _RECENT = 8 << 20, 10.0
# Seconds between looks at the consumer, while what is not known to be below its ack floor exceeds the bytes.
_BETWEEN_LOOKS = 0.25
_MOST_LOOKS = 100


class Memory:
    """Bounded in bytes."""

    def __init__(self) -> None:
        self._settled: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._kept = _RECENT
        self._recent = 0.0  # since when all is kept
        self._away_since: float | None = None
        self._looks: deque[tuple[float, int]] = deque(maxlen=_MOST_LOOKS)  # when it was asked, and what was delivered
        self._covered = -1.0  # what was settled before is not above the ack floor
        self._look_at = 0.0
        self._index: dict[bytes, float] = {}  # when it was settled, by identity
        self._indexed = -1.0  # what was settled until then is in it

    def outlast(self, lease: float) -> None:
        """What was settled may come again once a lease is over: after so many seconds, or when we pull then."""
        self._kept = 2 * lease + _RECENT

    def keep(self, tokens: Sequence[bytes], now: float) -> bool:
        """These, one at least, were settled at `now`, in seconds by the event loop's clock.

        Returns:
            Whether the consumer should be looked at, lest more be forgotten that may be delivered again.
        """
        joined = b" ".join(tokens)
        self._settled.append((now, joined))
        self._bytes += len(joined)
        until = now if self._away_since is None else self._away_since
        self._recent, oldest = until - _RECENT, min(until - self._kept, self._covered)
        lost = self._covered
        while self._bytes > _MOST_BYTES or self._settled[0][0] < oldest:
            lost = self._forget_first()
        if lost <= self._covered or now < self._look_at:
            return False
        self._look_at = now + _BETWEEN_LOOKS
        return True

    def disconnected(self, now: float) -> None:
        """The server is away: what it may have forgotten gets no older meanwhile."""
        if self._away_since is None:
            self._away_since = now

    def connected(self) -> None:
        """It is there again."""
        self._away_since = None

    def clear(self) -> None:
        """Forget all."""
        self._settled.clear()
        self._bytes = 0
        self._index.clear()
        self._looks.clear()

    def holds(self, token: bytes) -> bool:
        """Whether the message of this ack token is among them, by whatever token."""
        message = anywhere(token)
        return any(message.search(joined) for _, joined in self._settled)

    def recent(self, floor: int) -> Iterator[tuple[int, bytes]]:
        """Stream sequence and identity of those above this sequence that a server may have forgotten."""
        return self._above(floor, self._recent)

    def above(self, floor: int) -> Iterator[tuple[int, bytes]]:
        """Stream sequence and identity of all above this sequence."""
        return self._above(floor, 0.0)

    def _above(self, floor: int, since: float) -> Iterator[tuple[int, bytes]]:
        for at, joined in self._settled:
            if at >= since:
                yield from (one for one in map(identify, joined.split(b" ")) if one[0] > floor)

    def index(self) -> Container[bytes]:
        """All identities. It is kept: the work is for what was settled since the last time alone."""
        for at, joined in reversed(self._settled):
            if at < self._indexed:
                break
            self._index.update((identify(token)[1], at) for token in joined.split(b" "))
        if self._settled:
            self._indexed = self._settled[-1][0]
        return self._index

    def _forget_first(self) -> float:
        at, joined = self._settled.popleft()
        self._bytes -= len(joined)
        if at <= self._indexed:
            for identity in (identify(token)[1] for token in joined.split(b" ")):
                if self._index.get(identity) == at:  # else it was settled again
                    del self._index[identity]
        return at

    def looked(self, floor: int, delivered: int, asked: float) -> None:
        """The server was asked at this time. What is not above this ack floor does not come again; what was settled
        before had been delivered."""
        if self._looks and delivered < self._looks[-1][1]:  # another stream, or the consumer was set back
            self._looks.clear()
        while self._looks and self._looks[0][1] <= floor:
            self._covered = self._looks.popleft()[0]
        self._looks.append((asked, delivered))


def identify(token: bytes) -> tuple[int, bytes]:
    """Stream sequence of an ack token (NATS ADR-15), and what tells its message from all others."""
    _, sequence, _, time = fields(token)
    return int(sequence), b"%b.%b" % (sequence, time)


def fields(token: bytes) -> list[bytes]:
    """Delivery count, stream sequence, consumer sequence, and time of storage."""
    parts = token.split(b".")
    at = stream_at(parts) + 2
    return parts[at : at + 4]


def consumer_of(token: bytes) -> list[bytes]:
    """The consumer of an ack token, and its stream."""
    parts = token.split(b".")
    at = stream_at(parts)
    return parts[at : at + 2]


def anywhere(token: bytes) -> re.Pattern[bytes]:
    """Finds any ack token of the same message, also among joined ones, without taking them apart."""
    _, sequence, _, time = fields(token)
    return re.compile(rb"\.%b\.\d+\.%b\." % (sequence, time))
