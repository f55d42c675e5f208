"""`decide`: every outcome, under every policy, at every attempt, leads to exactly one settlement."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.triggers.settlement import (
    KILLED,
    Ack,
    DeadLetter,
    Failure,
    Nak,
    Outcome,
    Policy,
    Settlement,
    Success,
    Term,
    decide,
)

OUTCOMES: dict[str, Outcome] = {
    "success": Success(),
    "error": Failure("error", "ValueError: no"),
    "timeout": Failure("timeout"),
    "retry": Failure("retry"),
    "retry in 7": Failure("retry", delay=7.0),
    "rejected": Failure("rejected"),
    "undecodable": Failure("undecodable"),
    "cancelled": Failure("cancelled"),
    "put off": Failure("cancelled", delay=7.0),
    "killed": Failure(KILLED),
}
POLICIES = {
    "endless": Policy((1.0, 5.0)),
    "dead letter": Policy((1.0, 5.0), dead_letter=True, attempts=4),
    "dead letter, no limit": Policy((1.0, 5.0), dead_letter=True),
    "terminate": Policy((1.0, 5.0), attempts=4, terminate=True),
}
ATTEMPTS = {"first": 1, "second": 2, "third": 3, "last": 4, "beyond": 9}

ACK, TERM = Ack(), Term("exhausted")
SOON, LATER, ASKED, NOW = Nak(1.0), Nak(5.0), Nak(7.0), Nak(0.0)
STUCK, REJECTED = Nak(5.0, stuck=True), Term("rejected")


def dead(reason: str, fallback: Nak) -> DeadLetter:
    return DeadLetter(reason, fallback)


SCHEDULE: list[Settlement] = [SOON, LATER, LATER, LATER, LATER]
EXHAUSTS: list[Settlement] = [SOON, LATER, LATER, dead("exhausted", LATER), dead("exhausted", LATER)]
DROPS: list[Settlement] = [SOON, LATER, LATER, TERM, TERM]
REJECTS: list[Settlement] = [dead("rejected", SOON), *[dead("rejected", LATER)] * 4]

# One line for each outcome and policy, one settlement for each attempt of ATTEMPTS.
TABLE: dict[tuple[str, str], list[Settlement]] = {
    ("success", "endless"): [ACK] * 5,
    ("success", "dead letter"): [ACK] * 5,
    ("success", "dead letter, no limit"): [ACK] * 5,
    ("success", "terminate"): [ACK] * 5,
    ("error", "endless"): [SOON, LATER, STUCK, STUCK, STUCK],
    ("error", "dead letter"): EXHAUSTS,
    ("error", "dead letter, no limit"): SCHEDULE,
    ("error", "terminate"): DROPS,
    ("timeout", "endless"): [SOON, LATER, STUCK, STUCK, STUCK],
    ("timeout", "dead letter"): EXHAUSTS,
    ("timeout", "dead letter, no limit"): SCHEDULE,
    ("timeout", "terminate"): DROPS,
    ("retry", "endless"): [SOON, LATER, STUCK, STUCK, STUCK],
    ("retry", "dead letter"): EXHAUSTS,
    ("retry", "dead letter, no limit"): SCHEDULE,
    ("retry", "terminate"): DROPS,
    ("retry in 7", "endless"): [ASKED] * 5,
    ("retry in 7", "dead letter"): [ASKED, ASKED, ASKED, dead("exhausted", ASKED), dead("exhausted", ASKED)],
    ("retry in 7", "dead letter, no limit"): [ASKED] * 5,
    ("retry in 7", "terminate"): [ASKED, ASKED, ASKED, TERM, TERM],
    ("rejected", "endless"): [REJECTED] * 5,
    ("rejected", "dead letter"): REJECTS,
    ("rejected", "dead letter, no limit"): REJECTS,
    ("rejected", "terminate"): [REJECTED] * 5,
    ("undecodable", "endless"): [STUCK] * 5,
    ("undecodable", "dead letter"): [dead("undecodable", LATER)] * 5,
    ("undecodable", "dead letter, no limit"): [dead("undecodable", LATER)] * 5,
    ("undecodable", "terminate"): [LATER, LATER, LATER, TERM, TERM],
    ("cancelled", "endless"): [NOW] * 5,
    ("cancelled", "dead letter"): [NOW] * 5,
    ("cancelled", "dead letter, no limit"): [NOW] * 5,
    ("cancelled", "terminate"): [NOW] * 5,
    ("put off", "endless"): [ASKED] * 5,
    ("put off", "dead letter"): [ASKED] * 5,
    ("put off", "dead letter, no limit"): [ASKED] * 5,
    ("put off", "terminate"): [ASKED] * 5,
    ("killed", "endless"): [SOON, LATER, STUCK, STUCK, STUCK],
    ("killed", "dead letter"): [SOON, LATER, LATER, dead(KILLED, LATER), dead(KILLED, LATER)],
    ("killed", "dead letter, no limit"): SCHEDULE,
    ("killed", "terminate"): [SOON, LATER, LATER, Term(KILLED), Term(KILLED)],
}


def no_jitter() -> float:
    return 0.5


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(product(OUTCOMES, POLICIES))
    assert all(len(row) == len(ATTEMPTS) for row in TABLE.values())


@pytest.mark.parametrize(("outcome", "policy", "attempt"), list(product(OUTCOMES, POLICIES, ATTEMPTS)))
def test_every_pair_of_outcome_and_policy_at_every_attempt(outcome: str, policy: str, attempt: str) -> None:
    wanted = TABLE[outcome, policy][list(ATTEMPTS).index(attempt)]
    assert decide(OUTCOMES[outcome], ATTEMPTS[attempt], POLICIES[policy], no_jitter) == wanted


REASONS = ["error", "timeout", "undecodable", "retry", "rejected", "cancelled", KILLED]
failures = st.builds(
    Failure, st.sampled_from(REASONS) | st.text(), st.text(), st.none() | st.floats(0, 1e6), st.just(ValueError("no"))
)
policies = st.builds(
    Policy,
    delays=st.lists(st.floats(0, 1e4), min_size=1, max_size=5),
    jitter=st.floats(0, 1),
    dead_letter=st.booleans(),
    attempts=st.none() | st.integers(1, 9),
    terminate=st.booleans(),
)
attempts = st.integers(1, 2000)
shares = st.floats(0, 1)


@given(failures, attempts, policies, shares)
def test_a_failure_is_never_acknowledged_and_always_settled(
    failure: Failure, attempt: int, policy: Policy, share: float
) -> None:
    settlement = decide(failure, attempt, policy, lambda: share)
    assert isinstance(settlement, Nak | Term | DeadLetter)
    nak = settlement.fallback if isinstance(settlement, DeadLetter) else settlement
    if isinstance(nak, Nak):
        assert nak.delay >= 0


@given(st.lists(st.builds(Publish, st.just("a.b"))), attempts, policies)
def test_a_success_is_always_acknowledged(publishes: list[Publish], attempt: int, policy: Policy) -> None:
    assert decide(Success(publishes), attempt, policy, no_jitter) == Ack()


@given(failures, attempts, policies, shares)
def test_only_what_is_rejected_undecodable_or_exhausted_is_dead_lettered_or_dropped(
    failure: Failure, attempt: int, policy: Policy, share: float
) -> None:
    settlement = decide(failure, attempt, policy, lambda: share)
    exhausted = policy.attempts is not None and attempt >= policy.attempts and failure.reason != "cancelled"
    if isinstance(settlement, DeadLetter):
        assert policy.dead_letter
        own = failure.reason in ("rejected", "undecodable", KILLED)
        assert settlement.reason == (failure.reason if own else "exhausted")
        assert exhausted or settlement.reason in ("rejected", "undecodable")
    elif isinstance(settlement, Term):
        assert not policy.dead_letter
        assert failure.reason == "rejected" or (policy.terminate and exhausted)
    elif policy.dead_letter:
        assert failure.reason not in ("rejected", "undecodable")
        assert not exhausted


@given(st.sampled_from(["error", "timeout", "retry"]), attempts, policies, shares)
def test_a_delay_is_its_attempts_own_within_the_jitter_and_the_last_repeats(
    reason: str, attempt: int, policy: Policy, share: float
) -> None:
    settlement = decide(Failure(reason), attempt, policy, lambda: share)
    nak = settlement.fallback if isinstance(settlement, DeadLetter) else settlement
    if isinstance(nak, Nak):
        base = policy.delays[attempt - 1] if attempt <= len(policy.delays) else policy.delays[-1]
        assert base * (1 - policy.jitter) * 0.999999 <= nak.delay <= base * (1 + policy.jitter) * 1.000001


@pytest.mark.parametrize(("share", "delay"), [(0.0, 9.0), (0.5, 10.0), (1.0, 11.0)])
def test_jitter_goes_both_ways(share: float, delay: float) -> None:
    assert Policy((10.0,), jitter=0.1).delay(1, lambda: share) == pytest.approx(delay)


def test_a_delay_that_the_handler_asked_for_has_no_jitter() -> None:
    policy = Policy((10.0,), jitter=1.0)
    assert decide(Failure("retry", delay=3.0), 1, policy, lambda: 0.9) == Nak(3.0)
    assert decide(Failure("retry", delay=0.0), 1, policy, lambda: 0.9) == Nak(0.0)


@given(failures, attempts, policies)
def test_only_an_endless_schedule_that_is_used_up_is_stuck(failure: Failure, attempt: int, policy: Policy) -> None:
    settlement = decide(failure, attempt, policy, no_jitter)
    if isinstance(settlement, Nak) and settlement.stuck:
        assert not policy.dead_letter
        assert not policy.terminate
        assert failure.delay is None
        assert failure.reason == "undecodable" or attempt > len(policy.delays)
