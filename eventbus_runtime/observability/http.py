"""The HTTP endpoint: /livez, /readyz, /metrics and /status.

Import this module on use: starlette, uvicorn and prometheus_client come with it, and nothing that a worker needs
before its first delivery may wait for them.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventbus_runtime.counters import RuntimeView
from eventbus_runtime.errors import ConfigError, EventbusError, Problem
from eventbus_runtime.observability.metrics import render

_CLOSE_SECONDS = 0.5


async def serve(
    view: RuntimeView, *, address: str, token: SecretStr | None, public: bool, started: Callable[[str], None]
) -> None:
    """Answer HTTP until cancelled, in the caller's task and event loop. Signals are left alone.

    Args:
        view: the running runtime.
        address: where to listen, as `parse_address` reads it; port 0 takes a free one.
        token: opens /status to those who send it, where the address is reachable from other machines.
        public: opens /status to all.
        started: called once connections are answered, with the address that was bound, as `127.0.0.1:8080`.

    Raises:
        ConfigError: `address` is not an address.
        EventbusError: the address can't be bound.
    """
    with await _listen(address) as listener:
        bound = listener.getsockname()[:2]
        app = application(view, protected=not public and not _is_loopback(bound[0]), token=token)
        server = _Server(app, lambda: started(_address(*bound)))
        try:
            await server.serve(sockets=[listener])
        finally:
            with anyio.CancelScope(shield=True):
                await server.close()


def application(view: RuntimeView, *, protected: bool, token: SecretStr | None) -> Starlette:
    """The endpoint as an ASGI application.

    Args:
        view: the running runtime.
        protected: /status answers 403, unless `token` is set and the request bears it.
        token: what `Authorization: Bearer` must hold.
    """

    async def livez(_request: Request) -> Response:
        return _json({"live": True})  # the event loop runs, or nothing would answer

    async def readyz(_request: Request) -> Response:
        reasons = view.unready()
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(request: Request) -> Response:
        body, content_type = render(view, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def status(request: Request) -> Response:
        if protected and not _bears(request, token):
            raise HTTPException(
                403,
                "/status is closed to other machines: send runtime.http_token as `Authorization: Bearer`, "
                "or set runtime.http_public",
            )
        return _json(view.status())

    endpoints = (livez, readyz, metrics, status)
    return Starlette(
        routes=[Route(f"/{endpoint.__name__}", endpoint) for endpoint in endpoints],
        exception_handlers={HTTPException: _refuse},
    )


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:8080`, `localhost:8080`, `[::1]:8080` or `:8080` (an empty host: all addresses).

    Raises:
        ConfigError: it is none of these.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit() and int(port) < 65536) or (":" in host and not bracketed):
        text = f'{address!r} is no address; expected host and port, as "127.0.0.1:8080", "[::1]:8080" or ":8080"'
        raise ConfigError([Problem("", "runtime.http", text)])
    return host[1:-1] if bracketed else host, int(port)


class _Server(uvicorn.Server):
    """uvicorn as a guest: the event loop, the signals and the loggers are the host's."""

    def __init__(self, app: Starlette, started: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
        )
        super().__init__(config)
        self.servers: list[asyncio.Server] = []
        self._tell_started = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Not ours to capture: SIGTERM drains the whole runtime, and this endpoint goes last."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then tell."""
        await super().startup(sockets)
        self._tell_started()

    async def close(self) -> None:
        """Stop within a second, and leave neither connection nor task.

        uvicorn's own `shutdown` polls, and waits for clients that do not read their answer.
        """
        for server in self.servers:
            server.close()
        if tasks := list(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if tasks := list(self.server_state.tasks):  # they waited for their client only, who is gone now
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        await asyncio.sleep(0)  # a closed transport lets go of its socket in the next turn


async def _listen(address: str) -> socket.socket:
    host, port = parse_address(address)
    try:
        if host in ("", "::") and socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        found = await asyncio.get_running_loop().getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)
        family, _, _, _, where = found[0]
        return socket.create_server(where, family=family)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]  # the rest repeats the address
        raise EventbusError(
            f"runtime.http: can't listen on {address}: {reason}. "
            "Give another address, or port 0 for any free port, or leave it out to have no HTTP endpoint"
        ) from error


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bears(request: Request, token: SecretStr | None) -> bool:
    secret = token.get_secret_value() if token else ""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # An empty token would open to everyone. Header values arrive as latin-1, whatever their bytes are.
    return (
        bool(secret)
        and scheme.lower() == "bearer"
        and hmac.compare_digest(given.strip().encode("latin-1"), secret.encode())
    )


def _json(content: object, status_code: int = 200) -> Response:
    # Not JSONResponse: it fails on a subject whose bytes are not UTF-8, which we keep as surrogate escapes.
    return Response(json.dumps(content), status_code, media_type="application/json")


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _json({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    return response
