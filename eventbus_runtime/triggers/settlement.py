"""Which settlement an outcome leads to. Pure and total: every outcome, attempt and policy gives exactly one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from eventbus_runtime.pipelines.outcome import Publish

KILLED = "killed-worker"
"""The reason where a handler, run alone, took its process along."""


class Success(NamedTuple):
    """The handler returned; this is what it wants published before the ack."""

    publishes: Sequence[Publish] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Anything else.

    Args:
        reason: `error`, `timeout`, `undecodable`, `retry`, `rejected`, `cancelled` or `killed-worker`.
        text: for people.
        delay: what a Retry asked for, in seconds; of one that is `cancelled`, until it comes again.
        error: the exception, where there is one.
    """

    reason: str
    text: str = ""
    delay: float | None = None
    error: BaseException | None = None


Outcome: TypeAlias = Success | Failure


@dataclass(frozen=True, slots=True)
class Ack:
    """Done: never again."""


@dataclass(frozen=True, slots=True)
class Nak:
    """Again after `delay` seconds. `stuck`: its schedule is used up, and nothing but success ends it."""

    delay: float
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """Dropped, because the user's code or configuration asks for just that."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Published to the dead-letter subject and confirmed, then terminated. `fallback`: the nak if not confirmed."""

    reason: str
    fallback: Nak


Settlement: TypeAlias = Ack | Nak | Term | DeadLetter


@dataclass(frozen=True, slots=True)
class Policy:
    """What a trigger's configuration says about failures.

    Args:
        delays: seconds before the second, third … delivery; the last repeats.
        jitter: share by which a delay varies.
        dead_letter: whether there is a dead-letter subject.
        attempts: deliveries before the message is exhausted; None: no limit.
        terminate: drop what is exhausted.
    """

    delays: Sequence[float] = (1.0, 5.0, 30.0)
    jitter: float = 0.0
    dead_letter: bool = False
    attempts: int | None = None
    terminate: bool = False

    def delay(self, attempt: int, share: Callable[[], float]) -> float:
        """Seconds to wait after this attempt (1 is the first); `share` gives the jitter, in 0..1."""
        base = self.delays[min(max(attempt, 1), len(self.delays)) - 1]
        return base * (1 + self.jitter * (2 * share() - 1))


def decide(outcome: Outcome, attempt: int, policy: Policy, share: Callable[[], float]) -> Settlement:
    """The settlement of one delivery.

    Args:
        outcome: what the pipeline returned or raised.
        attempt: which delivery it was, from 1.
        policy: the trigger's.
        share: a random number in 0..1, for the jitter.
    """
    if isinstance(outcome, Success):
        return Ack()
    if outcome.reason == "cancelled":
        return Nak(outcome.delay or 0.0)
    if outcome.reason == "rejected":
        return (
            DeadLetter("rejected", _again(outcome, attempt, policy, share)) if policy.dead_letter else Term("rejected")
        )
    again = _again(outcome, attempt, policy, share)
    if outcome.reason == "undecodable" and policy.dead_letter:
        return DeadLetter("undecodable", again)
    if policy.attempts is not None and attempt >= policy.attempts:
        reason = KILLED if outcome.reason == KILLED else "exhausted"
        if policy.dead_letter:
            return DeadLetter(reason, again)
        if policy.terminate:
            return Term(reason)
    return again


def _again(outcome: Failure, attempt: int, policy: Policy, share: Callable[[], float]) -> Nak:
    if outcome.delay is not None:
        return Nak(outcome.delay)
    if outcome.reason == "undecodable":  # trying soon again can't help; only new code can
        attempt = len(policy.delays) + 1
    endless = not (policy.dead_letter or policy.terminate)
    return Nak(policy.delay(attempt, share), stuck=endless and attempt > len(policy.delays))
