"""How a host and the process find each other (S-60)."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventbus_runtime.plugin.client import PluginProcess
from eventbus_runtime.plugin.failures import PluginError
from eventbus_runtime.plugin.handshake import Address, Place
from eventbus_runtime.testing.server import free_port
from tests.plugin.hosting import COMMAND, alive, plugin, variables
from tests.triggers.live import until

PRINTS = """
import os, subprocess, sys, threading
from eventbus_runtime.plugin import main, process
serve = process.serve
async def printing(*arguments):
    print("from Python")
    os.write(1, b"by its number\\n")
    subprocess.run(["echo", "from a child"], check=True)
    await serve(*arguments)
process.serve = printing
sys.exit(main.main([]))
"""


def started(**environment: str) -> subprocess.CompletedProcess[str]:
    own = {key: value for key, value in variables().items() if key != "WORKFLOW_PLUGIN"}
    return subprocess.run(COMMAND, env=own | environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.seed("S-60")
@pytest.mark.parametrize("cookie", [{}, {"WORKFLOW_PLUGIN": "something else"}], ids=["none", "another"])
def test_without_the_cookie_it_says_what_it_is_and_how_a_person_runs_it(cookie: dict[str, str]) -> None:
    """S-60: a person who starts it learns what to do instead."""
    done = started(**cookie)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "workflow-plugin-eventbus" in done.stderr
    assert "eventbus-plugin install DIR" in done.stderr
    assert "eventbus-run config.toml" in done.stderr


def test_a_host_that_wants_mutual_tls_is_told_that_there_is_none() -> None:
    done = started(WORKFLOW_PLUGIN="workflow-external-plugin-v1", PLUGIN_CLIENT_CERT="-----BEGIN CERTIFICATE-----")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "PLUGIN_CLIENT_CERT" in done.stderr
    assert "AutoMTLS" in done.stderr


async def test_it_listens_on_a_socket_that_only_this_user_reaches_and_removes_it() -> None:
    async with plugin() as process:
        path = Path(process.address.address)
        assert process.address.network == "unix"
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert await alive(process)
        assert await process.shutdown() == 0
        assert not path.parent.exists()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder in which a socket's path is short enough for one, as `tmp_path` is not everywhere."""
    with tempfile.TemporaryDirectory(prefix="eb-") as folder:
        yield Path(folder)


async def test_the_host_says_where_the_socket_is(short_path: Path) -> None:
    async with plugin(PLUGIN_UNIX_SOCKET_DIR=str(short_path)) as process:
        assert short_path in Path(process.address.address).parents
        assert await alive(process)


@pytest.mark.parametrize("word", ["a b", "a%41", "a?b", "a#b", "a'$\"b"])
async def test_a_socket_is_reached_whatever_its_folder_is_called(word: str, short_path: Path) -> None:
    (short_path / word).mkdir()
    async with plugin(PLUGIN_UNIX_SOCKET_DIR=str(short_path / word)) as process:
        assert short_path / word in Path(process.address.address).parents
        assert await alive(process)


@pytest.mark.parametrize("word", ["a|b", "a\nb"])
async def test_a_folder_that_the_handshake_cannot_tell_gives_a_port(word: str, short_path: Path) -> None:
    (short_path / word).mkdir()
    async with plugin(PLUGIN_UNIX_SOCKET_DIR=str(short_path / word)) as process:
        assert process.address.network == "tcp"
        assert await alive(process)
    assert list((short_path / word).iterdir()) == []


def test_a_folder_is_told_as_it_is_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host starts a plugin in the plugin's own folder, where it is not itself."""
    monkeypatch.chdir(tmp_path)
    place = Place({"PLUGIN_UNIX_SOCKET_DIR": "."})
    (address,) = place.candidates()
    place.close()
    assert tmp_path in Path(address.address).parents


async def test_where_no_socket_can_be_it_takes_the_first_free_port_of_the_range(tmp_path: Path) -> None:
    """A path that is longer than a socket's may be, in place of a system without unix sockets."""
    long = tmp_path / ("x" * 120)
    long.mkdir()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken: int = other.getsockname()[1]
        first = {"PLUGIN_MIN_PORT": str(taken), "PLUGIN_MAX_PORT": str(taken + 20), "PLUGIN_UNIX_SOCKET_DIR": str(long)}
        async with plugin(None, **first) as process:
            host, port = process.address.address.split(":")
            assert (process.address.network, host) == ("tcp", "127.0.0.1")
            assert taken < int(port) <= taken + 20
            assert await alive(process)
    assert list(long.iterdir()) == []


