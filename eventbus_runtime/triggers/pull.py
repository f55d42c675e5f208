"""The pull window: how many deliveries the server may still send us. Sans-IO: no socket, no clock, no await.

Events go in by method; `commands` says what to do now. Credit is one number: asked, minus deliveries, minus what each
closing status says that its request was still owed. The server serves open requests round robin and a delivery does not
name its request, so only the count is the truth.

No state holds `running + credit > capacity`, but by deliveries of an inbox that was given up (`admit(current=False)`),
and these are refused once `running` is at capacity.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, TypeAlias

from eventbus_runtime.triggers.status import Answer, Status

_REMEMBERED = 1024
_SILENCES_BEFORE_LOOKING = 3
# Bytes of payload that a server may owe a trigger without a `max_bytes`: it cuts a connection to which it owes 64 MiB.
_OWED = 16 << 20


class Request(NamedTuple):
    """Send a pull request.

    Args:
        slot: which inbox its answers come to.
        token: its name below that inbox; a status comes back under it.
        batch: messages.
        max_bytes: bytes; 0 for no bound.
        expires, heartbeat: seconds.
    """

    slot: int
    token: str
    batch: int
    max_bytes: int
    expires: float
    heartbeat: float

    def body(self) -> bytes:
        """What the server is asked (NATS ADR-13 and ADR-37)."""
        asked = {
            "batch": self.batch,
            "expires": round(self.expires * 1e9),
            "idle_heartbeat": round(self.heartbeat * 1e9),
        }
        if self.max_bytes:
            asked["max_bytes"] = self.max_bytes
        return json.dumps(asked).encode()


class Ping(NamedTuple):
    """Ask the server for a sign of life, then call `pong`."""


class Renew(NamedTuple):
    """Give up the inboxes, open new ones, then call `resume`."""


class Attach(NamedTuple):
    """Look at the consumer (first wait a little, if `pause`), then call `resume`."""

    reason: str
    pause: bool


class Fail(NamedTuple):
    """This trigger can never pull."""

    reason: str


Command: TypeAlias = Request | Ping | Renew | Attach | Fail


@dataclass(frozen=True, slots=True)
class Limits:
    """How pull requests must look: ours, bounded by what the consumer allows.

    Args:
        expires, heartbeat: seconds.
        max_batch: messages of one request, at most; 0 for no bound.
        max_bytes: bytes of one request, at most; 0 for no bound.
        check: seconds between looks at the consumer while all seems well.
    """

    expires: float = 30.0
    heartbeat: float = 5.0
    max_batch: int = 0
    max_bytes: int = 0
    check: float = 60.0

    def within(self, *, max_expires: float, max_batch: int, max_bytes: int) -> Limits:
        """These limits, bounded by a consumer's (0: it has none). The server wants heartbeat <= expires / 2."""
        expires = min(self.expires, max_expires) if max_expires else self.expires
        return Limits(expires, min(self.heartbeat, expires / 3), max_batch, max_bytes, self.check)


