"""A small model of how a server answers pull requests, as far as a pull window can notice (NATS ADR-13, ADR-37)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from eventbus_runtime.triggers.pull import Request
from eventbus_runtime.triggers.status import Status


@dataclass
class Open:
    """A request that the server holds."""

    generation: int
    slot: int
    token: str
    batch: int
    messages: int
    bytes: int | None
    expires_at: float
    heartbeat: float
    beat_at: float


@dataclass
class Delivered:
    """A delivery under way; it does not name its request."""

    generation: int
    slot: int
    size: int
    alone: bool


@dataclass
class Said:
    """A status under way; `owed`: what its request had not been sent when the server dropped it."""

    generation: int
    slot: int
    token: str
    status: Status
    owed: int = 0


class ServerModel:
    """One consumer's leader. Requests are served round robin; what it sends stays under way until taken."""

    def __init__(self) -> None:
        self.consumer = True
        self.messages: deque[int] = deque()
        self.open: deque[Open] = deque()
        self.deliveries: deque[Delivered] = deque()
        self.statuses: deque[Said] = deque()
        self.lost: dict[int, int] = {}

    def request(self, generation: int, request: Request, now: float) -> None:
        asked = Open(
            generation,
            request.slot,
            request.token,
            request.batch,
            request.batch,
            request.max_bytes or None,
            now + request.expires,
            request.heartbeat,
            now + request.heartbeat,
        )
        if self.consumer:
            self.open.append(asked)
        else:
            self._say(asked, "503", owed=asked.batch)

    def serve(self) -> bool:
        """Send one message; False when there is none, or nobody asks."""
        if not self.messages or not self.open:
            return False
        size = self.messages[0]
        self.close(lambda one: one.bytes is not None and one.bytes < size, "409 Message Size Exceeds MaxBytes")
        if not self.open:
            return False
        one = self.open.popleft()
        self.messages.popleft()
        one.messages -= 1
        self.deliveries.append(Delivered(one.generation, one.slot, size, one.bytes is None))
        if one.bytes is not None:
            one.bytes -= size
        if one.messages == 0:
            if one.bytes:
                self._say(one, "409 Batch Completed", counts=True)
        elif one.bytes != 0:  # used up exactly: it closes without any status
            self.open.append(one)
        return True

    def close(self, which: Callable[[Open], bool], text: str, *, counts: bool = True) -> None:
        """Close requests, each with a status of its own."""
        for one in [one for one in self.open if which(one)]:
            self.open.remove(one)
            self._say(one, text, counts=counts, owed=one.messages)

    def vanish(self, one: Open) -> None:
        """Drop a request without a word."""
        self.open.remove(one)
        self.lost[one.generation] = self.lost.get(one.generation, 0) + one.messages

    def time(self, now: float) -> None:
        self.close(lambda one: one.expires_at <= now, "408 Request Timeout")
        for one in self.open:
            if one.beat_at <= now:
                one.beat_at = now + one.heartbeat
                self._say(one, "100 Idle Heartbeat")

    def unsubscribed(self, before: int) -> None:
        """The inboxes of older generations are gone, and their requests with them."""
        self.open = deque(one for one in self.open if one.generation >= before)

    def owed(self, generation: int) -> int:
        """Deliveries that may still come on this generation's inboxes."""
        return sum(one.messages for one in self.open if one.generation == generation) + sum(
            one.generation == generation for one in self.deliveries
        )

    def owed_bytes(self, generation: int) -> int:
        return sum(one.bytes or 0 for one in self.open if one.generation == generation) + sum(
            one.size for one in self.deliveries if one.generation == generation and not one.alone
        )

    def given_back(self, generation: int) -> int:
        """What statuses under way, or no status at all, take from what was asked."""
        return self.lost.get(generation, 0) + sum(one.owed for one in self.statuses if one.generation == generation)

    def arrivals(self, statuses_first: Iterator[bool]) -> Iterator[list[Delivered] | Said]:
        """Take what is under way: deliveries keep their order and so do statuses, but one may overtake the other."""
        while self.deliveries or self.statuses:
            if self.statuses and (not self.deliveries or next(statuses_first, False)):
                yield self.statuses.popleft()
                continue
            burst = [self.deliveries.popleft()]
            while self.deliveries and self._together(burst[0], self.deliveries[0]) and not next(statuses_first, False):
                burst.append(self.deliveries.popleft())
            yield burst

    @staticmethod
    def _together(one: Delivered, other: Delivered) -> bool:
        return (one.generation, one.slot) == (other.generation, other.slot)

    def _say(self, one: Open, text: str, *, counts: bool = False, owed: int = 0) -> None:
        block = f"NATS/1.0 {text}\r\n"
        if counts:
            block += f"Nats-Pending-Messages: {one.messages}\r\nNats-Pending-Bytes: {one.bytes or 0}\r\n"
        status = Status.parse(f"{block}\r\n".encode())
        self.statuses.append(Said(one.generation, one.slot, one.token, status, owed))
