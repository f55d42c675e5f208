"""Wildcards, held against the definition: what a pattern matches, token by token."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.subjects import any_covers, covers, is_subject, overlaps

# Three tokens decide everything: a pattern of at most three either ends before, or goes on with `>`.
SUBJECTS = [".".join(tokens) for length in range(1, 5) for tokens in product("ab", repeat=length)]

patterns = st.builds(
    lambda tokens, rest: ".".join([*tokens, *rest]) or "a",
    st.lists(st.sampled_from(["a", "b", "*"]), max_size=3),
    st.sampled_from([[], [">"]]),
)


def matches(pattern: str, subject: str) -> bool:
    """As the NATS documentation defines it."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, rest = wanted[:-1], tokens[len(wanted) - 1 :]
        if not rest:
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens, strict=True))


@given(patterns, patterns)
def test_one_pattern_covers_another_if_it_matches_all_that_the_other_does(wide: str, narrow: str) -> None:
    everything = all(matches(wide, subject) for subject in SUBJECTS if matches(narrow, subject))
    assert covers(wide, narrow) == everything


@given(patterns, patterns)
def test_patterns_overlap_if_a_subject_matches_both(one: str, other: str) -> None:
    both = any(matches(one, subject) and matches(other, subject) for subject in SUBJECTS)
    assert overlaps(one, other) == overlaps(other, one) == both


@given(patterns, st.sampled_from(SUBJECTS))
def test_for_a_subject_without_wildcards_covering_and_overlapping_are_matching(pattern: str, subject: str) -> None:
    assert covers(pattern, subject) == overlaps(pattern, subject) == matches(pattern, subject)


def test_any_of_several_may_cover() -> None:
    assert any_covers(["a", "b.>"], "b.c")
    assert not any_covers(["a", "b.>"], "b")
    assert not any_covers([], "b")


@pytest.mark.parametrize("text", ["a", "a.b", "*", ">", "a.*.c", "a.>", "ä.b", "$JS.ACK"])
def test_these_are_subjects(text: str) -> None:
    assert is_subject(text)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\n", ">.a", "a.>.b", "a\x7f"])
def test_these_are_none(text: str) -> None:
    assert not is_subject(text)


@pytest.mark.parametrize("text", ["*", ">", "a.*", "a.>", "*.a"])
def test_nothing_is_published_to_a_wildcard(text: str) -> None:
    assert not is_subject(text, wildcards=False)
    assert is_subject(text)
