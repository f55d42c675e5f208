"""A real nats-server for tests: own port, own store, a log file, and every way to end it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from eventbus_runtime.buses.embedded import find_server

_READY_WITHIN = 10.0


def free_port() -> int:
    """A TCP port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class NatsServer:
    """A nats-server process on loopback that can be killed and started again on the same port and store.

    Args:
        config: text of a server configuration, added to the port and store that are chosen here.
        jetstream: whether JetStream is on.
        binary: the nats-server to run; left out, the one that an embedded bus would use.
        ready: seconds that it may take to accept connections.
    """

    def __init__(self, config: str = "", *, jetstream: bool = True, binary: Path | None = None) -> None:
        self.port = free_port()
        self.binary = binary or find_server()
        self.jetstream = jetstream
        self.folder = Path(tempfile.mkdtemp(prefix="eventbus-test-"))
        self.log = self.folder / "server.log"
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address without credentials."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> Self:
        """Start it, and return when it accepts connections (and JetStream is on, where wanted)."""
        path = self.folder / "server.conf"
        store = f'jetstream {{ store_dir: "{self.folder / "store"}" }}\n' if self.jetstream else ""
        path.write_text(f'listen: "127.0.0.1:{self.port}"\nlog_file: "{self.log}"\n{store}{self._config}\n')
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binary), "-c", str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
            )
        deadline = time.monotonic() + _READY_WITHIN
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"nats-server did not start:\n{self.log.read_text()}")
            time.sleep(0.005)
        return self

    def kill(self) -> None:
        """End it with SIGKILL: nothing is flushed, no client is told."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it with SIGTERM: clients are told."""
        self._end(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """Send the running process a signal, as SIGSTOP and SIGCONT."""
        assert self._process is not None, "the server is not running"
        self._process.send_signal(number)

    def remove(self) -> None:
        """End it, and delete its store and log."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=10)
            self._process = None

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2) as probe:
                if "handshake_first: true" in self._config:
                    return True  # it greets encrypted connections only
                probe.settimeout(0.5)
                greeting = probe.recv(4096)
        except OSError:
            return False
        return not self.jetstream or b'"jetstream":true' in greeting
