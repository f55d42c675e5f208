"""Whatever stands in a file, the answer is a configuration or a list of mistakes: never another error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.config.loader import load
from eventbus_runtime.errors import ConfigError, Problem

GOOD: dict[str, Any] = {
    "runtime": {"workers": 1, "shutdown_timeout": "30s", "http": "127.0.0.1:8080", "listeners": [], "imports": []},
    "buses": {"main": {"url": "nats://a", "auth": {"user": "u", "password": "p"}, "tls": {"handshake_first": True}}},
    "streams": {"ORDERS": {"bus": "main", "subjects": ["orders.>"], "max_age": "7d", "retention": "workqueue"}},
    "consumers": {"billing": {"stream": "ORDERS", "filter_subjects": ["orders.a"], "max_deliver": 7}},
    "triggers": {
        "billing": {
            "consumer": "billing",
            "stream": "ORDERS",
            "bus": "main",
            "pipeline": "billing",
            "filter_subjects": ["orders.a"],
            "dead_letter": "dead.a",
            "attempts": 3,
            "filter": {"header:a": "b"},
            "retry": {"delays": ["1s"], "jitter": 0.5},
            "ordering": "none",
        }
    },
    "pipelines": {},
    "deploy": {},
}


def places(value: object, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The keys of every value."""
    inner = value.items() if isinstance(value, dict) else ()
    return [*([at] if at else []), *(found for key, each in inner for found in places(each, (*at, key)))]


def toml(value: object) -> str:
    """A value as TOML, in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + " }"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


ANYTHING: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        0,
        -1,
        2.5,
        True,
        "",
        "x",
        "billing",
        "*",
        ">",
        "a..b",
        [],
        [1],
        [[]],
        ["x"],
        {},
        {"x": 1},
        {"x": {}},
        [{}],
        10**30,
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(places(GOOD)), ANYTHING, max_size=4))
def test_any_value_anywhere_gives_a_configuration_or_its_mistakes(
    tmp_path_factory: Any, changes: dict[tuple[str, ...], Any]
) -> None:
    data = json.loads(json.dumps(GOOD))
    for keys, value in changes.items():
        table: Any = data
        for key in keys[:-1]:
            table = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table[keys[-1]] = json.loads(json.dumps(value))
            if value is None:  # which TOML has not: the key is left out
                del table[keys[-1]]
    path: Path = tmp_path_factory.getbasetemp() / "anything.toml"
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in data.items()))
    problems: list[Problem] = []
    try:
        load(path, environ={})
    except ConfigError as error:
        problems = error.problems
    assert all(str(problem).startswith(str(path)) for problem in problems)
