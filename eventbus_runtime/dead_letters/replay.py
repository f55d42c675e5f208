"""Dead letters published again to where they came from, each deleted once a stream has confirmed it.

What keeps a killed replay from doubling: the same dead letter is always published with the same id, and while the
origin's stream remembers ids, it takes the second one for the first. What may be published and not yet deleted is noted
in a file before (`Unfinished`), and looked up in the origin's stream by the next replay where the ids are forgotten.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from eventbus_runtime.buses.base import Bus, PubAck
from eventbus_runtime.buses.stored import get
from eventbus_runtime.dead_letters.drop import refuse_another, refuse_undeletable
from eventbus_runtime.dead_letters.earlier import Earlier, look_back
from eventbus_runtime.dead_letters.letter import Letter
from eventbus_runtime.dead_letters.results import Done, Report, Result, to_the_end
from eventbus_runtime.dead_letters.selection import Picked
from eventbus_runtime.dead_letters.streams import AT_ONCE, Stream, delete, find
from eventbus_runtime.dead_letters.unfinished import Attempt, Unfinished
from eventbus_runtime.errors import BusError, EventbusError, NoStreamError, PayloadTooLargeError, PublishError
from eventbus_runtime.subjects import any_covers, is_subject

# Under a rate, so many seconds' worth go out at once: fewer cost round trips, more wait long for their deletion.
_BURST: Final = 0.25


class Replay:
    """The replay of one place's dead letters.

    Args:
        bus: where they are, and where they came from.
        picked: which.
        unfinished: what an earlier replay has left; entered, or it notes nothing.
        report: gets each result.
        say: gets a sentence for the user before what may take long.
        timeout: seconds to wait for each answer.
        dry_run: find out what would happen, and do nothing.
    """

    def __init__(
        self,
        bus: Bus,
        picked: Picked,
        unfinished: Unfinished,
        *,
        report: Report,
        say: Callable[[str], None],
        timeout: float,
        dry_run: bool = False,
    ) -> None:
        self._bus, self._picked, self._unfinished = bus, picked, unfinished
        self._report, self._say, self._timeout, self._dry_run = report, say, timeout, dry_run
        self._origins: dict[str, Stream] = {}
        self._earlier = Earlier({}, {})

    async def run(self, rate: float | None = None) -> None:
        """Replay them, oldest first, some at once. Cancelled, it ends with what is under way.

        Args:
            rate: most messages a second; None: as fast as they go.

        Raises:
            DeadLetterError: nothing can be deleted from their stream, it was made anew meanwhile, or what is
                unfinished can't be noted.
            BusError, PublishError: no answer, or no confirmation, so that going on makes no sense.
        """
        refuse_undeletable(self._picked.stream)
        await refuse_another(self._bus, self._picked.stream, timeout=self._timeout)
        await self._look_back()
        clock = asyncio.get_running_loop().time
        due = clock()
        for chunk in self._picked.chunks(AT_ONCE if rate is None else max(1, min(AT_ONCE, int(rate * _BURST)))):
            if rate is not None:
                await asyncio.sleep(due - clock())
                due = max(due, clock()) + len(chunk) / rate
            await to_the_end(self._replay(chunk))

    async def _replay(self, sequences: Sequence[int]) -> None:
        letters = await asyncio.gather(*map(self._letter, sequences))
        due: list[tuple[Letter, Stream]] = []
        stored: list[Result] = []
        for sequence, letter in zip(sequences, letters, strict=True):
            if letter is None:
                self._report(self._result(sequence, Done.GONE))
                continue
            decided = await self._decide(letter)
            if isinstance(decided, Stream):
                due.append((letter, decided))
            elif decided.done is Done.FINISHED:
                stored.append(decided)
            else:
                self._report(decided)
        if self._dry_run:
            for sequence in [letter.message.sequence for letter, _ in due] + [result.sequence for result in stored]:
                self._report(self._result(sequence, Done.WOULD_REPLAY))
            return
        self._unfinished.begin({letter.message.sequence: _attempt(letter, origin) for letter, origin in due})
        published = await asyncio.gather(*(self._publish(letter) for letter, _ in due))
        failed = [one for one in published if one.result.done is Done.FAILED]
        self._unfinished.end(one.result.sequence for one in failed if one.error is None)
        for one in failed:
            self._report(one.result)
        stored += [one.result for one in published if one.result.done is not Done.FAILED]
        await self._delete(stored)
        for one in published:
            if one.error is not None:
                raise one.error

    async def _letter(self, sequence: int) -> Letter | None:
        message = await get(self._bus, self._picked.stream.name, sequence, timeout=self._timeout)
        return self._picked.place.letter(message) if message else None

    async def _decide(self, letter: Letter) -> Result | Stream:
        """The stream that will store its message again, or why it will not be published."""
        sequence, origin = letter.message.sequence, letter.origin
        if (stored := self._earlier.stored.get(letter.replay_id)) is not None:
            return self._result(sequence, Done.FINISHED, stored=stored)
        if (why := self._earlier.unknown.get(letter.replay_id)) is not None:
            text = (
                f"an earlier replay was killed, and whether it published this one can't be told: {why}. Look whether "
                f"it was handled, then drop it; or delete {self._unfinished.path} to replay it all the same"
            )
            return self._result(sequence, Done.REFUSED, text)
        if letter.left_out is not None:
            where = f"message {origin.sequence} of {origin.stream}"
            text = f"its payload of {letter.left_out} bytes was left out; the original is {where}, if that still has it"
            return self._result(sequence, Done.REFUSED, text)
        if not is_subject(origin.subject, wildcards=False):
            text = f"it does not say what subject it came from (Eventbus-Subject: {origin.subject!r})"
            return self._result(sequence, Done.REFUSED, text)
        stream = await self._origin(origin.subject)
        if stream is None:
            text = f"no stream stores {origin.subject!r} now: make one, or drop the dead letter"
            return self._result(sequence, Done.FAILED, text)
        if stream.no_ack:
            text = f"the stream {stream.name} of {origin.subject!r} confirms nothing (no_ack), so it could be lost"
            return self._result(sequence, Done.REFUSED, text)
        return stream

    async def _origin(self, subject: str) -> Stream | None:
        for stream in self._origins.values():
            if any_covers(stream.subjects, subject):
                return stream
        found = await find(self._bus, subject, timeout=self._timeout)
        if found is not None:
            self._origins[found.name] = found
        return found

    async def _publish(self, letter: Letter) -> _Published:
        sequence = letter.message.sequence
        try:
            ack = await self._bus.publish(
                letter.origin.subject,
                letter.message.payload,
                letter.original_headers(),
                id=letter.replay_id,
                timeout=self._timeout,
            )
        except (EventbusError, ValueError) as error:
            return _Published(self._result(sequence, Done.FAILED, str(error)), error if _is_open(error) else None)
        if (origin := self._origins.get(ack.stream)) is not None:
            self._origins[ack.stream] = origin._replace(last=max(origin.last, ack.sequence))
        done = Done.FINISHED if ack.duplicate else Done.REPLAYED
        return _Published(self._result(sequence, done, stored=ack), None)

    async def _delete(self, results: Sequence[Result]) -> None:
        """Delete the dead letters of what is stored again."""
        if not results:
            return
        stream = self._picked.stream
        try:
            await refuse_another(self._bus, stream, timeout=self._timeout)
        except EventbusError as error:
            for result in results:
                self._report(result._replace(done=Done.FAILED, detail=f"it is replayed, but was not deleted: {error}"))
            raise
        deleting = (delete(self._bus, stream.name, result.sequence, timeout=self._timeout) for result in results)
        problems = await asyncio.gather(*deleting, return_exceptions=True)
        failed: BusError | None = None
        gone = []
        for result, problem in zip(results, problems, strict=True):
            if isinstance(problem, BusError):
                failed = problem
                text = f"it is replayed, but was not deleted: {problem}; the same command again only deletes it"
                self._report(result._replace(done=Done.FAILED, detail=text))
            elif isinstance(problem, BaseException):
                raise problem
            else:
                gone.append(result.sequence)
                self._report(result)
        self._unfinished.end(gone)
        if failed is not None:
            raise failed

    async def _look_back(self) -> None:
        """Find out what an earlier replay that was killed had published; forget what is no dead letter any more."""
        attempts = self._unfinished.attempts
        letters = await asyncio.gather(*map(self._letter, attempts))
        there = {letter.replay_id for letter in letters if letter is not None}
        self._unfinished.end([sequence for sequence, attempt in attempts.items() if attempt.id not in there])
        self._earlier = await look_back(self._bus, attempts.values(), self._say, timeout=self._timeout)

    def _result(self, sequence: int, done: Done, detail: str = "", stored: PubAck | None = None) -> Result:
        return Result(self._picked.stream.name, sequence, done, detail, stored)


class _Published(NamedTuple):
    """A publish that ended. `error`: it may be stored all the same, and there is no point in going on."""

    result: Result
    error: Exception | None


def _attempt(letter: Letter, origin: Stream) -> Attempt:
    return Attempt(letter.replay_id, origin.name, origin.created, origin.last, time.time())


def _is_open(error: Exception) -> bool:
    """Whether the message may be stored although its publish failed."""
    if isinstance(error, NoStreamError | PayloadTooLargeError | ValueError):
        return False
    return not isinstance(error, PublishError) or error.err_code == 0
