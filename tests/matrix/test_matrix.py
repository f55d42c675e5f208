"""Which rows there are, which is taken when, and what is read from pytest's report."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.matrix.__main__ import main
from tests.matrix.environments import Unavailable, interpreter
from tests.matrix.results import Result, read, table
from tests.matrix.rows import BASE, ROWS, Row, named, rotated

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
VERSIONS = ("2.10.26", "2.16.0", "3.11.7")
REPORT = """<testsuites><testsuite>
<testcase classname="tests.a" name="good"/>
<testcase classname="tests.a" name="apart"><skipped message="no IPv6 here"/></testcase>
<testcase classname="tests.a" name="wrong">
<failure message="assert 1 == 2&#10;more"/><error message="at its end"/></testcase>
</testsuite></testsuites>"""


def test_each_row_differs_from_the_base_in_one_thing() -> None:
    for row in ROWS:
        differences = (row.server != BASE.server) + (row.nats_py != BASE.nats_py) + (row.python != BASE.python)
        assert differences == (row is not BASE), row


def test_the_oldest_nats_py_that_we_allow_is_a_row() -> None:
    (allowed,) = [each for each in PROJECT["dependencies"] if each.startswith("nats-py")]
    assert [row.nats_py for row in ROWS if row.nats_py] == [allowed.partition(">=")[2].partition(",")[0]]


def test_each_python_that_we_name_is_a_row() -> None:
    named_there = {each.rpartition(" ")[2] for each in PROJECT["classifiers"] if "Python :: 3." in each}
    assert {row.python for row in ROWS} == named_there


def test_each_row_but_the_base_is_the_first_once_in_as_many_hours() -> None:
    others = {row.name for row in ROWS} - {BASE.name}
    assert sorted(rotated(hour)[0].name for hour in range(7, 7 + len(others))) == sorted(others)
    assert {row.name for row in rotated(7)} == others


def test_without_names_all_rows_run() -> None:
    assert named([]) == list(ROWS)
    assert named(["base"]) == [BASE]


def test_an_unknown_row_is_refused_with_the_rows_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["python-2.7"])
    assert "there is no row python-2.7; the rows are base, nats-server-2.9," in capsys.readouterr().err


def test_a_row_named_by_the_variable_that_does_not_exist_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MATRIX_ROW", "python-2.7")
    with pytest.raises(SystemExit):
        main(["--rotate"])
    assert "there is no row python-2.7" in capsys.readouterr().err


def test_where_no_row_can_be_set_up_each_is_named_and_the_end_says_so_loudly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def environment(row: Row) -> None:
        raise Unavailable("no such thing here")

    monkeypatch.delenv("MATRIX_ROW", raising=False)
    monkeypatch.setattr("tests.matrix.__main__.Environment", environment)
    assert main(["--rotate"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if "not available: no such thing here" in line} == {
        row.name for row in ROWS if row is not BASE
    }
    assert "NOTHING WAS TESTED" in lines[-1]
    assert main(["base"]) == 1


def test_a_python_that_is_not_there_is_named_with_the_variable_that_could(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON311", "/nowhere/python")
    with pytest.raises(Unavailable, match=r"no Python 3\.11 with its venv module found; PYTHON311=… names one"):
        interpreter("3.11")


def test_a_report_is_counted_by_tests(tmp_path: Path) -> None:
    report = tmp_path / "row.xml"
    report.write_text(REPORT)
    result = read("some", VERSIONS, 1, report, 12.4)
    assert (result.passed, result.skipped) == (1, ("no IPv6 here",))
    assert result.failed == ("tests.a::wrong: assert 1 == 2", "tests.a::wrong: at its end")
    assert not result.is_good
    assert table([result]).splitlines()[2:] == [
        "| some | 2.10.26 | 2.16.0 | 3.11.7 | 1 | 1 | 2 | 12 |",
        "",
        "- some: 1 skipped: no IPv6 here",
    ]


@pytest.mark.parametrize("code", [0, 2])
def test_a_run_without_a_report_is_not_good(tmp_path: Path, code: int) -> None:
    assert not read("some", VERSIONS, code, tmp_path / "absent.xml", 1.0).is_good


def test_a_row_that_can_not_be_set_up_is_not_good_and_says_why() -> None:
    result = Result("some", unavailable="no Python 3.13 found")
    assert not result.is_good
    assert table([result]).splitlines()[-1].startswith("| some | not available: no Python 3.13 found |")
