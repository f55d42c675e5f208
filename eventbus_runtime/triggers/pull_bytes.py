"""The pull window with a bound on bytes: a fixed number of requests, each with an inbox and an account of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from eventbus_runtime.triggers.pull import Limits, PullWindow, Request
from eventbus_runtime.triggers.status import Answer, Status


@dataclass(slots=True)
class _Account:
    messages: int
    bytes: int
    asked: int


class ByteWindow(PullWindow):
    """A `PullWindow` that also keeps the bytes in flight at or below `max_bytes`.

    Each of four requests may bring a quarter. The server counts subject, reply, headers and payload; a request whose
    bytes are used up exactly closes without any status, so each inbox keeps the same account here. A message that is
    larger than an untouched request closes them all: it is then asked for alone and without a bound, once nothing else
    is in flight, since otherwise it would block the consumer for ever.
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
                self._accounts[0] = _Account(1, 0, 0)
                yield self._request(0, 1)
            return
        share = max(1, self.max_bytes // self.slots)
        batch = max(1, self.capacity // self.slots)
        for slot, account in enumerate(self._accounts):
            if account is None and self.free >= 1 and self.free_bytes >= share:
                asked = min(self.free, batch, self.limits.max_batch or batch)
                self._accounts[slot] = _Account(asked, share, share)
                yield self._request(slot, asked, share)

    def _delivered(self, slot: int, sizes: list[int]) -> None:
        self.alone = False
        account = self._accounts[slot]
        if account is not None:
            account.messages -= len(sizes)
            account.bytes -= sum(sizes)
            if account.messages <= 0 or (account.asked and account.bytes <= 0):
                self._accounts[slot] = None

    def _close(self, slot: int, token: str, status: Status) -> None:
        account, self._accounts[slot] = self._accounts[slot], None
        self._asked.pop(token, None)
        untouched = account is not None and account.bytes == account.asked > 0
        if status.answer is Answer.TOO_BIG and untouched:
            self.alone = True

    def _forget(self) -> None:
        super()._forget()
        self._accounts = [None] * self.slots
