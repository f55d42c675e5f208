"""Resources hold texts alone, and a sensitive output shows nowhere (S-2, S-3)."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.nats.provider import NatsProvider
from eventbus_runtime.provisioning.objects import StreamSpec, stream_resources
from eventbus_runtime.provisioning.resources import HIDDEN, Output, Resource, State

# Of letters that stand in nothing that is printed around them.
SECRETS = st.text("qxzQXZ\n'\"\\é", min_size=3)
NAMES = st.text("abcdef.", min_size=1)


@pytest.mark.seed("S-2")
@pytest.mark.parametrize("what", ["properties", "labels"])
@pytest.mark.parametrize("value", [1, None, True, ["a"], {"a": "b"}, b"a"])
def test_what_is_no_text_is_refused_and_not_shown(what: str, value: object) -> None:
    """S-2."""
    held: dict[str, Any] = {what: {"good": "a", "bad": value}}
    with pytest.raises(TypeError, match=f"^{what} of infra.x y must be texts: 'bad' is {type(value).__name__}$"):
        Resource("infra.x", "y", **held)


@pytest.mark.seed("S-2")
def test_kind_name_and_keys_are_texts() -> None:
    """S-2."""
    number: Any = 1
    with pytest.raises(TypeError, match="name of a resource must be a text, not int"):
        Resource("infra.x", number)
    with pytest.raises(TypeError, match=r"properties of infra\.x y must be texts: a key is 1"):
        Resource("infra.x", "y", {number: "a"})


def test_a_resource_does_not_change() -> None:
    properties = {"a": "b"}
    resource = Resource("infra.x", "y", properties, {"l": "m"})
    properties["a"] = "c"
    assert resource == Resource("infra.x", "y", {"a": "b"}, {"l": "m"})
    held: Any = resource.properties
    with pytest.raises(TypeError, match="does not support item assignment"):
        held["a"] = "c"


def test_an_output_is_a_text() -> None:
    secret: Any = b"hunter2"
    with pytest.raises(TypeError, match=r"^an output must be a text, not bytes$"):
        Output(secret, sensitive=True)
    bare: Any = {"uri": "hunter2"}
    with pytest.raises(TypeError, match=r"^output 'uri' must be an Output, not str$"):
        State(bare)


def test_outputs_are_equal_by_value_and_sensitivity() -> None:
    assert Output("a") == Output("a") != Output("a", sensitive=True)
    assert len({Output("a"), Output("a"), Output("a", sensitive=True), Output("b")}) == 3
    assert Output("a") != "a"


@pytest.mark.seed("S-3")
def test_what_is_not_sensitive_is_shown() -> None:
    """S-3."""
    state = State({"uri": Output("nats://h"), "password": Output("hunter2", sensitive=True)})
    assert repr(state) == f"<State uri='nats://h', password='{HIDDEN}'>"
    assert state.shown() == {"uri": "nats://h", "password": HIDDEN}
    assert (state.value("password"), state.value("none"), repr(State())) == ("hunter2", "", "<State empty>")
    assert (list(state), len(state), "uri" in state, state["uri"]) == (["uri", "password"], 2, True, Output("nats://h"))


def test_a_secret_inside_of_another_output_or_text_is_masked() -> None:
    state = State({"uri": Output("nats://me:hunter2@h"), "p": Output("hunter2", True), "q": Output("hunter", True)})
    assert state.shown()["uri"] == f"nats://me:{HIDDEN}@h"
    assert state.masked("hunter and hunter2") == f"{HIDDEN} and {HIDDEN}"
    assert State({"empty": Output("", True)}).masked("text") == "text"


def seen(state: State, secret: str) -> list[str]:
    """All the ways in which a state gets before somebody's eyes."""
    output = Output(secret, sensitive=True)
    captured: list[str] = []
    logger = logging.Logger("test")
    handler = logging.Handler()
    handler.emit = lambda record: captured.append(record.getMessage())  # type: ignore[method-assign]  # a test's sink
    logger.addHandler(handler)
    logger.error("state %s, %r, output %s", state, state, output)
    console = structlog.dev.ConsoleRenderer(colors=False)
    as_json = structlog.processors.JSONRenderer()
    fields = {"event": "provisioned", "state": state, "output": output}
    errors: list[BaseException] = []
    for wrong in (
        lambda: NatsProvider().connection_string(State({"password": output}), "prod"),
        lambda: stream_resources([StreamSpec("", ("a",))], state),
        lambda: asdict(output),  # type: ignore[call-overload]  # that it can't be taken apart is the point
        lambda: state["none"],
    ):
        try:
            wrong()
        except (ConfigError, TypeError, KeyError) as error:
            errors.append(error)
    assert len(errors) == 4
    plan = stream_resources([StreamSpec("S", ("s",))], state)
    return [
        *captured,
        *(f"{one} {one!r}" for one in (output, copy.copy(output), state, [output], {"a": output}, plan)),
        str(console(None, "info", dict(fields))),
        str(as_json(None, "info", dict(fields))),
        *(f"{error} {error!r}" for error in errors),
        repr(state.shown()),
    ]


def forms(secret: str) -> set[str]:
    """A secret as it would look if it were printed plainly, quoted, or as JSON."""
    return {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}


@pytest.mark.seed("S-3")
@given(SECRETS, st.dictionaries(NAMES, SECRETS.map(lambda text: Output(text, sensitive=True))))
def test_a_sensitive_value_shows_nowhere(secret: str, others: Mapping[str, Output]) -> None:
    """S-3."""
    state = State(
        {
            **others,
            "uri": Output(f"nats://me:{secret}@h"),
            "uri.prod": Output(secret, sensitive=True),
        }
    )
    told = [text for text in seen(state, secret) for form in forms(secret) if form in text]
    assert told == []


def test_the_ways_above_would_show_a_value_that_is_not_sensitive() -> None:
    """So that the test above can fail."""
    state = State({"uri": Output("nats://plain")})
    assert sum("nats://plain" in text for text in seen(state, "x")) >= 5
