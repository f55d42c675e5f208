"""Another reader of YAML, whose version is 1.2 as that of Go's, takes what we write for the same."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
import ruamel.yaml
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.provisioning.documents import to_yaml
from tests.provisioning.test_documents import BLOCKS, HARD

pytestmark = pytest.mark.checks


def read(text: str) -> Any:
    return ruamel.yaml.YAML(typ="safe", pure=True).load(StringIO(text))


@pytest.mark.parametrize("text", HARD + BLOCKS, ids=ascii)
def test_a_text_comes_back_as_value_and_item(text: str) -> None:
    document = {"value": text, "list": [text, {"deeper": text}], "last": 1}
    assert read(to_yaml([document])) == document


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text(" \t\n\r#:-|a", max_size=12))
def test_whatever_is_written_comes_back(text: str) -> None:
    assert read(to_yaml([{"value": text, "last": [text]}])) == {"value": text, "last": [text]}


@pytest.mark.parametrize("text", ["1e3", "1E5", "12e03", "0o17"])
def test_without_quotes_it_is_another_value_here(text: str) -> None:
    assert read(yaml.safe_dump([text])) != [text]
