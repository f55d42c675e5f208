"""A suite is a list of named phases, run in order; each says what it shows, and what was expected where it fails."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from eventbus_runtime.errors import BusUnavailableError, EventbusError
from eventbus_runtime.message import nanoseconds, rfc3339

_LOOKS = 0.02
_CLOCKS_APART = 600.0
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class UnmetError(Exception):
    """What a phase raises where it does not see what it must.

    Args:
        expected: what it wanted to see.
        seen: what it saw.
    """

    def __init__(self, expected: str, seen: object) -> None:
        super().__init__(f"expected {expected}; seen: {seen}")


class NotApplicableError(Exception):
    """What a phase raises where it can't be held to anything, with the reason: `install eventbus-runtime[rpc]`."""


@dataclass(frozen=True)
class Phase:
    """One step of a suite.

    Args:
        name: unique in its suite.
        shows: what it shows where it passes, as a sentence without a full stop.
        rule: of the origin, as `S-70`.
        run: does it, and returns what it saw, for the report.
        needs: names of phases before it, without which it is not run.
        within: seconds that it may take.

    `run` may raise `UnmetError`, `NotApplicableError`, or anything else, which is a failure too.
    """

    name: str
    shows: str
    rule: str
    run: Callable[[], Awaitable[str]]
    needs: tuple[str, ...] = ()
    within: float = 15.0


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Suite:
    """A group of phases that belong together.

    Args:
        name: a word for it, as `provider`.
        phases: in the order in which they are run.
        clean: called once at the end, whatever has happened, a cancellation too; removes what the phases left behind
            and closes what they opened. At most 10 s.

    Raises:
        ValueError: a phase needs one that is not before it.
    """

    name: str
    phases: tuple[Phase, ...]
    clean: Callable[[], Awaitable[None]] = _nothing

    def __post_init__(self) -> None:
        before = set[str]()
        for phase in self.phases:
            if missing := set(phase.needs) - before:
                raise ValueError(f"phase {phase.name!r} needs {', '.join(sorted(missing))}, which is not before it")
            before.add(phase.name)


def expect(holds: bool, expected: str, seen: object) -> None:
    """Go on only where a condition holds.

    Raises:
        UnmetError: it does not.
    """
    if not holds:
        raise UnmetError(expected, seen)


def expect_equal(what: str, expected: object, seen: object) -> None:
    """Go on only where two values are the same.

    Raises:
        UnmetError: they are not.
    """
    expect(expected == seen, f"{what} {expected!r}", repr(seen))


def expect_just_now(what: str, seen: str) -> None:
    """Go on only where a time is in UTC, as RFC 3339, and not long ago; a wrong time zone is at least 15 minutes off.

    Raises:
        UnmetError: it is not.
    """
    expect(bool(_RFC3339.fullmatch(seen)), f"{what} in UTC, as RFC 3339", seen)
    now = time.time_ns()
    told = f"{what} within {_CLOCKS_APART:.0f} s of this machine's clock, which says {rfc3339(now)}"
    expect(abs(nanoseconds(seen) - now) < _CLOCKS_APART * 1e9, told, seen)


class _Unanswered(str):
    """Why there was nothing to be seen."""

    def __repr__(self) -> str:
        return str(self)


async def eventually(look: Callable[[], Awaitable[object]], wanted: object, what: str, within: float) -> None:
    """Look again and again until what is seen is `wanted`.

    Args:
        look: what to look at.
        wanted: what it should be.
        what: it is, for the report.
        within: seconds; 0: look once.

    Raises:
        UnmetError: it was not in time; tells what was seen last.
    """

    async def see() -> object:
        try:
            return await look()
        except BusUnavailableError as error:  # a leader that is just being elected does not answer
            return _Unanswered(str(error))

    seen = await see()
    try:
        async with asyncio.timeout(within):
            while seen != wanted:
                await asyncio.sleep(_LOOKS)
                seen = await see()
    except TimeoutError:
        limit = f" within {within:g} s" if within else ""
        raise UnmetError(f"{what} {wanted!r}{limit}", repr(seen)) from None


async def refused(what: str, attempt: Awaitable[object], *texts: str) -> str:
    """Do what must be refused; returns the refusal's text.

    Args:
        what: it is, for the report.
        attempt: does it, once it is awaited.
        texts: words that the refusal must hold, in any case.

    Raises:
        UnmetError: it was done, or refused without one of these words, or by an exception that is no refusal.
    """
    named = " and ".join(repr(text) for text in texts)
    expected = f"{what} refused" + (f", with a text that says {named}" if texts else "")
    try:
        done = await attempt
    except (EventbusError, ValueError) as error:
        told = str(error)
        expect(all(text.lower() in told.lower() for text in texts), expected, told)
        return told
    except Exception as error:
        raise UnmetError(expected, describe(error)) from error
    raise UnmetError(expected, f"it was taken, with the result {done!r}")


def describe(error: BaseException) -> str:
    """An exception as one line: its text, and its type where that is none of ours."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(one) for one in error.exceptions)
    text = str(error).strip() or "no text"
    return text if isinstance(error, EventbusError | UnmetError) else f"{type(error).__name__}: {text}"
