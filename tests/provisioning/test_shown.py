"""Values as a file says them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, PlainSerializer

from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.config.units import duration_text, size_text
from eventbus_runtime.provisioning.shown import DURATIONS, SIZES, said


def serialized_by(annotation: Any, metadata: Any = ()) -> set[Any]:
    """The functions that write values of an annotation."""
    found = {each.func for each in metadata if isinstance(each, PlainSerializer)}
    for part in get_args(annotation):
        found |= serialized_by(part, getattr(part, "__metadata__", ()))
    return found


def fields_by(function: Any, model: type[BaseModel]) -> Iterator[str]:
    """The fields of a model, and of the tables in it, that a function writes."""
    for name, about in model.model_fields.items():
        if function in serialized_by(about.annotation, about.metadata):
            yield name
        for part in (about.annotation, *get_args(about.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from fields_by(function, part)


@pytest.mark.parametrize(("function", "known"), [(duration_text, DURATIONS), (size_text, SIZES)])
def test_every_field_with_a_unit_is_known(function: Any, known: frozenset[str]) -> None:
    assert {*fields_by(function, StreamConfig), *fields_by(function, ConsumerConfig)} == known


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("max_age", 30 * 10**9, '"30s"'),
        ("max_bytes", 10 * 2**30, '"10GiB"'),
        ("max_bytes", -1, "-1"),
        ("max_bytes", 1000, "1000"),
        ("backoff", [10**9, 5 * 10**9], '["1s", "5s"]'),
        ("consumer_limits", {"inactive_threshold": 60 * 10**9}, '{ inactive_threshold = "1m" }'),
        ("max_msgs", 5, "5"),
        ("deny_delete", True, "true"),
        ("description", None, "unset"),
    ],
)
def test_a_value_is_said_as_the_file_would_say_it(field: str, value: Any, text: str) -> None:
    assert said(field, value) == text
