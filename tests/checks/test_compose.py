"""What self_hosted gets, before Compose's own schema and a second reader of it."""

from __future__ import annotations

from pathlib import Path

import compose_spec
import pytest

from tests.checks.validators import check_jsonschema
from tests.provisioning import golden

pytestmark = pytest.mark.checks

CASES = golden.cases("compose")
CLUSTER = golden.written("compose/cluster")["compose.yaml"]
SCHEMA = ("--builtin-schema", "vendor.compose-spec")


def test_there_are_cases() -> None:
    assert len(CASES) >= 3


def test_the_schema_takes_all_that_is_written() -> None:
    done = check_jsonschema(*SCHEMA, *(golden.FOLDER / case / "out" / "compose.yaml" for case in CASES))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        ('"hostname"', '"host_name"', "'host_name' was unexpected"),
        ('"stop_grace_period": "60s"', '"stop_grace_period": 60', "60 is not of type 'string'"),
        ('"service_healthy"', '"service_well"', "'service_well' is not one of"),
    ],
)
def test_the_schema_refuses(good: str, bad: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(CLUSTER.replace(good, bad))
    done = check_jsonschema("--verbose", *SCHEMA, path)
    assert done.returncode == 1
    assert why in done.stdout


@pytest.mark.parametrize("case", CASES)
def test_compose_spec_takes_what_is_written(case: str) -> None:
    assert compose_spec.PyCompose.from_yaml(golden.written(case)["compose.yaml"]).validate() is None


@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        ('"hostname"', '"host_name"', "extension key `host_name` does not start with"),
        ('"restart": "unless-stopped"', '"restart": "sometimes"', "restart"),
        ('"interval": "10s"', '"interval": "ten"', "interval"),
        ('"memory": "8589934592"', '"memory": "8Gi"', "value `8Gi` contains an unknown unit"),
        ('"cpus": "2"', '"cpus": "two"', "cpus"),
        ('"source": "auth"', '"source": "other"', "secret `other` .* is not defined"),
    ],
)
def test_compose_spec_refuses(good: str, bad: str, why: str) -> None:
    assert good in CLUSTER
    with pytest.raises(ValueError, match=why):
        compose_spec.PyCompose.from_yaml(CLUSTER.replace(good, bad)).validate()
