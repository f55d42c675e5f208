"""`eventbus-run` as a process: what it prints where, and how it exits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from eventbus_runtime.cli.run import main
from tests.config.project import HANDLERS, SHORT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.toml").write_text(SHORT)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    return tmp_path


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in `folder`."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("EVENTBUS", "NATS"))}
    return subprocess.run(
        [sys.executable, "-m", "eventbus_runtime.cli.run", *arguments],
        cwd=folder,
        env=environ | variables,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_check_says_what_it_found(folder: Path) -> None:
    found = run(folder, "app.toml", "--check")
    assert (found.returncode, found.stdout, found.stderr) == (0, "app.toml: ok (1 bus, 1 stream, 1 trigger)\n", "")


def test_check_shows_warnings_beside_it(folder: Path) -> None:
    (folder / "app.toml").write_text(SHORT + "max_in_flight = 5000")
    found = run(folder, "app.toml", "--check")
    assert found.returncode == 0
    assert found.stderr.startswith("warning: app.toml:6: consumers.billing.max_ack_pending: 1000 is less than the 5000")


def test_mistakes_are_lines_of_stderr_and_no_connection_is_tried(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"nats://127.0.0.1:{listener.getsockname()[1]}"
        (folder / "app.toml").write_text(SHORT.replace("nats://127.0.0.1:4222", url) + "x = 1\ny = 2\n")
        found = run(folder, "app.toml")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert found.returncode == 2
    assert found.stdout == ""
    assert [line.split(" unknown")[0] for line in found.stderr.splitlines()] == [
        "app.toml:8: triggers.billing.x:",
        "app.toml:9: triggers.billing.y:",
    ]


def test_a_good_file_is_read_without_what_only_errors_and_overrides_need(folder: Path) -> None:
    code = (
        "import sys; from eventbus_runtime.cli.run import main; code = main(['app.toml', '--check']);"
        "names = {name.split('.')[0] for name in sys.modules};"
        "print(sorted(names & {'tree_sitter', 'tree_sitter_toml', 'pydantic_settings', 'typer', 'rich', 'starlette',"
        " 'uvicorn', 'prometheus_client', 'httpx', 'aiohttp'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=30)
    assert found.stdout.splitlines()[-1] == "[]", found.stderr


def test_the_variable_may_take_the_files_place(folder: Path) -> None:
    found = run(folder, "--check", EVENTBUS_CONFIG=SHORT)
    assert found.stdout == "EVENTBUS_CONFIG: ok (1 bus, 1 stream, 1 trigger)\n"


def test_no_file_at_all_is_one_sentence(folder: Path) -> None:
    found = run(folder)
    assert found.returncode == 2
    assert found.stderr == "no configuration: name a file, or set EVENTBUS_CONFIG to one or to its whole text\n"


@pytest.mark.seed("S-23")
def test_a_bus_without_address_is_an_error_only_when_it_is_to_run(folder: Path) -> None:
    """S-23."""
    (folder / "app.toml").write_text(SHORT.replace('url = "nats://127.0.0.1:4222"', ""))
    assert run(folder, "app.toml", "--check").returncode == 0
    found = run(folder, "app.toml")
    assert found.returncode == 2
    assert "EVENTBUS_MAIN_URI or NATS_URL" in found.stderr
    assert "Traceback" not in found.stderr


def test_dry_run_prints_the_whole_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(folder / "app.toml"), "--dry-run", "--set", "triggers.billing.max_in_flight=7"]
    assert main([*arguments, "--set", "buses.main.auth.token=s3cret"]) == 0
    printed = capsys.readouterr().out
    assert "max_in_flight = 7\n" in printed
    assert 'pipeline = "billing"  # filled in\n' in printed
    assert "********" in printed
    assert "s3cret" not in printed


def test_only_takes_names_by_comma_and_repeated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "".join(f'[triggers.{name}]\npipeline = "billing"\nfilter_subjects = "orders.{name}"\n' for name in "abc")
    (folder / "app.toml").write_text(SHORT + more)
    assert main([str(folder / "app.toml"), "--dry-run", "--only", "a, b,", "--only", "c"]) == 0
    assert capsys.readouterr().out.count("enabled = true") == 3 + 1  # and the bus's [jetstream]
    assert main([str(folder / "app.toml"), "--check", "--only", "zzz"]) == 2
    assert capsys.readouterr().err == '--only: there is no trigger "zzz"; declared: billing, a, b, c\n'


def test_the_secrets_folder_may_be_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "EVENTBUS__BUSES__MAIN__NAME").write_text("from-secret")
    assert main([str(folder / "app.toml"), "--dry-run", "--secrets-dir", str(folder / "secrets")]) == 0
    assert 'name = "from-secret"\n' in capsys.readouterr().out


def test_the_schema_needs_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "eventbus-runtime"


def test_the_version_needs_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("eventbus-runtime ")


@pytest.mark.parametrize("arguments", [["--stop-when-idle", "soon"], ["--nonsense"], ["a.toml", "b.toml"]])
def test_a_wrong_command_line_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code == 2
    assert "usage: eventbus-run" in capsys.readouterr().err


def test_ctrl_c_before_the_start_is_quiet(folder: Path) -> None:
    (folder / "handlers.py").write_text("raise KeyboardInterrupt\n")
    found = run(folder, "app.toml")
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")
