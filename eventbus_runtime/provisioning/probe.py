"""What a NATS server is like at this moment (S-14): reached, with JetStream, with a meta leader, with all replicas.

It writes nothing: no stream, no consumer, no message.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import (
    AuthenticationError,
    BusError,
    BusUnavailableError,
    ConfigError,
    EventbusError,
    JetStreamDisabledError,
    NotPermittedError,
)
from eventbus_runtime.events import Fact, State, StateChanged

MONITOR_PORT = 8222
# Shares of the time limit by which it must be connected, be done with all questions, and give up; and to close.
_CONNECT, _ASK, _GIVE_UP, _CLOSE = 0.7, 0.84, 0.88, 0.1
# Seconds that a monitor gets that nobody asked for: a firewall may swallow the attempt.
_UNASKED = 1.0
# Nanoseconds. A leader hears of each replica every second (nats-server, server/raft.go: hbInterval).
_SILENT = 5 * 10**9
_NO_META_LEADER = 10008  # JSClusterNotAvailErr (nats-server, server/errors.json)
_OFF = "JetStream is off on this server, or for this account"
_ALONE = "the server sees no other of its cluster, so that there is no quorum"
_MOST = 1 << 22  # bytes that a monitor's answer may have


class Health(StrEnum):
    """What a probe finds."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"  # reached; but JetStream is off, has no leader, or a replica is missing or behind
    UNREACHABLE = "unreachable"  # no client gets through, or none with these credentials


class Probed(NamedTuple):
    """The result.

    Args:
        uri: the address, its credentials masked.
        status: what it is like.
        error: why it is not healthy; empty where it is.
        seconds: that the probe took.
        server_version: of the server; empty where it was not reached.
        round_trip: seconds from a PING to its answer; 0 where there was none.
    """

    uri: str
    status: Health
    error: str
    seconds: float
    server_version: str = ""
    round_trip: float = 0.0


async def probe(uri: str, *, timeout: float = 5.0, monitor: str = "", config: BusConfig | None = None) -> Probed:
    """Connect, ping, ask JetStream and, where there is one, the monitor. One attempt; says nothing by an exception.

    Wrong credentials are `unreachable`: who can't get in knows nothing of JetStream, and can't work there.

    Args:
        uri: one address, as `nats://user:password@host:4222` or `tls://host`.
        timeout: seconds, never exceeded. Below 2 s a cluster has hardly time to say which of its streams are missing.
        monitor: address of the monitor, as `http://host:8222`. Left out, port 8222 of the same host is asked, and
            counts only if it is the same server's: another may have that port.
        config: credentials and TLS, as a bus's section has them; left out: what the address says.
    """
    began, shown = monotonic(), masked(uri)
    try:
        check_address(uri)
        if monitor:
            check_monitor(monitor)
        bus = NatsBus("probe", _section(config, timeout), urls=[uri], tell=(first := _FirstState()))
    except ConfigError as error:
        return Probed(shown, Health.UNREACHABLE, str(error), monotonic() - began)
    look = _Look(bus, began + timeout * _ASK)
    await bus.__aenter__()
    try:
        async with asyncio.timeout(timeout * _GIVE_UP):
            await look.connect(first)
            await look.ask(monitor, urlsplit(uri if "://" in uri else f"nats://{uri}").hostname or "")
    except (EventbusError, TimeoutError) as error:
        look.complaints.append(str(error) or f"{shown}: no answer in time")
    finally:
        await bus.close(timeout * _CLOSE)
    status = Health.UNREACHABLE if not look.round_trip else Health.DEGRADED if look.complaints else Health.HEALTHY
    return Probed(shown, status, "; ".join(look.complaints), monotonic() - began, look.version, look.round_trip)


def masked(uri: str) -> str:
    """An address without the credentials in it."""
    return re.sub(r"^([A-Za-z]+://)?.*@", r"\1********@", uri, flags=re.DOTALL)


def check_address(uri: str) -> None:
    """Make sure that something can be probed at all.

    Raises:
        ConfigError: it is empty, or not one address. Does not show it: it may hold a password.
    """
    if not uri.strip():
        raise ConfigError("there is no address: the uri is empty")
    try:
        parts = urlsplit(uri if "://" in uri else f"nats://{uri}")
        is_good = parts.scheme in ("nats", "tls") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good or "," in uri.rpartition("@")[2]:
        raise ConfigError("the uri is not an address; write one server's, as nats://HOST:4222 or tls://HOST:4222")


def check_monitor(url: str) -> None:
    """Make sure that an address can be a monitor's.

    Raises:
        ConfigError: it can't.
    """
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good:
        raise ConfigError(f"the monitor's address {masked(url)} is none; write http://HOST:{MONITOR_PORT}")


def _section(config: BusConfig | None, timeout: float) -> BusConfig:
    return (config or BusConfig()).model_copy(update={"connect_timeout": timeout * _CONNECT})


class _FirstState:
    """A bus's first state after its start: one attempt is all that a probe makes."""

    def __init__(self) -> None:
        self.there = asyncio.Event()

    def __call__(self, fact: Fact) -> None:
        if isinstance(fact, StateChanged):
            self.there.set()