class PullWindow:
    """Credit, open requests and the heartbeat clock of one trigger.

    Args:
        capacity: deliveries that may be unsettled at once.
        limits: how requests look, until `resume` brings the consumer's.

    Times are the caller's monotonic seconds.
    """

    slots = 1
    """Inboxes that it wants open."""
    alone = False
    """Whether it asks for one message alone, since that is larger than a request may be (`ByteWindow`)."""
    held = False
    """While true, nothing new is asked for; what is open stays."""

    def __init__(self, capacity: int, limits: Limits | None = None) -> None:
        self.capacity = capacity
        self.limits = limits or Limits()
        self.most_owed = capacity
        """Deliveries that the server may owe us at once."""
        self.running = 0
        self._largest = -1  # payload, in bytes, of late; negative before the first
        self._credit = 0
        self._asked: dict[str, int] = {}
        self._tokens = map(str, count(1))
        self.pulling = False
        self._stopped = False
        self._heard = 0.0
        self._delivered_at = 0.0
        self._probed: float | None = None
        self._doubted = False
        self._silences = 0
        self._due: list[Command] = []

    @property
    def credit(self) -> int:
        """Deliveries that the server still owes to our open requests."""
        return self._credit

    @property
    def free(self) -> int:
        """Deliveries that could be asked for."""
        return min(self.capacity - self.running, self.most_owed) - self.credit

    def expect(self, size: int) -> None:
        """Before anything has come: so many bytes a payload may have."""
        if self._largest < 0:
            self._owe(size)

    def weigh(self, size: int) -> None:
        """So many bytes a payload had: the server must not owe us more of them than it keeps for a client."""
        if size > self._largest:
            self._largest = size
            self._owe(size)

    def relax(self) -> None:
        """What was large may have been an exception."""
        if self._largest > 0:
            self._largest //= 2
            self._owe(self._largest)

    def _owe(self, size: int) -> None:
        self.most_owed = max(1, min(self.capacity, _OWED // max(1, size)))

    def resume(self, now: float, limits: Limits | None = None) -> None:
        """The inboxes are new and nothing is open on them: begin to pull."""
        self.limits = limits or self.limits
        self._forget()
        self._heard = now
        self.pulling = not self._stopped

    def disconnected(self) -> None:
        """A pull request belongs to one connection: all credit is void."""
        self.pulling = False
        self._due.clear()
        self._forget()

    def stop(self) -> None:
        """Ask for nothing more, ever. Credit that is open still counts."""
        self._stopped = True
        self.pulling = False

    def admit(self, slot: int, sizes: list[int], now: float, *, current: bool = True) -> int:
        """Deliveries came; return how many of them may start (all, unless they are from inboxes given up).

        Args:
            slot: the inbox that they came to.
            sizes: bytes of each as the server counts them (subject, reply, headers, payload).
            current: False when that inbox was given up, so that its deliveries are no longer in the credit.
        """
        admitted = min(len(sizes), max(0, self.capacity - self.running))
        self.running += admitted
        if current:
            self._heard = self._delivered_at = now
            self._silences = 0
            self._delivered(slot, sizes)
        return admitted

    def freed(self, deliveries: int, size: int = 0) -> None:
        """Deliveries were settled; `size` is their bytes, as `admit` got them."""
        self.running -= deliveries

    def status(self, slot: int, token: str, status: Status, now: float) -> None:
        """A status came on a current inbox, for the request `token`."""
        self._heard = now
        answer = status.answer
        if answer is Answer.HEARTBEAT:
            self._silences = 0
        elif answer in (Answer.CLOSED, Answer.TOO_BIG):
            self._silences = 0
            self._close(slot, token, status)
        elif answer is Answer.FATAL:
            self._interrupt(Fail(f"the server refuses to let it pull: {status}"))
        elif answer is Answer.DELETED:
            self._interrupt(Attach("the consumer was deleted", pause=False))
        elif answer is Answer.NOBODY:
            self._interrupt(Attach(f"its consumer does not answer, or is gone ({status.code})", pause=True))
        else:
            self._interrupt(Attach(f"the server says {status}", pause=True))

    def interrupt(self, reason: str) -> None:
        """What is asked for is as good as lost: look at the consumer, and begin anew."""
        self._interrupt(Attach(reason, pause=True))

    def tick(self, now: float) -> None:
        """Time went by. Two missed heartbeats are a silence; before it is believed, the server is asked."""
        silent = now - self._heard > 2 * self.limits.heartbeat
        if silent and self.pulling and self.credit and self._probed is None:
            self._probed = now
            self._due.append(Ping())

    def doubt(self, now: float) -> None:
        """Messages pend and none comes, though heartbeats may: only a delivery can now prove that our requests live."""
        if self.pulling and self._probed is None:
            self._probed, self._doubted = now, True
            self._due.append(Ping())

    def pong(self, answered: bool) -> None:
        """The ping of `commands` was answered (all that the server had sent before has been told), or was not."""
        probed, doubted = self._probed, self._doubted
        self._probed, self._doubted = None, False
        heard = self._delivered_at if doubted else self._heard
        if not answered or probed is None or not self.pulling or heard >= probed:
            return
        self._silences += 1
        if self._silences >= _SILENCES_BEFORE_LOOKING:
            self._interrupt(Attach("no heartbeat comes for its pull requests", pause=True))
        else:
            self._interrupt(Renew())

    def commands(self, now: float) -> list[Command]:
        """What to do now, in order. Each command is returned once."""
        due, self._due = self._due, []
        if self.pulling:
            if self.credit == 0:  # no request is open, so the heartbeat clock stands still
                self._heard = now
            if not self.held:
                due.extend(self._requests())
        return due

    def _requests(self) -> Iterator[Request]:
        # To refill only at half of the whole window would starve the quick behind the slow: with half of the slots in
        # long handlers, the other half would idle until credit is all gone.
        while (free := self.free) >= 1 and self._credit <= free:
            batch = min(free, self.limits.max_batch or free)
            request = self._request(0, batch)
            self._credit += batch
            self._asked[request.token] = batch
            if len(self._asked) > _REMEMBERED:  # only a refusal needs it, and that comes at once
                del self._asked[next(iter(self._asked))]
            yield request

    def _request(self, slot: int, batch: int, max_bytes: int = 0) -> Request:
        return Request(slot, next(self._tokens), batch, max_bytes, self.limits.expires, self.limits.heartbeat)

    def _delivered(self, slot: int, sizes: list[int]) -> None:
        self._credit = max(0, self._credit - len(sizes))

    def _close(self, slot: int, token: str, status: Status) -> None:
        asked = self._asked.pop(token, 0)
        owed = asked if status.pending is None else status.pending
        self._credit = max(0, self._credit - owed)

    def _interrupt(self, command: Command) -> None:
        if self.pulling:  # each open request gets a status of its own; the first says all
            self._due.append(command)
        self.pulling = False
        self._forget()

    def _forget(self) -> None:
        self._credit = 0
        self._asked.clear()
        self._probed, self._doubted = None, False
