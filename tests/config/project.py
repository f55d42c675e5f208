"""A user's project in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from eventbus_runtime.config.loader import Loaded, load
from eventbus_runtime.errors import ConfigError

HANDLERS = """
from eventbus_runtime.pipelines.registry import pipeline

@pipeline
async def billing(message) -> None: ...
"""

SHORT = """
[buses.main]
url = "nats://127.0.0.1:4222"
[streams.ORDERS]
subjects = ["orders.>"]
[triggers.billing]
filter_subjects = ["orders.created"]
"""
"""The short form; what a test adds stands in `[triggers.billing]`."""


class Project:
    """Writes files, and loads `app.toml`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("handlers.py", HANDLERS)

    def write(self, name: str, text: str) -> Path:
        """Write a file, without the indentation of the test that says it."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(dedent(text).lstrip("\n"))
        return path

    def load(
        self,
        toml: str,
        *,
        overrides: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        secrets_dir: Path | None = None,
        only: Sequence[str] = (),
    ) -> Loaded:
        """Load `app.toml` with this text, in an environment of its own."""
        path = self.write("app.toml", toml)
        return load(path, overrides=overrides, environ=environ or {}, secrets_dir=secrets_dir, only=only)

    def problems(
        self, toml: str, *, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
    ) -> list[str]:
        """The lines that a user sees of a file that can't be used, without the folder."""
        with pytest.raises(ConfigError) as caught:
            self.load(toml, overrides=overrides, environ=environ)
        return [self.relative(str(problem)) for problem in caught.value.problems]

    def problem(self, toml: str, *, environ: Mapping[str, str] | None = None) -> str:
        """The only line."""
        (found,) = self.problems(toml, environ=environ)
        return found

    def warnings(self, toml: str) -> list[str]:
        """The lines that a user sees beside a file that can be used."""
        return [self.relative(str(problem)) for problem in self.load(toml).warnings]

    def relative(self, text: str) -> str:
        """The text without the folder."""
        return text.replace(f"{self.folder}/", "")
