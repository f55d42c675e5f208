"""What is written for each target, whole."""

from __future__ import annotations

import pytest
import yaml

from tests.config.project import Project
from tests.provisioning import compose_lint, golden, k8s_lint
from tests.provisioning.deployments import documents_of, files_of

TARGETS = {
    "kubernetes": "kubernetes",
    "eks": "aws.eks",
    "compose": "self_hosted",
    "app_platform": "digitalocean.app_platform",
}
CASES = [(case, target) for folder, target in TARGETS.items() for case in golden.cases(folder)]
OF_KUBERNETES = [case for case, target in CASES if target in ("kubernetes", "aws.eks")]
OF_COMPOSE = [case for case, target in CASES if target == "self_hosted"]


def test_there_are_cases_of_each_target() -> None:
    assert min(len(golden.cases(folder)) for folder in TARGETS) >= 3


@pytest.mark.parametrize(("case", "target"), CASES)
def test_what_is_written_is_what_somebody_looked_at(project: Project, case: str, target: str) -> None:
    files = files_of(project, golden.source(case), target)
    assert golden.compared(case, files) == files


@pytest.mark.parametrize("case", OF_KUBERNETES)
def test_objects_fit_each_other(case: str) -> None:
    assert k8s_lint.lint(documents_of(golden.written(case))) == []


@pytest.mark.parametrize("case", OF_COMPOSE)
def test_services_fit_what_they_name(case: str) -> None:
    assert compose_lint.lint(yaml.safe_load(golden.written(case)["compose.yaml"])) == []


@pytest.mark.parametrize("case", [case for case, _ in CASES])
def test_each_text_is_quoted(case: str) -> None:
    texts = [
        token
        for name, text in golden.written(case).items()
        if name.endswith(".yaml")
        for token in yaml.scan(text)
        if isinstance(token, yaml.ScalarToken) and token.plain
    ]
    assert {token.value for token in texts if not token.value.lstrip("-").isdigit()} <= {"true", "false"}
