"""What imports what: the layers, and how little `eventbus-run` loads before it works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Start-up is a feature: each other name here costs every start of every worker.
ALLOWED = {
    "_distutils_hack",  # comes with every environment that has setuptools
    "annotated_types",
    "anyio",
    "dotenv",
    "eventbus_runtime",
    "nats",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "structlog",
    "typing_extensions",
    "typing_inspection",
    "uvloop",
}


# Not `-X importtime`: its log names imports that failed, and structlog tries several.
PROGRAM = """
import sys
from eventbus_runtime.cli.run import main
code = main(sys.argv[1:])
print("imported:", *sorted(name for name, module in sys.modules.items() if module is not None))
sys.exit(code)
"""


def surplus(modules: Iterable[str]) -> set[str]:
    """The installed packages among these modules that are not allowed."""
    return {name.partition(".")[0] for name in modules} & set(packages_distributions()) - ALLOWED


def without_coverage() -> dict[str, str]:
    """Our environment, without what would load coverage's tracer into the child."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@pytest.mark.parametrize("arguments", [["--check"], []], ids=["checked", "run for a second"])
def test_eventbus_run_imports_nothing_that_it_does_not_need(arguments: list[str], tmp_path: Path) -> None:
    for name in ("demo.toml", "demo_handlers.py"):
        shutil.copy(ROOT / "config" / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, "demo.toml"],
        cwd=tmp_path,
        env=without_coverage() | {"DEMO_SECONDS": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    modules = done.stdout.rpartition("imported: ")[2].split()
    assert "eventbus_runtime.config.loader" in modules
    assert surplus(modules) == set()


def test_a_surplus_import_is_found() -> None:
    assert surplus(["json.decoder", "structlog._config", "rich.console"]) == {"rich"}


def test_the_layers_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout


def test_every_module_has_a_layer() -> None:
    package = ROOT / "eventbus_runtime"
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    placed = {name.strip(" ()") for layer in contract["layers"] for name in layer.split(":")}
    modules = {path.relative_to(package).with_suffix("").parts for path in package.rglob("[!_]*.py")}
    without = {module for module in modules if not placed & {".".join(module[:1]), ".".join(module)}}
    assert without == set()
