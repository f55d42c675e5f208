"""The README's examples, as a new user types them; their text is taken from there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.service.worker import Worker

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str, number: int) -> str:
    """The README's code block of a language, from 0."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return found[number]


CONFIG, WRONG = block("toml", 0), block("toml", 1)
HANDLERS = block("python", 0)


def publish(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`eventbus publish app.toml …`"""
    return subprocess.run(
        [sys.executable, "-m", "eventbus_runtime.cli.main", "publish", str(folder / "app.toml"), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_six_lines_of_toml_and_one_handler(tmp_path: Path) -> None:
    with Worker(tmp_path / "app", CONFIG, HANDLERS) as worker:
        worker.wait_logged("trigger billing: running")
        published = publish(worker.folder, "orders.created", '{"id": "A1", "total": 9.5}')
        assert (published.returncode, published.stdout) == (0, "ORDERS 1\n"), published.stderr
        worker.wait_lines(1)
        assert worker.lines == ["order A1: 9.50"]
        worker.signal()
        assert worker.wait() == 0


def test_a_payload_that_does_not_decode_is_dead_lettered_without_a_traceback(tmp_path: Path) -> None:
    with Worker(tmp_path / "app", CONFIG, HANDLERS) as worker:
        worker.wait_logged("trigger billing: running")
        assert publish(worker.folder, "orders.created", '{"id": "A1"').returncode == 0
        worker.wait_logged("delivery failed")
        failed = next(line for line in worker.log if line["event"] == "delivery failed")
        assert (failed["reason"], failed["settlement"], failed["sequence"]) == ("undecodable", "dead_letter", 1)
        assert "Traceback" not in worker.errors


def test_the_wrong_file_of_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(WRONG)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    command, *expected = next(
        each for each in re.findall(r"```console\n(.*?)```", README, re.DOTALL) if "wrong" in each
    ).splitlines()
    assert command == "$ eventbus-run wrong.toml"
    ran = subprocess.run(
        [sys.executable, "-m", "eventbus_runtime.cli.run", "wrong.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines() == expected
