"""What App Platform gets, before a schema of ours: DigitalOcean's takes misspelt keys and wrong values."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from eventbus_runtime.config.deploy import REGIONS
from eventbus_runtime.provisioning.nats.app_sizes import SIZES
from tests.checks.validators import check_jsonschema
from tests.provisioning import golden
from tests.provisioning.deployments import put
from tests.provisioning.plans import APP, files, rendered

pytestmark = pytest.mark.checks

CASES = golden.cases("app_platform")
PATH = Path(__file__).with_name("app_platform.schema.json")
SCHEMA: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
VALIDATOR = import_module("jsonschema").Draft202012Validator  # it comes with check-jsonschema, and without types
GOOD = golden.written("app_platform/ephemeral")["app.yaml"]


def test_there_are_cases() -> None:
    assert len(CASES) >= 3


def test_the_schema_takes_all_that_is_written() -> None:
    done = check_jsonschema("--schemafile", PATH, *(golden.FOLDER / case / "out" / "app.yaml" for case in CASES))
    assert done.returncode == 0, done.stdout


@settings(deadline=None, max_examples=50)
@given(files(APP))
def test_the_schema_takes_whatever_is_rendered(toml: str) -> None:
    found = list(VALIDATOR(SCHEMA).iter_errors(yaml.safe_load(rendered(toml, APP)["app.yaml"])))
    assert found == []


def test_it_knows_the_regions_and_the_sizes_that_we_know() -> None:
    assert SCHEMA["properties"]["region"]["enum"] == list(REGIONS)
    assert SCHEMA["$defs"]["slug"]["enum"] == [size.slug for size in SIZES]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "Shop"),
        ("name", "a" * 33),
        ("nane", "shop"),
        ("region", "mars"),
        ("services", None),
        ("services/0/volumes", []),
        ("services/0/instance_size_slug", "basic"),
        ("services/0/instance_count", 0),
        ("services/0/instance_count", None),
        ("services/0/autoscaling", {"min_instance_count": 1, "max_instance_count": 2, "metrics": {}}),
        ("services/1/instance_size_slug", "apps-s-1vcpu-0.5gb"),
        ("services/0/internal_ports", [70000]),
        ("services/0/internal_ports", [4222, 8222]),
        ("services/0/internal_ports", None),
        ("services/0/http_port", 8080),
        ("services/0/image/digest", f"sha256:{'a' * 64}"),
        ("services/0/image/registry_type", "QUAY"),
        ("services/0/image/registry_type", "DOCR"),
        ("services/0/image/registry", None),
        ("services/0/envs/3/value", "s3cret"),
        ("services/0/envs/0/value", None),
        ("services/0/envs/0/value", 3),
        ("services/0/envs/0/key", "MY-NAME"),
        ("services/0/envs/0/type", "HIDDEN"),
        ("services/0/envs/0/scope", "ALWAYS"),
        ("services/0/health_check/http_path", "healthz"),
        ("services/0/health_check/failure_threshold", 0),
        ("services/0/termination/grace_period_seconds", 601),
        ("alerts/0/rule", "FAILED"),
        ("workers", [{"name": "w"}]),
    ],
)
def test_one_bad_place_is_refused(path: str, value: Any) -> None:
    spec = yaml.safe_load(GOOD)
    assert VALIDATOR(SCHEMA).is_valid(spec)
    put(spec, path, value)
    assert not VALIDATOR(SCHEMA).is_valid(spec)


def test_a_worker_has_no_port(tmp_path: Path) -> None:
    spec = yaml.safe_load(golden.written("app_platform/workers")["app.yaml"])
    put(spec, "workers/0/internal_ports", [8080])
    path = tmp_path / "app.yaml"
    path.write_text(yaml.safe_dump(spec))
    done = check_jsonschema("--verbose", "--schemafile", PATH, path)
    assert done.returncode == 1
    assert "internal_ports" in done.stdout
