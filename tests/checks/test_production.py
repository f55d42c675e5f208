"""config/production.toml for each target, before the validator of that target."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import yaml

from tests.checks.validators import check_jsonschema
from tests.cli.command import eventbus
from tests.provisioning.deployments import documents_of

pytestmark = pytest.mark.checks

FILE = Path(__file__).parents[2] / "config" / "production.toml"


def written(target: str, out: Path) -> dict[str, str]:
    """The YAML files that `eventbus render` writes."""
    done = eventbus("render", FILE, "--target", target, "--out", out)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_text("utf-8") for path in out.glob("*.yaml")}


@pytest.mark.parametrize("target", ["kubernetes", "aws.eks"])
def test_kubernetes_takes_it(target: str, tmp_path: Path) -> None:
    """The library, not the command: that lets an unknown kind pass with a warning."""
    validate = import_module("kubernetes_validate").validate
    documents = documents_of(written(target, tmp_path))
    for document in documents:
        validate(document, "1.37", True)
    assert {"StatefulSet", "Deployment"} <= {document["kind"] for document in documents}


def test_compose_takes_it(tmp_path: Path) -> None:
    files = written("self_hosted", tmp_path)
    import_module("compose_spec").PyCompose.from_yaml(files["compose.yaml"]).validate()
    done = check_jsonschema("--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_app_platform_takes_it(tmp_path: Path) -> None:
    files = written("digitalocean.app_platform", tmp_path)
    schema = Path(__file__).with_name("app_platform.schema.json")
    done = check_jsonschema("--schemafile", schema, tmp_path / "app.yaml")
    assert done.returncode == 0, done.stdout
    assert [one["name"] for one in yaml.safe_load(files["app.yaml"])["services"]] == ["shop-worker"]