class _Look:
    """One look at a server.

    Args:
        bus: entered later.
        deadline: by `monotonic`, for the last answer.
    """

    def __init__(self, bus: NatsBus, deadline: float) -> None:
        self._bus = bus
        self._deadline = deadline
        self.complaints: list[str] = []
        self.version = ""
        self.round_trip = 0.0

    @property
    def _left(self) -> float:
        return max(0.01, round(self._deadline - monotonic(), 2))

    async def connect(self, first: _FirstState) -> None:
        """Connect, and measure a round trip.

        Raises:
            BusError, ConfigError: no client gets in.
        """
        await first.there.wait()
        if self._bus.state is State.FAILED:
            try:
                await self._bus.wait_connected()
            except AuthenticationError:
                raise AuthenticationError("the server refuses the credentials, or wants some") from None
        if self._bus.state is not State.RUNNING:
            raise BusUnavailableError(self._bus.reason)
        self.version, began = self._bus.server_version, monotonic()
        if not await self._bus.ping(self._left):
            raise BusUnavailableError("the server took the connection, and does not answer a PING")
        self.round_trip = monotonic() - began

    async def ask(self, monitor: str, host: str) -> None:
        """Ask JetStream and the monitor, side by side, and note what is wrong."""
        said, (seen, has_gateways) = await asyncio.gather(self._jetstream(), self._monitor(monitor, host))
        server = self._bus.server_info
        alone = bool(server.get("cluster")) and len(server.get("connect_urls") or ()) == 1
        # A quorum that was just lost is noticed by a leader only after 10 to 20 s.
        if alone and not has_gateways and server.get("jetstream"):
            said = [*said, _ALONE]
        self.complaints += dict.fromkeys((*said, *seen))

    async def _jetstream(self) -> list[str]:
        try:
            await self._bus.api("INFO", timeout=self._left)
            return await self._streams()
        except JetStreamDisabledError:
            return [_OFF]
        except BusError as error:
            if getattr(error, "err_code", 0) == _NO_META_LEADER:
                return ["JetStream has no meta leader: its cluster has no quorum, or elects"]
            if isinstance(error, NotPermittedError):
                return [str(error)]
            if isinstance(error, BusUnavailableError) and not self._bus.server_info.get("jetstream"):
                return [_OFF]  # as a member of a cluster 2.9 does not even say that nobody listens
            if isinstance(error, BusUnavailableError):
                return [f"{error}, as where it has no meta leader"]
            return [str(error)]

    async def _streams(self) -> list[str]:
        """What is wrong with the account's streams, as their leaders see their replicas."""
        found, offset = list[str](), 0
        while True:
            try:
                answer = await self._bus.api("STREAM.LIST", {"offset": offset}, timeout=self._left)
            except NotPermittedError:
                return found  # a user that may only work on streams is no fault of the server
            streams = answer.get("streams") or ()
            found += (f"stream {name} does not answer" for name in answer.get("missing") or ())
            for stream in streams:
                cluster = stream.get("cluster") or {}
                if "leader" not in cluster and cluster.get("replicas"):
                    found.append(f"stream {stream['config']['name']} has no leader")
                found += _behind(f"stream {stream['config']['name']}", cluster.get("replicas") or ())
            offset += len(streams)
            if not streams or offset >= answer.get("total", 0):
                return found

    async def _monitor(self, url: str, host: str) -> tuple[list[str], bool]:
        """What the monitor says, and whether it tells of gateways."""
        asked = url.rstrip("/") or f"http://{f'[{host}]' if ':' in host else host}:{MONITOR_PORT}"
        try:
            async with asyncio.timeout(self._left if url else min(_UNASKED, self._left / 2)):
                return await self._monitored(asked, is_given=bool(url))
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:  # TimeoutError is an OSError
            why = str(error) or "no answer in time"
            return ([f"the monitor {masked(asked)} does not answer: {why}"] if url else []), False

    async def _monitored(self, url: str, *, is_given: bool) -> tuple[list[str], bool]:
        _, server = await _get(f"{url}/varz")
        if not is_given and server.get("server_id") != self._bus.server_info.get("server_id"):
            return [], False
        code, health = await _get(f"{url}/healthz")
        found = [] if code == 200 else [f"/healthz: {health.get('error') or health.get('status') or code}"]
        _, jetstream = await _get(f"{url}/jsz")
        meta = jetstream.get("meta_cluster") or {}
        if meta and not meta.get("leader"):
            found.append("JetStream has no meta leader: its cluster has no quorum, or elects")
        elif meta.get("leader") == server.get("server_name"):  # the others know nothing of each other
            found += _behind("JetStream's meta group", meta.get("replicas") or ())
        has_gateways = bool((server.get("gateway") or {}).get("name"))
        if meta.get("cluster_size", 0) > 1 and not server.get("routes") and not has_gateways:
            found.append(_ALONE)
        return found, has_gateways


def _behind(what: str, replicas: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for replica in replicas:
        name = replica.get("name", "?")
        if replica.get("offline"):
            yield f"{what}: replica {name} is offline"
        elif not replica.get("current") or replica.get("active", 0) > _SILENT:
            yield f"{what}: replica {name} lags behind"


async def _get(url: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an address.

    Raises:
        OSError: nobody answers.
        ValueError: what answers is no monitor.
    """
    parts = urlsplit(url)
    is_encrypted = parts.scheme == "https"
    port = parts.port or (443 if is_encrypted else 80)
    context = ssl.create_default_context() if is_encrypted else None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    try:
        host = parts.netloc.rpartition("@")[2]
        # HTTP/1.0: the answer ends with the connection, and is not chunked.
        writer.write(f"GET {parts.path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = b""
        while part := await reader.read(65536):
            answer += part
            if len(answer) > _MOST:
                raise ValueError("what answers there is no monitor")
    finally:
        writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.\d (\d{3})", head)
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not found or not isinstance(said, dict):
        raise ValueError("what answers there is no monitor")
    return int(found[1]), said
