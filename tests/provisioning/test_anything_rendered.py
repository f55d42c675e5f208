"""What holds of all that Compose and App Platform get, whatever the file says."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.findings import refuse
from eventbus_runtime.provisioning.render import renderer
from tests.provisioning.compose_lint import lint
from tests.provisioning.deployments import findings_of, inputs_of
from tests.provisioning.plans import APP, COMPOSE, files, rendered

SECRETS = [
    '[buses.b.auth]\npassword = "s3cret"',
    '[buses.b]\nauth = { user = "u", password = "s3cret" }',
    '[buses.b]\nurl = "nats://u:s3cret@host:4222"',
    '[runtime]\nhttp_token = "s3cret"',
    "# SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY",
]


def unescaped(value: Any) -> Any:
    """Texts as Compose takes them."""
    if isinstance(value, dict):
        return {key: unescaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [unescaped(inner) for inner in value]
    return value.replace("$$", "$") if isinstance(value, str) else value


@settings(deadline=None)
@given(files(COMPOSE))
def test_a_compose_file_fits_together_and_says_what_was_meant(toml: str) -> None:
    written = rendered(toml, COMPOSE)
    document = yaml.safe_load(written["compose.yaml"])
    assert lint(document) == []
    manifests = renderer(COMPOSE).manifests(inputs_of(toml, COMPOSE))
    services = {one.name: one.body for one in manifests if one.kind == "infra.compose.service"}
    assert unescaped(document["services"]) == services
    assert {one.name: one.body["content"] for one in manifests if one.kind == "infra.file"}.items() <= written.items()
    assert written.get("config.toml", toml) == toml


@settings(deadline=None)
@given(files(APP))
def test_an_app_spec_says_what_was_meant(toml: str) -> None:
    document = yaml.safe_load(rendered(toml, APP)["app.yaml"])
    components = [*document.get("services", ()), *document.get("workers", ())]
    assert components == [one.body for one in renderer(APP).manifests(inputs_of(toml, APP))]
    for component in components:
        assert len(shlex.split(component["run_command"])) == 3
        values = {one["key"]: one.get("value") for one in component["envs"]}
        assert len(values) == len(component["envs"])
        assert {one["key"] for one in component["envs"] if one["type"] == "SECRET"} == {
            key for key, value in values.items() if value is None
        }
        assert values.get("EVENTBUS_CONFIG", toml) == toml


@settings(deadline=None)
@given(st.sampled_from([COMPOSE, APP]).flatmap(lambda target: st.tuples(st.just(target), files(target))))
def test_the_same_file_gives_the_same_texts(drawn: tuple[str, str]) -> None:
    target, toml = drawn
    assert rendered(toml, target) == rendered(toml, target)


@settings(deadline=None)
@given(files(), st.sampled_from([COMPOSE, APP]))
def test_objects_come_whatever_speaks_against_them(toml: str, target: str) -> None:
    inputs = inputs_of(toml, target)
    names = [one.name for one in renderer(target).manifests(inputs)]
    assert inputs.worker is None or inputs.worker.name in names


@pytest.mark.parametrize("target", [COMPOSE, APP])
@pytest.mark.parametrize("secret", SECRETS)
def test_a_file_with_a_secret_in_it_is_not_rendered(secret: str, target: str) -> None:
    toml = f'{secret}\n[deploy.worker]\nimage = "acme/shop:1"\n[deploy.app_platform]\nexternal_url_secret = "URL"\n'
    toml += "" if "buses" in secret else "[buses.b]\n"
    with pytest.raises(ConfigError) as caught:
        refuse(findings_of(toml, target), "app.toml")
    assert "would be written into the output" in str(caught.value)
    assert "s3cret" not in str(caught.value)
