"""What is written for Kubernetes and EKS, whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from eventbus_runtime.provisioning.nats.k8s_lint import lint
from tests.config.project import Project
from tests.provisioning import golden
from tests.provisioning.deployments import documents_of, files_of

TARGETS = {"kubernetes": "kubernetes", "eks": "aws.eks"}
CASES = [(case, target) for folder, target in TARGETS.items() for case in golden.cases(folder)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_there_are_cases() -> None:
    assert len(CASES) >= 7


@pytest.mark.parametrize(("case", "target"), CASES)
def test_what_is_written_is_what_somebody_looked_at(project: Project, case: str, target: str) -> None:
    files = files_of(project, golden.source(case), target)
    assert golden.compared(case, files) == files


@pytest.mark.parametrize("case", [case for case, _ in CASES])
def test_its_parts_fit_each_other(case: str) -> None:
    assert lint(documents_of(golden.written(case))) == []


@pytest.mark.parametrize("case", [case for case, _ in CASES])
def test_each_text_is_quoted(case: str) -> None:
    texts = [
        token
        for text in golden.written(case).values()
        for token in yaml.scan(text)
        if isinstance(token, yaml.ScalarToken) and token.plain
    ]
    assert {token.value for token in texts if not token.value.lstrip("-").isdigit()} <= {"true", "false"}
