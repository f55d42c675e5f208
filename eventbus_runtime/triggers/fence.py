"""The fence: acks and terms of one trigger are kept until the server has proven that it has them.

An ack is one message, and a cluster that elects can lose it in silence. So the last one of each write carries a reply
subject; the consumer's leader works off acks in order, and its answer proves the whole write. What is not proven is
sent again, which is harmless, and nothing is pulled before it is proven: else the server would deliver again what is
done here. Naks are not kept: a late one could give up a delivery that somebody else works on by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain, count
from typing import NamedTuple, TypeAlias

from eventbus_runtime.buses.base import Bus, Inbox
from eventbus_runtime.errors import BusUnavailableError
from eventbus_runtime.message import Raw
from eventbus_runtime.triggers.backoff import Alarm
from eventbus_runtime.triggers.memory import identify
from eventbus_runtime.triggers.recall import Recall
from eventbus_runtime.triggers.status import Status

TERM = b"+TERM"  # never with a reason: a leader older than 2.10.4 would not know it, and deliver again
# Seconds until what is not proven is sent again; and until the next try where nothing may be said yet.
_PATIENCE, _LOOKS = 1.0, 0.25
_TRIES = 5
UNANSWERED = "the server does not answer acks that ask for it"


class _Written(NamedTuple):
    at: float
    acks: list[bytes]
    terms: list[bytes]

    def words(self) -> list[_Word]:
        return [(body, tokens) for body, tokens in ((b"", self.acks), (TERM, self.terms)) if tokens]


_Word: TypeAlias = tuple[bytes, list[bytes]]
"""What is said, and to which tokens."""


class Fence:
    """Writes acks and terms once per turn of the event loop, and again until they are proven.

    Args:
        bus: where to.
        recall: is told what was settled, and knows which tokens mean nothing.
    """

    def __init__(self, bus: Bus, recall: Recall) -> None:
        self._bus, self.recall = bus, recall
        self.proven: Callable[[], None] = lambda: None
        """Called when it is no longer `late`."""
        self.unanswered: Callable[[], None] = lambda: None
        """Called when it has been `late` for long; it goes on trying."""
        self.why = UNANSWERED
        """Why it is late, as far as anybody has told."""
        self.sees: Callable[[], bool] = lambda: True
        """Whether anything may be said now; if not, `flush` is to be called again once it may."""
        self.stale: Callable[[], None] = lambda: None
        """Called when the consumer should be looked at soon."""
        self.held = False
        """Whether something waits for that; meanwhile nothing may be pulled, since the server has no ack of it."""
        self._loop = asyncio.get_running_loop()
        self._acks: list[bytes] = []
        self._terms: list[bytes] = []
        self.ack = self._acks.append
        """Have the delivery of this ack token acknowledged at the next `flush`."""
        self._numbers = count(1)
        self._unproven: dict[int, _Written] = {}  # in the order of their numbers
        self._resends: set[int] = set()
        self._bar = self._asked = 0
        self._tries = 0  # of the timer, since the last proof
        self._inbox: Inbox | None = None
        self._answered = Alarm()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def unproven(self) -> int:
        """Acks and terms that the server has not proven to have."""
        return sum(len(written.acks) + len(written.terms) for written in self._unproven.values())

    @property
    def late(self) -> bool:
        """Whether something had to be sent again and is not proven yet: meanwhile nothing may be pulled."""
        return next(iter(self._unproven), self._bar) < self._bar

    def term(self, token: bytes) -> None:
        """Have the delivery of this ack token terminated at the next `flush`."""
        self._terms.append(token)

    def flush(self) -> None:
        """Write what was given since the last time, if anything may be said."""
        if not (self._acks or self._terms or self.held):
            return
        was_held, self.held = self.held, not self.sees()
        number = self._register()
        if self.held or self._inbox is None or not self._unproven:
            return
        if was_held:
            self._send_again()
        elif number:
            self._write(number, self._unproven[number].words())
        if self._timer is None:
            self._timer = self._loop.call_at(self._loop.time() + _PATIENCE, self._look)

    def _register(self) -> int:
        """Keep what was given until it is proven; its number, or 0 where nothing can be said of it."""
        if not self._acks and not self._terms:
            return 0
        now = self._loop.time()
        if self.recall.memory.keep(self._acks + self._terms, now):
            self.stale()
        written = _Written(now, self.recall.sayable(self._acks.copy()), self.recall.sayable(self._terms.copy()))
        self._acks.clear()
        self._terms.clear()
        if not written.acks and not written.terms:
            return 0
        number = next(self._numbers)
        self._unproven[number] = written
        return number

    def overtaken(self, raws: Sequence[Raw], now: float) -> bool:
        """The server delivers some of these again; see `Recall.overtaken`."""
        said = ((written.acks, written.terms) for written in self._unproven.values())
        return self.recall.overtaken(raws, now, chain(self._acks, self._terms, *chain.from_iterable(said)))

    def asking(self) -> None:
        """The server is asked what it knows to have delivered: what was written before is of deliveries before."""
        self._asked = next(self._numbers)
        self.recall.asking(self._loop.time())

    async def prove(self, known: int | None = None) -> None:
        """Return once all that was given so far is proven; it is sent again at once, and then each second. Opens the
        inbox where there is none.

        Args:
            known: stream sequence of the last message that the server knows to have delivered; None: not asked. A
                server that was killed forgets deliveries, and does not answer acks of what it will deliver anew; then
                `recall` knows them.

        Raises:
            BusUnavailableError: there is no connection, or no answer to several tries.
        """
        if self._inbox is None:
            self._inbox = await self._bus.open_inbox(self._take, wildcard=True)
        if known is not None:
            self._forget_above(known)
        for _ in range(_TRIES):
            if not self._unproven:
                return
            self._send_again()
            await self._wait()
            if not self.late:
                return
            if self._inbox is None:
                raise BusUnavailableError("the connection was lost before the server has answered acks")
        raise BusUnavailableError(self.why)

    async def settled(self) -> None:
        """As `prove`, but nothing is sent again before a second went by: for the end of a good connection."""
        self._bar = next(self._numbers)
        await self._wait()
        if self.late:
            await self.prove()

    async def close(self) -> None:
        """The trigger ends. What is not proven stays, for when it runs again."""
        self.flush()
        if self._inbox is not None:
            await self._inbox.unsubscribe()
        self.disconnected()

    def disconnected(self) -> None:
        """No answer will come: the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.recall.memory.disconnected(self._loop.time())
        self.held = False
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.close()
        self._answered.ring()

    def arrived(self, slot: int, raws: list[Raw]) -> bool:
        """See `Recall.arrived`; where that is False, nothing more is said by the tokens of before."""
        known = self.recall.arrived(slot, raws)
        if not known:
            self.forget()
        return known

    def forget(self) -> None:
        """The consumer is gone, or is another one of its name: the tokens mean nothing to it, or the wrong thing."""
        if self._acks or self._terms:
            self.recall.memory.keep(self._acks + self._terms, self._loop.time())
        self.recall.lost()
        self._acks.clear()
        self._terms.clear()
        self._unproven.clear()
        self.held = False
        self._answered.ring()

    def _write(self, number: int, words: list[_Word]) -> None:
        assert self._inbox is not None
        for body, tokens in words[:-1]:
            self._bus.answer_all(tokens, body)
        body, tokens = words[-1]
        self._bus.answer_all(tokens, body, f"{self._inbox.subject}.{number}")

    def _forget_above(self, known: int) -> None:
        for number in [each for each in self._unproven if each < self._asked]:
            written = self._unproven[number]
            acks, terms = ([token for token in each if _sequence(token) <= known] for each in written[1:])
            if acks or terms:
                self._unproven[number] = _Written(written.at, acks, terms)
            else:
                del self._unproven[number]

    def _send_again(self) -> None:
        """All that is not proven, in one write: its answer proves all that is older."""
        number = self._bar = next(self._numbers)
        if self._bus.congested:  # what was written before waits here, and will be answered
            return
        self._resends.add(number)
        unproven = self._unproven.values()
        again = _Written(
            self._loop.time(),
            [token for written in unproven for token in written.acks],
            [token for written in unproven for token in written.terms],
        )
        # The earliest last: if the server has forgotten some deliveries, it still knows that one, and answers it.
        words = [(body, sorted(tokens, key=_sequence, reverse=True)) for body, tokens in again.words()]
        words.sort(key=lambda word: _sequence(word[1][-1]), reverse=True)
        self._write(number, words)

    async def _wait(self) -> None:
        """Until it is no longer late, the connection is gone, or its time is over."""
        until = self._loop.time() + _PATIENCE
        while self.late and self._inbox is not None and self._loop.time() < until:
            await self._answered.wait(until)

    def _take(self, answers: list[Raw]) -> None:
        was_late = self.late
        for raw in answers:
            name = raw[0].rpartition(b".")[2]
            if not name.isdigit() or Status.parse(raw[3]).code:  # 503: no leader listens
                continue
            number = int(name)
            if number in self._resends:
                for older in [each for each in self._unproven if each < number]:
                    del self._unproven[older]
                self._resends = {each for each in self._resends if each > number}
            else:
                self._unproven.pop(number, None)
        if not self._unproven:
            self._resends.clear()
        if was_late and not self.late:
            self._tries, self.why = 0, UNANSWERED
            self._answered.ring()
            self.proven()

    def _look(self) -> None:
        """The timer, once a second while something is not proven."""
        self._timer = None
        oldest = next(iter(self._unproven.values()), None)
        if oldest is None or self._inbox is None:
            return
        now = self._loop.time()
        due = oldest.at + _PATIENCE
        if due <= now:
            if not self.sees():
                self._timer = self._loop.call_at(now + _LOOKS, self._look)
                return
            self._send_again()
            due = now + _PATIENCE
            self._tries += 1
            if self._tries == _TRIES:
                self.unanswered()
        self._timer = self._loop.call_at(due, self._look)


def _sequence(token: bytes) -> int:
    return identify(token)[0]
