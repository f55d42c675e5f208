"""The pull window with a bound on bytes: a fixed number of requests, each with an inbox and an account of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from eventbus_runtime.message import Raw
from eventbus_runtime.triggers.pull import Limits, PullWindow, Request
from eventbus_runtime.triggers.status import Answer, Status


@dataclass(slots=True)
class _Account:
    """What one request may still bring. `bound`: bytes that it asked for; 0 where it has no bound."""

    token: str
    messages: int
    bytes: int
    bound: int


class ByteWindow(PullWindow):
    """A `PullWindow` that also keeps the bytes in flight at or below `max_bytes`.

    Each of four requests may bring a quarter. The server counts subject, reply, headers and payload; a request whose
    bytes are used up exactly closes without any status, so each inbox keeps the same account here. A message that is
    larger than an untouched request closes them all: it is then asked for alone and without a bound, once nothing else
    is in flight, since otherwise it would block the consumer for ever.

    Args:
        capacity, limits: see `PullWindow`.
        max_bytes: bytes that may be unsettled at once.
    """

    slots = 4

    def __init__(self, capacity: int, max_bytes: int, limits: Limits | None = None) -> None:
        super().__init__(capacity, limits)
        self.max_bytes = max_bytes
        self.running_bytes = 0
        self._accounts: list[_Account | None] = [None] * self.slots
        self.alone = False

    @property
    def credit(self) -> int:
        """Deliveries that the server still owes to our open requests."""
        return sum(account.messages for account in self._accounts if account)

    @property
    def free_bytes(self) -> int:
        """Bytes that could be asked for."""
        return self.max_bytes - self.running_bytes - sum(account.bytes for account in self._accounts if account)

    def admit(self, slot: int, sizes: list[int], now: float, *, current: bool = True) -> int:
        """See `PullWindow.admit`."""
        admitted = super().admit(slot, sizes, now, current=current)
        self.running_bytes += sum(sizes[:admitted])
        return admitted

    def freed(self, deliveries: int, size: int = 0) -> None:
        """See `PullWindow.freed`."""
        super().freed(deliveries)
        self.running_bytes -= size

    def _requests(self) -> Iterator[Request]:
        if self.alone:
            if self.running == 0 and self.credit == 0:
                yield self._open(0, 1, 0)
            return
        share = max(1, self.max_bytes // self.slots)
        share = min(share, self.limits.max_bytes or share)
        batch = max(1, self.capacity // self.slots)
        for slot, account in enumerate(self._accounts):
            if account is None and self.free >= 1 and self.free_bytes >= share:
                asked = min(self.free, batch, self.limits.max_batch or batch)
                yield self._open(slot, asked, share)

    def _open(self, slot: int, batch: int, bound: int) -> Request:
        request = self._request(slot, batch, bound)
        self._accounts[slot] = _Account(request.token, batch, bound, bound)
        return request

    def _delivered(self, slot: int, sizes: list[int]) -> None:
        account = self._accounts[slot]
        if account is not None and not account.bound:
            self.alone = False
        self._count_off(slot, len(sizes), sum(sizes))

    def _close(self, slot: int, token: str, status: Status) -> None:
        account = self._accounts[slot]
        if account is None or account.token != token:  # all that it brought is here, and its slot may be in use again
            return
        left = account.bytes if status.pending_bytes is None else status.pending_bytes
        if status.answer is Answer.TOO_BIG and left >= account.bound:
            self.alone = True
        owed = account.messages if status.pending is None else status.pending
        self._count_off(slot, owed, left)

    def _count_off(self, slot: int, messages: int, size: int) -> None:
        account = self._accounts[slot]
        if account is None:
            return
        account.messages -= messages
        account.bytes -= size
        if account.messages <= 0 or account.bytes <= 0:
            self._accounts[slot] = None

    def _forget(self) -> None:
        super()._forget()
        self._accounts = [None] * self.slots


def sizes_of(deliveries: list[Raw]) -> list[int]:
    """Bytes of each, as the server counts them for a request's max_bytes."""
    return [len(subject) + len(reply) + len(body) + len(block or b"") for subject, reply, body, block in deliveries]
