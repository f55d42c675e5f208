from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A folder with a configuration and a user's code."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)