async def test_two_processes_never_share_a_port(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    port = str(free_port())
    only = {"PLUGIN_MIN_PORT": port, "PLUGIN_MAX_PORT": port, "PLUGIN_UNIX_SOCKET_DIR": str(long)}
    async with plugin(None, **only) as process:
        assert process.address.address == f"127.0.0.1:{port}"
        second = started(WORKFLOW_PLUGIN="workflow-external-plugin-v1", **only)
        assert second.returncode == 1
        assert second.stdout == ""
        assert f"nothing can listen at 127.0.0.1:{port}" in second.stderr


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ({"PLUGIN_MIN_PORT": "a lot"}, "PLUGIN_MIN_PORT is 'a lot'; expected a port, 0 to 65535"),
        ({"PLUGIN_MAX_PORT": "70000"}, "PLUGIN_MAX_PORT is '70000'; expected a port, 0 to 65535"),
        ({"PLUGIN_MIN_PORT": "9", "PLUGIN_MAX_PORT": "8"}, "PLUGIN_MIN_PORT 9 is above PLUGIN_MAX_PORT 8"),
    ],
)
def test_ports_that_are_none_are_told(ports: dict[str, str], text: str, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    with pytest.raises(PluginError) as raised:
        Place({"PLUGIN_UNIX_SOCKET_DIR": str(long), **ports})
    assert str(raised.value) == text


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PluginError) as raised:
        Place({"PLUGIN_UNIX_SOCKET_DIR": str(tmp_path / "nowhere")})
    assert f"no folder for the socket can be made in {tmp_path / 'nowhere'}" in str(raised.value)


async def test_what_is_printed_does_not_break_the_handshake_and_reaches_the_host() -> None:
    async with plugin(command=(sys.executable, "-c", PRINTS)) as process:
        assert await alive(process)
        await until(lambda: b"from a child\n" in process.stdout)
        assert process.stdout == b"from Python\nby its number\nfrom a child\n"


async def test_a_print_that_nobody_reads_makes_nobody_wait() -> None:
    loud = PRINTS.replace('"from Python"', '"x" * (3 << 20)')
    async with plugin(command=(sys.executable, "-c", loud)) as process:
        await until(lambda: b"from a child\n" in process.stdout)
        assert len(process.stdout) <= 2 << 20
        assert await alive(process)


@pytest.mark.parametrize(
    ("shell", "text"),
    [
        ("exec >&-", "stdout is closed, on which a host is told where this process listens"),
        ("exec >/dev/full", "the host can't be told where this process listens: [Errno 28] No space left on device"),
    ],
)
def test_a_host_that_can_not_be_told_is_one_line(shell: str, text: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'{shell}; exec "$@"', "sh", *COMMAND],
        env=variables(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"eventbus-plugin: {text}\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("hello", "'hello' is no handshake"),
        ("1|1|unix|/tmp/x", "is no handshake"),
        ("1|1|pigeon|loft|grpc", "is no handshake"),
        ("2|1|unix|/tmp/x|grpc", "speaks another protocol"),
        ("1|1|unix|/tmp/x|netrpc", "speaks another protocol"),
    ],
)
def test_a_line_that_is_no_handshake_is_told(line: str, text: str) -> None:
    with pytest.raises(PluginError) as raised:
        Address.parse(line)
    assert text in str(raised.value)


def test_the_line_is_read_as_it_is_written() -> None:
    address = Address("unix", "/tmp/plugin1/plugin.sock")
    assert address.line() == "1|1|unix|/tmp/plugin1/plugin.sock|grpc"
    assert Address.parse(address.line() + "\n") == address
    assert Address.parse("1|1|tcp|127.0.0.1:1|grpc|certificate|true") == Address("tcp", "127.0.0.1:1")


async def test_a_command_that_is_no_plugin_is_told_with_what_it_said() -> None:
    silent = PluginProcess((sys.executable, "-c", "import sys; sys.exit('no such thing')"))
    with pytest.raises(PluginError) as raised:
        await silent.__aenter__()
    assert "it ended with 1 before any handshake" in str(raised.value)
    assert "no such thing" in str(raised.value)


async def test_lines_of_any_length_on_stderr_are_read(tmp_path: Path) -> None:
    """Else a process that logs one stands still when the pipe is full."""
    code = "import sys; sys.stderr.write('x' * 300_000 + '\\n' + 'y' * 300_000); sys.exit(1)"
    loud = PluginProcess((sys.executable, "-c", code))
    with pytest.raises(PluginError, match="it ended with 1 before any handshake"):
        async with asyncio.timeout(20):
            await loud.__aenter__()
    assert [(line[0], len(line)) for line in loud.stderr] == [("x", 300_000), ("y", 300_000)]


async def test_a_handshake_without_an_end_is_told() -> None:
    endless = PluginProcess((sys.executable, "-c", "print('x' * 300_000)"))
    with pytest.raises(PluginError, match="before any handshake"):
        await endless.__aenter__()


async def test_a_host_that_says_nothing_more_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the test's own"):  # noqa: PT012 - the block is what is tested
        async with plugin() as process:
            pid, folder = process.pid, Path(process.address.address).parent
            raise RuntimeError("the test's own")
    assert process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert folder.name.startswith("plugin")
