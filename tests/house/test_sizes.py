"""No file over 400 lines, and no function over 50: what grows beyond that has a second idea in it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("eventbus_runtime", "benchmarks", "config", "tests")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MOST_LINES_IN_A_FILE = 400
MOST_LINES_IN_A_FUNCTION = 50
EXCUSE = "# long: "


def too_long_functions(source: str) -> list[str]:
    """`line name` of each function over the limit whose `def` line does not say why (`# long: because …`)."""
    lines = source.splitlines()
    return [
        f"{node.lineno} {node.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MOST_LINES_IN_A_FUNCTION
        and EXCUSE not in lines[node.lineno - 1]
    ]


def test_the_sources_are_found() -> None:
    assert ROOT / "eventbus_runtime" / "message.py" in SOURCES


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES_IN_A_FILE} == {}


def test_no_function_is_longer_than_50_lines_without_a_reason() -> None:
    found = {str(path.relative_to(ROOT)): too_long_functions(path.read_text("utf-8")) for path in SOURCES}
    assert {name: functions for name, functions in found.items() if functions} == {}


def test_a_function_of_51_lines_is_found_and_one_of_50_or_with_a_reason_is_not() -> None:
    fifty = "def fifty():\n" + "    pass\n" * 49
    more = "def more():\n" + "    pass\n" * 50
    excused = "def excused():  # long: one table\n" + "    pass\n" * 50
    assert too_long_functions(fifty + more + excused) == ["51 more"]
