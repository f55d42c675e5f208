"""What `--dry-run` and `--schema` print."""

from __future__ import annotations

import json
import tomllib

import pytest

from eventbus_runtime.config.effective import effective
from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.config.schema import json_schema
from tests.config.project import SHORT, Project

LONG = (
    SHORT.replace("nats://127", "nats://me:hunter2@127")
    + """
dead_letter = "dead.x"
max_bytes = "64MiB"
filter = { "header:type" = "a\\"b" }
[consumers.billing]
ack_wait = "5s"
[buses.main.auth]
token = "s3cret"
"""
)


def printed(project: Project, toml: str) -> str:
    loaded = project.load(toml)
    return effective(loaded.config, {key for key, _ in loaded.filled})


def test_what_the_short_form_left_out_is_marked_and_nothing_else(project: Project) -> None:
    lines = printed(project, LONG).splitlines()
    assert 'pipeline = "billing"  # filled in' in lines
    assert "attempts = 5  # filled in" in lines
    assert "[streams.DEAD_BILLING]  # filled in" in lines
    assert 'filter_subjects = ["orders.created"]' in lines
    assert 'max_bytes = "64MiB"' in lines
    assert 'ack_wait = "5s"' in lines
    assert 'subjects = ["orders.>"]' in lines


@pytest.mark.seed("S-3")
def test_secrets_are_masked(project: Project) -> None:
    """S-3."""
    text = printed(project, LONG)
    assert "s3cret" not in text
    assert "hunter2" not in text
    assert 'url = ["nats://********@127.0.0.1:4222"]' in text
    assert 'token = "**********"' in text


def test_it_is_a_configuration_that_gives_the_same_again(project: Project) -> None:
    toml = LONG.replace("me:hunter2@", "").replace('[buses.main.auth]\ntoken = "s3cret"\n', "")
    first = project.load(toml)
    text = effective(first.config, {key for key, _ in first.filled})
    second = project.load(text.replace('filter_subjects = ["orders.created"]\npipeline', "pipeline"))
    expected, again = first.config.model_dump(), second.config.model_dump()
    assert again["streams"] == expected["streams"]
    assert again["consumers"] == expected["consumers"]
    assert again["buses"] == expected["buses"]
    expected["triggers"]["billing"].pop("filter_subjects")
    again["triggers"]["billing"].pop("filter_subjects")
    assert again["triggers"] == expected["triggers"]


def test_it_is_toml_also_with_odd_names(project: Project) -> None:
    text = printed(project, '[buses."east 1"]\n')
    assert list(tomllib.loads(text)["buses"]) == ["east 1"]


def test_the_schema_describes_every_key_and_refuses_unknown_ones() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert set(schema["properties"]) == set(RuntimeConfig.model_fields)
    for name, table in schema["$defs"].items():
        assert table["additionalProperties"] is False, name
        for key, value in table["properties"].items():
            assert value.get("description"), f"{name}.{key}"
            assert "title" not in value


def test_the_schema_takes_the_forms_that_the_loader_takes() -> None:
    definitions = json_schema()["$defs"]
    kinds = {option["type"] for option in definitions["TriggerConfig"]["properties"]["timeout"]["anyOf"]}
    assert kinds == {"string", "number"}
    kinds = {option["type"] for option in definitions["BusConfig"]["properties"]["url"]["anyOf"]}
    assert kinds == {"string", "array"}
    assert definitions["AuthConfig"]["properties"]["user"]["type"] == "string"
