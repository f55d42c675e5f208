"""How a host and this process find each other: the cookie, an address to listen on, one line on stdout."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from eventbus_runtime.plugin.failures import PluginError

COOKIE = ("WORKFLOW_PLUGIN", "workflow-external-plugin-v1")
"""The variable, and its value, by which a host says that it is one."""

CORE_PROTOCOL, APPLICATION_PROTOCOL = 1, 1

_SOCKET = "plugin.sock"
# What fits into `sockaddr_un` everywhere (104 on macOS, 108 on Linux), its closing zero included.
_LONGEST_PATH = 103


class Address(NamedTuple):
    """Where a gRPC server listens.

    Args:
        network: `unix` or `tcp`.
        address: a path, or host and port.
    """

    network: str
    address: str

    @property
    def target(self) -> str:
        """As gRPC writes it."""
        # gRPC reads a path as a part of a URI: "%", "?" and "#" would mean something.
        return f"unix:{quote(self.address)}" if self.network == "unix" else self.address

    def line(self) -> str:
        """What the host reads first."""
        return f"{CORE_PROTOCOL}|{APPLICATION_PROTOCOL}|{self.network}|{self.address}|grpc"

    @classmethod
    def parse(cls, line: str) -> Address:
        """Read what a plugin process says first.

        Raises:
            PluginError: it is no such line, or of another protocol.
        """
        parts = line.strip().split("|")
        if len(parts) < 5 or parts[2] not in ("unix", "tcp"):
            raise PluginError(f"{line.strip()!r} is no handshake; expected as 1|1|unix|PATH|grpc")
        if parts[:2] != [str(CORE_PROTOCOL), str(APPLICATION_PROTOCOL)] or parts[4] != "grpc":
            raise PluginError(f"{line.strip()!r} speaks another protocol; expected 1, 1 and grpc")
        return cls(parts[2], parts[3])


def refusal(environ: Mapping[str, str]) -> str:
    """Why this process can't serve whoever started it, as a text for people; empty: it can."""
    name, value = COOKIE
    if environ.get(name) != value:
        return (
            "This is workflow-plugin-eventbus, a plugin that a workflow engine starts; it does nothing alone.\n"
            "Put it where the engine looks for plugins: eventbus-plugin install DIR\n"
            "To run triggers without an engine: eventbus-run config.toml"
        )
    if environ.get("PLUGIN_CLIENT_CERT"):
        return "The host asks for mutual TLS (PLUGIN_CLIENT_CERT), which this plugin does not offer: turn AutoMTLS off."
    return ""


class Place:
    """A private address for one server, removed by `close`.

    A unix socket in a folder of its own, which only this user may enter; within `PLUGIN_UNIX_SOCKET_DIR` where that is
    set. Where there are no unix sockets (Windows), or the path is too long for one or can't be told in the handshake, a
    port of loopback; of those from `PLUGIN_MIN_PORT` to `PLUGIN_MAX_PORT` where these are set.

    Args:
        environ: the variables.

    Raises:
        PluginError: the folder can't be made, or the variables hold no range of ports.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._folder: Path | None = None
        self._ports = range(1)
        if hasattr(socket, "AF_UNIX"):
            given = environ.get("PLUGIN_UNIX_SOCKET_DIR") or None
            try:
                # Absolute: the host need not be where we are.
                self._folder = Path(tempfile.mkdtemp(prefix="plugin", dir=given)).absolute()
            except OSError as error:
                raise PluginError(
                    f"no folder for the socket can be made in {given or tempfile.gettempdir()}: {error}"
                ) from None
            if _can_be_told(self._folder / _SOCKET):
                return
            self.close()
        self._ports = _ports(environ)

    def candidates(self) -> Iterator[Address]:
        """The addresses to try, in order; port 0 is any that is free."""
        if self._folder is not None:
            yield Address("unix", str(self._folder / _SOCKET))
        else:
            for port in self._ports:
                yield Address("tcp", f"127.0.0.1:{port}")

    def close(self) -> None:
        """Remove socket and folder. Idempotent."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _can_be_told(path: Path) -> bool:
    text = str(path)
    return len(os.fsencode(path)) <= _LONGEST_PATH and text.isprintable() and "|" not in text


def _ports(environ: Mapping[str, str]) -> range:
    bounds = []
    for name in ("PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT"):
        text = environ.get(name) or "0"
        if not (text.isascii() and text.isdecimal() and int(text) < 65536):
            raise PluginError(f"{name} is {text!r}; expected a port, 0 to 65535")
        bounds.append(int(text))
    if bounds[0] > bounds[1]:
        raise PluginError(f"PLUGIN_MIN_PORT {bounds[0]} is above PLUGIN_MAX_PORT {bounds[1]}")
    return range(bounds[0], bounds[1] + 1)
