"""What we write as TOML is read back as it was."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.config.toml import toml_key, toml_value

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=9,
)


@given(TEXTS, VALUES)
def test_any_key_and_value_come_back(key: str, value: Any) -> None:
    assert tomllib.loads(f"{toml_key(key)} = {toml_value(value)}") == {key: value}


def test_a_plain_key_is_not_quoted() -> None:
    assert toml_key("max_age") == "max_age"
