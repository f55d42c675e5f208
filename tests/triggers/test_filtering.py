"""Selectors of a message's parts, and filters made of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.message import Message
from eventbus_runtime.triggers.filtering import compile_filter, compile_selector

# RFC 6901, section 5, and more
DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "m~n": 8,
    "~1": "tilde one",
    "deep": {"er": [{"est": "here"}]},
    "0": "key zero",
    "yes": True,
    "none": None,
    "number": 1.5,
    "empty": "",
    "-": "dash",
}


@pytest.mark.parametrize(
    ("selector", "read"),
    [
        ("subject:1", "orders"),
        ("subject:3", "eu"),
        ("subject:4", None),
        ("header:Type", "invoice"),
        ("header:type", None),
        ("header:Empty", ""),
        ("header:Missing", None),
        ("header:X:Y", None),
        ("payload:/foo/0", "bar"),
        ("payload:/foo/1", "baz"),
        ("payload:/foo/2", None),
        ("payload:/foo/-", None),
        ("payload:/foo/-1", None),
        ("payload:/foo/01", None),
        ("payload:/foo/+1", None),
        ("payload:/foo/ 1", None),
        ("payload:/foo/1_0", None),
        ("payload:/foo/x", None),
        ("payload:/foo/", None),
        ("payload:/", "0"),
        ("payload:/a~1b", "1"),
        ("payload:/m~0n", "8"),
        ("payload:/~01", "tilde one"),
        ("payload:/deep/er/0/est", "here"),
        ("payload:/deep/er/0/est/0", None),
        ("payload:/deep/er/0/est/further", None),
        ("payload:/0", "key zero"),
        ("payload:/-", "dash"),
        ("payload:/yes", "true"),
        ("payload:/yes/0", None),
        ("payload:/none", "null"),
        ("payload:/none/x", None),
        ("payload:/number", "1.5"),
        ("payload:/empty", ""),
        ("payload:/missing", None),
        ("payload:/foo", '["bar", "baz"]'),
    ],
)
def test_a_selector_reads_its_part(selector: str, read: str | None) -> None:
    message = Message.build("orders.created.eu", json.dumps(DOCUMENT), {"Type": "invoice", "Empty": ""})
    assert compile_selector(selector)(message) == read


def test_an_empty_pointer_is_the_whole_document() -> None:
    assert compile_selector("payload:")(Message.build("a", '"text"')) == "text"
    assert compile_selector("payload:")(Message.build("a", "[1]")) == "[1]"


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"not json", b"\xff\xfe\xfa", b'{"a": ', b"9" * 5000, b"[" * 100_000, b'"a" "b"'],
    ids=["empty", "cut", "text", "bytes", "unfinished", "huge number", "too deep", "two values"],
)
def test_what_is_not_json_has_no_parts(payload: bytes) -> None:
    assert compile_selector("payload:/a")(Message.build("a", payload)) is None
    assert compile_selector("payload:")(Message.build("a", payload)) is None


def test_no_nesting_is_deep_enough_to_raise() -> None:
    """Reading and writing JSON each have a depth of their own; between the two a document can be read, not written."""
    read = compile_selector("payload:")
    for depth in range(700, 1100):
        document = "[" * depth + "]" * depth
        assert read(Message.build("a", document)) in (document, None)


@given(st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5).map(json.dumps))
def test_no_payload_makes_it_raise(payload: Any) -> None:
    found = compile_selector("payload:/0/a")(Message.build("a", payload))
    assert found is None or isinstance(found, str)


@pytest.mark.parametrize(
    "selector",
    [
        "",
        "header",
        "header:",
        "subject",
        "subject:",
        "subject:0",
        "subject:-1",
        "subject:x",
        "subject:1.5",
        "payload:a",
        "payload:a/b",
        "payload:/a~2b",
        "payload:/a~",
        "body:/a",
        "Header:Type",
    ],
)
def test_a_bad_selector_is_refused_with_what_would_do(selector: str) -> None:
    with pytest.raises(ValueError, match=r"names no part of a message; write .*header:Name.*subject:2.*payload:"):
        compile_selector(selector)


def test_a_header_with_several_values_is_read_by_its_first() -> None:
    message = Message.build("a", headers=[("Type", "one"), ("Type", "two")])
    assert compile_selector("header:Type")(message) == "one"


def test_a_filter_passes_what_gives_every_wanted_text() -> None:
    matches = compile_filter({"header:Type": "invoice", "payload:/total": "9.5"})
    assert matches is not None
    assert matches(Message.build("a", '{"total": 9.5}', {"Type": "invoice"}))
    assert not matches(Message.build("a", '{"total": 9.5}', {"Type": "order"}))
    assert not matches(Message.build("a", '{"total": 9}', {"Type": "invoice"}))
    assert not matches(Message.build("a", "", {"Type": "invoice"}))


def test_no_filter_is_no_test() -> None:
    assert compile_filter({}) is None


def test_a_filter_of_a_bad_selector_is_refused() -> None:
    with pytest.raises(ValueError, match="names no part"):
        compile_filter({"header:Type": "a", "bogus": "b"})
