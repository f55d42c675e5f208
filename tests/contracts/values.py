"""Random values of every contract, the extremes of each type among them."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import strategies as st

from eventbus_runtime.contracts import AckRequest, Contract, Duration
from eventbus_runtime.contracts.fields import Field, fields

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
TABLES = st.dictionaries(TEXTS, TEXTS, max_size=4)
LONGEST = 315_576_000_000 * 10**9
TOKENS = st.from_regex(
    r"\$JS\.ACK\.[A-Z]{1,9}\.[a-z]{1,9}\.[1-9]\.[1-9][0-9]{0,9}\.[1-9]\.[0-9]{19}\.[0-9]", fullmatch=True
)


def _edges(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2**bits), 2**bits - 1) | st.sampled_from([-(2**bits), -1, 0, 1, 2**bits - 1])


def durations() -> st.SearchStrategy[Duration]:
    """Of both signs, from nothing to 10,000 years."""
    nanoseconds = st.integers(-LONGEST, LONGEST) | st.sampled_from([-LONGEST, -1, 0, 1, 10**9 - 1, 10**9, LONGEST])
    return nanoseconds.map(Duration.of)


def values(contract: type[Contract]) -> st.SearchStrategy[Any]:
    """Values of a contract: each field at its default, or anything that it may hold."""
    if contract is Duration:
        return durations()
    if contract is AckRequest:
        return st.builds(AckRequest, ack_token=TOKENS)
    return st.fixed_dictionaries({}, optional={field.name: _value(field) for field in fields(contract)}).map(
        lambda given: contract(**given)
    )


def _value(field: Field) -> st.SearchStrategy[Any]:
    one: dict[str, st.SearchStrategy[Any]] = {
        "string": TEXTS,
        "bytes": st.binary(max_size=50),
        "bool": st.booleans(),
        "int32": _edges(31),
        "int64": _edges(63),
        "map": TABLES,
    }
    if field.kind == "enum":
        return st.sampled_from(list(cast(Any, field.type)))
    found = values(cast(type[Contract], field.type)) if field.kind == "message" else one[field.kind]
    return st.lists(found, max_size=3).map(tuple) if field.repeated else found
