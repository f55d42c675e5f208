"""What pydantic found, in a person's words and at its place."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from eventbus_runtime.config.fields import annotation_at, is_secret, model_of
from eventbus_runtime.config.report import Report, did_you_mean, listed, shown
from eventbus_runtime.config.tables import Keys, Table

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list",
    "list_type": "a list",
    "path_type": "a path",
    "datetime_type": "a date and time",
    "too_short": "a list that is not empty",
}
_BOUNDS = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
}


def explain(error: ValidationError, data: Table, report: Report) -> None:
    """Report each error of a validation of `data`."""
    errors = error.errors(include_url=False)
    for found in errors:
        if found["type"] == "too_short" and any(_is_within(found["loc"], other["loc"]) for other in errors):
            continue  # pydantic does not count an entry that is wrong
        keys = _resolve(found["loc"], data)
        report.error(keys, _text(found, keys))


def _is_within(outer: tuple[int | str, ...], inner: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _resolve(location: tuple[int | str, ...], data: Any) -> Keys:
    """The keys of a location, without what pydantic puts into it that is no key (the tags of a union)."""
    keys: list[int | str] = []
    for at, part in enumerate(location):
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            if not isinstance(data, dict) or at < len(location) - 1:
                continue
        keys.append(part)
    return tuple(keys)


def _text(found: ErrorDetails, keys: Keys) -> str:
    kind, context = found["type"], found.get("ctx", {})
    got = "" if is_secret(annotation_at(keys)) else f", got {shown(found['input'])}"
    if kind == "extra_forbidden":
        return _unknown_key(keys)
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        near = did_you_mean(str(found["input"]), context["expected"].replace("'", "").replace(" or ", ", ").split(", "))
        return f"expected {context['expected'].replace(chr(39), chr(34))}{got}{near}"
    if kind in _BOUNDS:
        return f"expected {_BOUNDS[kind].format(**context)}{got}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}{got}"
    return found["msg"].removeprefix("Value error, ")


def _unknown_key(keys: Keys) -> str:
    model = model_of(annotation_at(keys[:-1]))
    known = [field.alias or name for name, field in model.model_fields.items()] if model else []
    near = did_you_mean(str(keys[-1]), known)
    return "unknown key" + (near or (f"; expected one of {listed(sorted(known))}" if len(known) <= 12 else ""))
