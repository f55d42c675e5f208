"""YAML that every reader takes for the same."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.provisioning.documents import to_yaml

HARD = [
    *("", " ", "~", "null", "Null", "NULL", "true", "True", "false", "yes", "Yes", "no", "NO", "on", "off", "y", "n"),
    *("1e3", "1E5", "12e03", "1e+3", "0o17", "08", "017", "0x1F", "0b11", "1_000", "+1", "-1", "1.", ".5", "1.5e3"),
    *(".inf", "-.INF", ".nan", "1:30", "190:20:30", "2026-01-02", "2026-01-02T03:04:05Z", "=", "<<", "!!str a", "!a"),
    *("&a", "*a", "@a", "`a`", "%a", "- a", "-", "? a", "a: b", "a:", ": a", "#a", "a #b", "[a", "{a", "}", "]", ","),
    *("|", ">", "'", '"', '"a"', "it's", "\\", "\\n", "a\tb", "\ta", "a\\tb", "---", "...", "--- a", "a\u00a0", "é 🎉"),
    *(
        "\u2028",
        "\u0085",
        "\ufeff",
        "\x07",
        "\x7f",
        "a\rb",
        "a" * 300,
        "word " * 3000,
        "$(POD_NAME)",
        "${A}",
        "{{ a }}",
    ),
]
"""Texts that a reader may take for something else (PROVISIONING section 9)."""

BLOCKS = [
    *(
        "a\nb",
        "a\nb\n",
        "a\n\n\n",
        "\n",
        "\n\n",
        "\na",
        "a\n b\n",
        " a\nb",
        "\ta\nb",
        "a\n\tb\n",
        "a \nb",
        "a\nb ",
        "\n a",
    ),
    *(
        "a\r\nb\r\n",
        "a\n\n b\n\n\n",
        "# a\n---\nb: |\n  c\n",
        "a\n...\nb",
        "a\n%b\n",
        "é\n🎉\n",
        "a\u2028\nb",
        "a\n\ufeffb",
    ),
    *(
        "a\n\x07b",
        "a\n \n",
        "a\n  ",
        "key = '''\n  x\n'''\n",
        "  \n",
        "a\n" + "b" * 20_000 + "\n",
        "- a\n- b",
        "a\n#\n",
    ),
]
"""Texts of several lines."""


@pytest.mark.parametrize("text", HARD + BLOCKS, ids=ascii)
def test_a_text_comes_back_as_value_key_and_item(text: str) -> None:
    document = {"value": text, "list": [text, {"deeper": text}], "last": 1}
    assert yaml.safe_load(to_yaml([document])) == document
    if len(text) < 100:
        assert yaml.safe_load(to_yaml([{text: {text: 1}}])) == {text: {text: 1}}


@pytest.mark.parametrize("text", [one for one in HARD if one.isprintable()], ids=ascii)
def test_a_text_of_one_line_stands_in_double_quotes(text: str) -> None:
    (line,) = to_yaml([{"key": text}]).removeprefix("---\n").splitlines()
    assert line.startswith('"key": "')
    assert line.endswith('"')


def test_a_text_of_several_lines_can_be_read_by_people() -> None:
    assert to_yaml([{"nats.conf": "port: 4222\njetstream {\n}\n"}]) == (
        '---\n"nats.conf": |\n  port: 4222\n  jetstream {\n  }\n'
    )


def test_numbers_and_truth_values_stay_what_they_are() -> None:
    document = {"number": 4222, "true": True, "nothing": [], "none": {}, "negative": -1}
    assert to_yaml([document]) == '---\n"number": 4222\n"true": true\n"nothing": []\n"none": {}\n"negative": -1\n'


def test_keys_keep_their_order_and_documents_theirs() -> None:
    text = to_yaml([{"b": 1, "a": 2}, {"c": 3}])
    assert text == '---\n"b": 1\n"a": 2\n---\n"c": 3\n'


def test_what_is_there_twice_is_written_twice() -> None:
    labels = {"app": "nats"}
    text = to_yaml([{"a": labels, "b": labels}, {"c": labels}])
    assert text.count('"app": "nats"') == 3


def test_no_document_is_no_text() -> None:
    assert to_yaml([]) == ""


_texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text(" \t\n\r#:-|a\u2028\ufeff", max_size=12)
_values: st.SearchStrategy[Any] = st.recursive(
    _texts | st.booleans() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_texts.filter(lambda key: len(key) < 100), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text("abc", min_size=1), _values, max_size=3), max_size=3))
def test_whatever_is_written_comes_back(documents: list[dict[str, Any]]) -> None:
    text = to_yaml(documents)
    assert list(yaml.safe_load_all(text)) == documents
    assert to_yaml(documents) == text
