"""NATS subjects and their wildcards (`*` is one token, `>` as the last token is one or more)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache


def is_subject(text: str, *, wildcards: bool = True) -> bool:
    """Whether it can be subscribed to or, without `wildcards`, published to: no empty token, no white space or
    control character, and `>` only at the end."""
    tokens = text.split(".")
    if not all(tokens) or any(character <= " " or character == "\x7f" for character in text):
        return False
    return ">" not in tokens[:-1] and (wildcards or not {"*", ">"} & set(tokens))


@lru_cache(maxsize=500)
def check_target(text: str) -> str:
    """Return `text` if it can be published to. A server stores what goes to `orders.*` under just that name, which
    filters take for a pattern.

    Raises:
        ValueError: it can't.
    """
    if not is_subject(text, wildcards=False):
        raise ValueError(f"{text!r} can't be published to: write words with dots between, without wildcards or spaces")
    return text


def covers(wide: str, narrow: str) -> bool:
    """Whether every subject that `narrow` matches is matched by `wide` too."""
    ours, theirs = wide.split("."), narrow.split(".")
    for at, token in enumerate(ours):
        if token == ">":
            return len(theirs) > at
        if at == len(theirs) or theirs[at] == ">" or token not in ("*", theirs[at]):
            return False
    return len(ours) == len(theirs)


def overlaps(one: str, other: str) -> bool:
    """Whether there is a subject that both match."""
    left, right = one.split("."), other.split(".")
    for ours, theirs in zip(left, right, strict=False):
        if ">" in (ours, theirs):
            return True
        if ours != theirs and "*" not in (ours, theirs):
            return False
    return len(left) == len(right)


def any_covers(wides: Iterable[str], narrow: str) -> bool:
    """Whether one of `wides` covers `narrow`."""
    return any(covers(wide, narrow) for wide in wides)
