"""config/production.toml is one file for all targets, and works as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from eventbus_runtime.config.loader import load
from eventbus_runtime.provisioning.render import _RENDERERS
from tests.cli.command import eventbus

FILE = Path(__file__).parents[2] / "config" / "production.toml"


def test_it_loads_with_its_handlers() -> None:
    loaded = load(FILE, environ={})
    assert list(loaded.registry.pipelines) == ["billing"]
    assert {stream.num_replicas for stream in loaded.config.streams.values()} == {3}
    assert loaded.dead_letter_streams == {}


def test_there_are_four_targets() -> None:
    assert set(_RENDERERS) >= {"kubernetes", "aws.eks", "self_hosted", "digitalocean.app_platform"}


def texts(value: object) -> Iterator[str]:
    """All texts in a document."""
    if isinstance(value, str):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from texts(one)


@pytest.mark.parametrize("target", _RENDERERS)
def test_eventbus_render_writes_it_for_each_target_and_says_where(target: str, tmp_path: Path) -> None:
    done = eventbus("render", FILE, "--target", target, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    written = {path: path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()}
    assert set(done.stdout.decode().splitlines()) == set(map(str, written))
    documents = [yaml.safe_load_all(text) for path, text in written.items() if path.suffix == ".yaml"]
    found = [*written.values(), *(text for each in documents for one in each for text in texts(one))]
    assert found.count(FILE.read_text("utf-8")) == 1, "the worker's configuration is the file, to the letter"
