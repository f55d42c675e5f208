"""The tests say which rules of the origin they hold; the script that counts them finds what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.seed import RULES, report

ROOT = Path(__file__).parents[2]


def seed(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command = [sys.executable, "-m", "tests.seed", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """What it prints of all our tests."""
    done = seed()
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_every_mark_names_a_rule(printed: list[str]) -> None:
    assert [line.split()[0] for line in printed[: len(RULES)]] == list(RULES)
    assert [line for line in printed[len(RULES) :] if not line.startswith("no test names ")] == []


def test_every_rule_has_a_test(printed: list[str]) -> None:
    assert [line for line in printed if line.startswith("no test names ")] == []


def test_a_rule_without_a_test_and_a_mark_of_no_rule_are_found(tmp_path: Path) -> None:
    path = tmp_path / "test_marks.py"
    path.write_text(
        "import pytest\n"
        "@pytest.mark.seed('S-30', 'S-99')\n"
        "@pytest.mark.parametrize('x', [1, 2])\n"
        "def test_two(x): pass\n"
        "@pytest.mark.seed()\n"
        "def test_none(): pass\n"
        "@pytest.mark.chaos\n"
        "@pytest.mark.seed('S-31')\n"
        "def test_that_does_not_run_by_default(): pass\n"
    )
    done = seed(path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "S-30     2  the step publish" in lines
    assert "S-31     1  the step consume" in lines
    assert any(line.endswith("test_marks.py::test_none: a mark names rules, as seed('S-30')") for line in lines)
    assert any(line.startswith("there is no rule S-99, which ") and "test_two[1]" in line for line in lines)
    assert "no test names S-1: what a provider has; others can be registered" in lines
    assert not any(line.startswith("no test names S-30") for line in lines)


def test_what_can_not_be_collected_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "test_broken.py"
    path.write_text("raise RuntimeError('broken')")
    done = seed(path)
    assert done.returncode == 1
    assert "RuntimeError: broken" in done.stderr


def test_all_rules_named_is_no_problem() -> None:
    lines, code = report({rule: ["a"] for rule in RULES})
    assert (len(lines), code) == (len(RULES), 0)


@pytest.mark.parametrize("rule", ["S-1", "S-72"])
def test_a_single_one_missing_is_one(rule: str) -> None:
    lines, code = report({name: ["a"] for name in RULES if name != rule})
    assert (lines[-1], code) == (f"no test names {rule}: {RULES[rule]}", 1)
