"""Header blocks: many values a name, nothing dropped, nothing smuggled (NATS ADR-4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.headers import Headers, encode


@pytest.mark.seed("S-53")
def test_reading_a_name_gives_its_first_value_and_getall_all() -> None:
    """S-53: a consumer sees the first value of each header."""
    headers = Headers.parse(b"NATS/1.0\r\nTag: one\r\nOther: x\r\nTag: two\r\n\r\n")
    assert (headers["Tag"], headers.getall("Tag"), headers.getall("Absent")) == ("one", ["one", "two"], [])
    assert dict(headers) == {"Tag": "one", "Other": "x"}
    assert list(headers.pairs()) == [("Tag", "one"), ("Tag", "two"), ("Other", "x")]
    assert len(headers) == 2


def test_names_are_case_sensitive_as_the_server_treats_them() -> None:
    headers = Headers.parse(b"NATS/1.0\r\nTag: one\r\ntag: two\r\n\r\n")
    assert (headers["Tag"], headers["tag"], headers.get("TAG")) == ("one", "two", None)


@pytest.mark.parametrize("block", [None, b"", b"NATS/1.0", b"NATS/1.0\r\n\r\n", b"NATS/1.0 503\r\n\r\n"])
def test_no_headers(block: bytes | None) -> None:
    assert len(Headers.parse(block)) == 0


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (b"A:1", "A", "1"),
        (b"A: 1", "A", "1"),
        (b"A:   1", "A", "1"),
        (b"A:\t1", "A", "1"),
        (b"A:", "A", ""),
        (b"A: ", "A", ""),
        (b"A: b:c: d", "A", "b:c: d"),
        (b"A: trailing  ", "A", "trailing  "),
        (b"A: \xff\xfe", "A", "\udcff\udcfe"),
        ("Schlüssel: größer".encode(), "Schlüssel", "größer"),
        (b"Two Words: 1", "Two Words", "1"),
        (b"\x0bA : 1\x0c", "\x0bA", "1\x0c"),
    ],
)
def test_one_line(line: bytes, name: str, value: str) -> None:
    assert list(Headers.parse(b"NATS/1.0\r\n" + line + b"\r\n\r\n").pairs()) == [(name, value)]


def test_a_line_without_a_colon_is_no_header() -> None:
    assert dict(Headers.parse(b"NATS/1.0\r\nrubbish\r\nA: 1\r\n\r\n")) == {"A": "1"}


def test_a_status_line_is_no_header_and_hides_none() -> None:
    assert dict(Headers.parse(b"NATS/1.0 400 Bad Request: no\r\nA: 1\r\n\r\n")) == {"A": "1"}
    assert Headers.parse(b"NATS/1.0 503\r\nNats-Subject: a.b\r\n\r\n")["Nats-Subject"] == "a.b"


def test_a_block_for_the_wire() -> None:
    assert encode([("A", "1"), ("B", "2"), ("A", "3")]) == b"NATS/1.0\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n"
    assert encode([]) == b""


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "a\n", "\r", "a\tb", " a"])
def test_a_name_that_could_smuggle_something_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="can't be a header name: it must not be empty"):
        encode([("Good", "1"), (name, "x")])


@pytest.mark.parametrize("value", ["a\r\nPUB x 0", "a\nb", "\r", "\r\n\r\n"])
def test_a_value_that_could_smuggle_something_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="the header 'A' holds a line end"):
        encode([("A", value)])


def test_what_is_no_text_is_refused_as_a_value_error() -> None:
    with pytest.raises(ValueError, match="the header 'A' can't go on the wire: surrogates not allowed"):
        encode([("A", "\ud800")])


raw_names = st.binary(min_size=1).filter(lambda raw: not set(raw) & set(b" \t\r\n:"))
raw_values = st.binary().filter(lambda raw: not set(raw) & set(b"\r\n") and raw[:1] not in (b" ", b"\t"))
raw_pairs = st.lists(st.tuples(raw_names, raw_values))


@given(raw_pairs)
def test_copying_headers_changes_no_byte(pairs: list[tuple[bytes, bytes]]) -> None:
    block = b"".join([b"NATS/1.0\r\n", *(name + b": " + value + b"\r\n" for name, value in pairs), b"\r\n"])
    read = Headers.parse(block)
    assert sorted(
        (name.encode("utf-8", "surrogateescape"), v.encode("utf-8", "surrogateescape")) for name, v in read.pairs()
    ) == sorted(pairs)
    copied = encode(read.pairs())
    assert Headers.parse(copied) == read
    assert len(copied) == (len(block) if pairs else 0)


@given(st.lists(st.tuples(st.text(), st.text())))
def test_what_is_encoded_holds_just_its_own_lines(pairs: list[tuple[str, str]]) -> None:
    try:
        block = encode(pairs)
    except ValueError:
        return
    assert block.count(b"\n") == block.count(b"\r") == (len(pairs) + 2 if pairs else 0)


@given(st.binary())
def test_no_bytes_make_parsing_raise(block: bytes) -> None:
    for name, value in Headers.parse(b"NATS/1.0\r\n" + block).pairs():
        assert isinstance(name, str)
        assert isinstance(value, str)


def test_headers_compare_by_content_and_can_not_be_hashed() -> None:
    one, other = Headers([("A", "1"), ("A", "2")]), Headers([("A", "1")])
    assert one != other
    assert one == Headers(one.pairs())
    assert other == {"A": "1"}
    assert other != 5
    with pytest.raises(TypeError):
        hash(one)


def test_what_getall_gives_is_a_copy() -> None:
    headers = Headers([("A", "1")])
    headers.getall("A").append("2")
    assert headers.getall("A") == ["1"]


def test_headers_show_all_their_pairs() -> None:
    assert repr(Headers([("A", "1"), ("A", "2")])) == "Headers([('A', '1'), ('A', '2')])"
