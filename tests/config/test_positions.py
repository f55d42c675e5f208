"""The line of every key, however TOML lets it be written."""

from __future__ import annotations

import tomllib
from typing import Any

from eventbus_runtime.config.positions import positions
from eventbus_runtime.config.tables import Keys

TEXT = '''# a comment
top = 1
a.b = 2  # dotted
[triggers."x.y"]  # quoted
filter = { "header:type" = "i", q.r = 2 }
'lit eral' = """
two
lines"""
delays = [
  "1s",  # first
  # between
  "5s",
  { deep = [1] },
]
[triggers.z.inner]
k = 1
[triggers.z]
late = 2
[[steps]]
call = "a"
[steps.sub]
k = 1
[[steps]]
call = "b"
'''


def test_every_key_table_and_item_has_its_line() -> None:
    found = positions(TEXT)
    assert found[("top",)] == 2
    assert found[("a",)] == found[("a", "b")] == 3
    assert found[("triggers",)] == found[("triggers", "x.y")] == 4
    assert found[("triggers", "x.y", "filter", "header:type")] == found[("triggers", "x.y", "filter", "q", "r")] == 5
    assert found[("triggers", "x.y", "lit eral")] == 6
    assert found[("triggers", "x.y", "delays")] == 9
    assert found[("triggers", "x.y", "delays", 1)] == 12
    assert found[("triggers", "x.y", "delays", 2, "deep", 0)] == 13
    assert found[("triggers", "z")] == found[("triggers", "z", "inner")] == 15
    assert found[("triggers", "z", "late")] == 18
    assert found[("steps",)] == found[("steps", 0)] == 19
    assert found[("steps", 0, "call")] == 20
    assert found[("steps", 0, "sub", "k")] == 22
    assert found[("steps", 1)] == 23
    assert found[("steps", 1, "call")] == 24


def test_the_keys_are_those_that_tomllib_reads() -> None:
    def keys(value: Any, at: Keys) -> set[Keys]:
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return {at} | {found for key, inner in pairs for found in keys(inner, (*at, key))}

    assert set(positions(TEXT)) == keys(tomllib.loads(TEXT), ()) - {()}


def test_lines_count_in_texts_of_other_than_ascii() -> None:
    assert positions('a = "äöü€"\n"ß" = 1\n') == {("a",): 1, ("ß",): 2}
