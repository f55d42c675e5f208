"""`eventbus-plugin`: the command, and the folder that it writes for a host."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from eventbus_runtime.plugin.describe import plugin_version
from tests.plugin.hosting import alive, plugin, variables

COMMAND = Path(sys.executable).with_name("eventbus-plugin")
NAME = "workflow-plugin-eventbus"

# A process in which gRPC can't be imported, as where the extra is not installed.
WITHOUT = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.startswith("grpc") else find(name, package)
sys.modules["grpc"] = None
from eventbus_runtime.plugin.main import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: str | Path, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {key: value for key, value in variables().items() if key != "WORKFLOW_PLUGIN"}
    return subprocess.run(
        [COMMAND, *arguments],
        env=own | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def test_what_it_writes_is_what_a_host_starts_whatever_its_folder_and_path(tmp_path: Path) -> None:
    done = run("install", tmp_path / "plugins")
    launcher, manifest = tmp_path / "plugins" / NAME / NAME, tmp_path / "plugins" / NAME / "plugin.json"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {launcher}\nwrote {manifest}\n"
    assert os.access(launcher, os.X_OK)
    (launcher.parent / "eventbus_runtime.py").write_text("raise SystemExit('imported from the host folder')")
    async with plugin(command=[launcher], PATH="/nowhere", PYTHONSAFEPATH="") as process:
        assert await alive(process)
        told = await process.manifest()
        written = json.loads(manifest.read_text())
        assert (told.name, told.version, told.author) == (written["name"], written["version"], written["author"])
        assert written["type"] == "external"
        assert written["capabilities"]["moduleTypes"] == await process.module_types()
        assert written["capabilities"]["stepTypes"] == await process.step_types()
        assert written["capabilities"]["triggerTypes"] == await process.trigger_types()


async def test_a_launcher_works_at_a_path_with_spaces_and_quotes_and_says_when_its_python_is_gone(
    tmp_path: Path,
) -> None:
    folder = tmp_path / """it's "mine\""""
    environment = folder / "a 'moved' one"
    assert run("install", folder).returncode == 0
    launcher = folder / NAME / NAME
    async with plugin(command=[launcher]) as process:
        assert await alive(process)
    environment.mkdir()
    gone = shlex.quote(f"{environment}/python")
    launcher.write_text(launcher.read_text().replace(f"python={shlex.quote(sys.executable)}", f"python={gone}"))
    done = subprocess.run([launcher], env=variables(), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"{environment}/python is gone: install eventbus-runtime[rpc] again, and run its eventbus-plugin install anew\n"
    )


def test_it_brings_its_own_files_up_to_date_and_replaces_no_others(tmp_path: Path) -> None:
    assert run("install", tmp_path).returncode == 0
    launcher = tmp_path / NAME / NAME
    first = launcher.read_text()
    launcher.write_text(first + "# an older release wrote this")
    assert run("install", tmp_path).returncode == 0
    assert launcher.read_text() == first
    launcher.write_text("the origin's binary")
    done = run("install", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"eventbus-plugin: {launcher} is there, and not ours: move it away, or replace it with --force\n"
    )
    assert launcher.read_text() == "the origin's binary"
    assert run("install", "--force", tmp_path).returncode == 0
    assert launcher.read_text() == first


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("install", tmp_path / "file")
    assert done.returncode == 1
    assert done.stderr.startswith(f"eventbus-plugin: can't write {tmp_path / 'file' / NAME}: ")


def test_version_and_help() -> None:
    assert run("--version").stdout == f"eventbus-plugin {version('eventbus-runtime')}\n"
    told = run("--help").stdout
    assert "install" in told
    assert run("instal").returncode == 2
    assert len(plugin_version().split(".")) == 3


@pytest.mark.parametrize("arguments", [[], ["install", "plugins"]], ids=["started by a host", "install"])
def test_without_the_extra_one_line_says_what_to_install(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments],
        env=variables(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "the plugin process needs gRPC: pip install 'eventbus-runtime[rpc]'\n"
    assert list(tmp_path.iterdir()) == []
