"""A probe of real servers: what it finds, and that it never takes longer than it may (S-14)."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.provisioning import probe as module
from eventbus_runtime.provisioning.probe import Health, Probed, masked, probe
from eventbus_runtime.testing.server import NatsServer, free_port
from tests.buses.credentials import Certificates
from tests.buses.helpers import frozen
from tests.cluster import cluster_of_three, meta_leader, once_complete
from tests.conftest import MakeServer
from tests.triggers.live import connected

pytestmark = pytest.mark.timed  # each of them holds the probe to its limit

LIMIT = 3.0
ALONE = "the server sees no other of its cluster, so that there is no quorum"


@pytest.fixture(autouse=True)
def _nobodys_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 8222 of this machine may be anybody's."""
    monkeypatch.setattr(module, "MONITOR_PORT", free_port())


@contextmanager
def within(limit: float) -> Iterator[None]:
    """Fail where the block takes longer."""
    began = monotonic()
    yield
    assert monotonic() - began <= limit


async def probed(uri: str, limit: float = LIMIT, monitor: str = "", config: BusConfig | None = None) -> Probed:
    """The result of a probe that took no longer than it may, and left nothing behind."""
    with within(limit):
        found = await probe(uri, timeout=limit, monitor=monitor, config=config)
    assert found.seconds <= limit
    return found


@pytest.mark.seed("S-14")
async def test_a_healthy_server(server: NatsServer) -> None:
    """S-14."""
    found = await probed(server.url)
    assert (found.uri, found.status, found.error) == (server.url, Health.HEALTHY, "")
    assert found.server_version.startswith("2.")
    assert 0 < found.round_trip < found.seconds
    assert len(asyncio.all_tasks()) == 1


async def test_an_address_without_a_scheme_is_a_nats_address(server: NatsServer) -> None:
    assert (await probed(f"127.0.0.1:{server.port}")).status is Health.HEALTHY


@pytest.mark.seed("S-14")
async def test_a_server_without_jetstream_is_degraded(make_server: MakeServer) -> None:
    """S-14."""
    found = await probed(make_server(jetstream=False).url)
    assert (found.status, found.error) == (
        Health.DEGRADED,
        "JetStream is off on this server, or for this account",
    )
    assert found.server_version


async def test_a_closed_port_is_unreachable_at_once() -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    found = await probed(url)
    assert (found.status, found.error, found.server_version) == (
        Health.UNREACHABLE,
        f"{url}: connection refused",
        "",
    )
    assert found.seconds < LIMIT / 2


@pytest.mark.seed("S-14")
@pytest.mark.parametrize("limit", [0.5, 1.0])
async def test_a_port_that_accepts_and_says_nothing_is_unreachable_in_time(limit: float) -> None:
    """S-14."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as mute:
        url = f"nats://127.0.0.1:{mute.sockets[0].getsockname()[1]}"
        found = await probed(url, limit)
        assert (found.status, found.error) == (Health.UNREACHABLE, f"{url}: no answer in time")


async def test_a_server_that_does_nothing_is_unreachable_in_time(server: NatsServer) -> None:
    with frozen(server):
        found = await probed(server.url, 1.0)
    assert (found.status, found.error) == (Health.UNREACHABLE, f"{server.url}: no answer in time")


async def test_a_server_that_falls_silent_after_the_greeting_is_unreachable_in_time() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"jetstream":true}\r\n')
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as plain:
        found = await probed(f"nats://127.0.0.1:{plain.sockets[0].getsockname()[1]}", 3.0)
    assert (found.status, found.error) == (
        Health.UNREACHABLE,
        "the server took the connection, and does not answer a PING",
    )


async def test_something_that_is_no_nats_server_is_unreachable() -> None:
    def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        found = await probed(f"nats://127.0.0.1:{other.sockets[0].getsockname()[1]}")
    assert found.status is Health.UNREACHABLE
    assert "expecting INFO" in found.error


async def test_an_unknown_host_is_unreachable() -> None:
    found = await probed("nats://no-such-host.invalid:4222")
    assert (found.status, found.error) == (
        Health.UNREACHABLE,
        "nats://no-such-host.invalid:4222: the host name is not known",
    )


async def test_wrong_credentials_are_unreachable_and_not_shown(make_server: MakeServer) -> None:
    server = make_server('authorization { user: "me", password: "hunter2" }')
    address = f"127.0.0.1:{server.port}"
    good = await probed(f"nats://me:hunter2@{address}")
    assert (good.uri, good.status) == (f"nats://********@{address}", Health.HEALTHY)
    for wrong in ("nats://me:hunter3@", "nats://"):
        found = await probed(f"{wrong}{address}")
        assert (found.status, found.error) == (
            Health.UNREACHABLE,
            "the server refuses the credentials, or wants some",
        )
        assert "hunter3" not in repr(found)


@pytest.mark.seed("S-14")
@pytest.mark.parametrize(
    "uri", ["", "  ", "http://x", "nats://", "nats://me:hun/ter2@host", "nats://a:99999", "nats://a:1,nats://b:2"]
)
async def test_what_is_no_address_is_unreachable_and_its_password_not_shown(uri: str) -> None:
    """S-14."""
    found = await probed(uri)
    assert found.status is Health.UNREACHABLE
    assert found.error in (
        "there is no address: the uri is empty",
        "the uri is not an address; write one server's, as nats://HOST:4222 or tls://HOST:4222",
    )
    assert "ter2" not in repr(found)


def test_credentials_are_masked_however_they_look() -> None:
    assert masked("nats://a:b@h:1") == masked("nats://a:b@c@h:1") == masked("nats://a:b/@h:1") == "nats://********@h:1"
    assert masked("a:b@h") == "********@h"
    assert masked("nats://h:1") == "nats://h:1"


async def test_tls(make_server: MakeServer, tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path, "DNS:localhost")
    server = make_server(certificates.server_config())
    trusting = BusConfig.model_validate({"tls": {"ca": str(certificates.ca)}})
    found = await probed(f"tls://localhost:{server.port}", config=trusting)
    assert (found.status, found.error) == (Health.HEALTHY, "")
    stranger = await probed(f"tls://localhost:{server.port}")
    assert stranger.status is Health.UNREACHABLE
    assert "the server's certificate is not trusted" in stranger.error
    gc.collect()


def denied(subject: str) -> str:
    """Configuration of a server whose user may not publish to a subject."""
    permissions = f'{{ publish: {{ deny: ["{subject}"] }} }}'
    return f"authorization {{ users: [ {{ user: u, password: p, permissions: {permissions} }} ] }}"


async def test_a_user_that_may_not_ask_for_jetstream_is_told_so(make_server: MakeServer) -> None:
    found = await probed(f"nats://u:p@127.0.0.1:{make_server(denied('$JS.API.INFO')).port}")
    assert found.status is Health.DEGRADED
    assert found.error.startswith("the server does not permit it to publish to '$JS.API.INFO'")


async def test_a_user_that_may_not_list_streams_finds_a_healthy_server(make_server: MakeServer) -> None:
    found = await probed(f"nats://u:p@127.0.0.1:{make_server(denied('$JS.API.STREAM.LIST')).port}")
    assert (found.status, found.error) == (Health.HEALTHY, "")


async def test_more_streams_than_one_answer_holds(server: NatsServer) -> None:
    async with connected(server.url) as bus:
        for number in range(260):
            await bus.api(f"STREAM.CREATE.S{number}", {"name": f"S{number}", "subjects": [f"s.{number}"]})
    assert (await probed(server.url, 10.0)).status is Health.HEALTHY


@pytest.mark.seed("S-14")
async def test_a_monitor_that_is_named_counts(make_server: MakeServer) -> None:
    """S-14."""
    port = free_port()
    server = make_server(f'http: "127.0.0.1:{port}"')
    found = await probed(server.url, monitor=f"http://127.0.0.1:{port}/")
    assert (found.status, found.error) == (Health.HEALTHY, "")
    closed = f"http://127.0.0.1:{free_port()}"
    missing = await probed(server.url, monitor=closed)
    assert missing.status is Health.DEGRADED
    assert missing.error.startswith(f"the monitor {closed} does not answer: ")
    assert (await probed(server.url, monitor=f"http://127.0.0.1:{server.port}")).error == (
        f"the monitor http://127.0.0.1:{server.port} does not answer: what answers there is no monitor"
    )
    assert "the monitor's address ftp://x is none" in (await probed(server.url, monitor="ftp://x")).error


def member_without_peers(monitor: int) -> str:
    """Configuration of a server whose cluster has never formed: it runs, and its /healthz is 503."""
    route = f"nats://127.0.0.1:{free_port()}"
    return (
        f'server_name: alone\nhttp: "127.0.0.1:{monitor}"\n'
        f'cluster {{ name: c, listen: "127.0.0.1:{free_port()}", no_advertise: true, routes: ["{route}"] }}'
    )


@pytest.mark.seed("S-14")
async def test_the_usual_port_of_a_monitor_counts_only_where_it_is_the_same_servers(
    make_server: MakeServer, server: NatsServer
) -> None:
    """S-14."""
    sick = make_server(member_without_peers(module.MONITOR_PORT))
    found = await probed(sick.url)
    assert found.status is Health.DEGRADED
    assert "/healthz: JetStream" in found.error
    assert "JetStream has no meta leader: its cluster has no quorum, or elects" in found.error
    assert (await probed(server.url)).status is Health.HEALTHY, "what has that port is another server"


@pytest.mark.parametrize("survivor", ["the meta leader", "another"])
async def test_a_cluster_that_just_lost_its_quorum_is_degraded(survivor: str) -> None:
    async with cluster_of_three() as cluster:
        leader = await meta_leader(cluster.monitors["n1"])
        name = leader if survivor == "the meta leader" else next(name for name in cluster.nodes if name != leader)
        await until_healthy(cluster.nodes[name].url)
        for node in cluster.others(name):
            node.kill()
        found = await not_healthy(cluster.nodes[name].url)
        assert found.status is Health.DEGRADED
        assert ALONE in found.error or (name != leader and "as where it has no meta leader" in found.error)


async def test_where_nodes_do_not_tell_of_each_other_the_monitor_shows_a_quorum_that_was_just_lost() -> None:
    async with cluster_of_three(advertise=False) as cluster:
        leader = await meta_leader(cluster.monitors["n1"])
        url, monitor = cluster.nodes[leader].url, cluster.monitors[leader]
        await until_healthy(url)
        for node in cluster.others(leader):
            node.kill()
        found = await not_healthy(url, monitor)
        assert found.status is Health.DEGRADED
        assert ALONE in found.error


@pytest.mark.seed("S-14")
async def test_a_replica_that_is_gone_degrades_its_stream_and_the_meta_group() -> None:
    """S-14."""
    async with cluster_of_three() as cluster:
        leader = await meta_leader(cluster.monitors["n1"])
        async with NatsBus("main", BusConfig(), urls=[cluster.nodes[leader].url]) as bus:
            await bus.wait_connected()
            stream = {"name": "S", "subjects": ["s"], "num_replicas": 3}
            made = await once_complete(lambda: bus.api("STREAM.CREATE.S", stream))
            gone = next(name for name in cluster.nodes if name not in (leader, made["cluster"]["leader"]))
        url, monitor = cluster.nodes[leader].url, cluster.monitors[leader]
        await until_healthy(url, monitor)
        cluster.nodes[gone].kill()
        async with asyncio.timeout(30):
            while (found := await probed(url, monitor=monitor)).error.count(f"replica {gone}") < 2:
                await asyncio.sleep(0.1)
        assert found.status is Health.DEGRADED
        assert f"stream S: replica {gone} " in found.error
        assert f"JetStream's meta group: replica {gone} " in found.error


async def not_healthy(url: str, monitor: str = "") -> Probed:
    """The first result that is not healthy: the server itself takes a moment to see that connections are gone. Far less
    than a leader takes to see that its quorum is."""
    async with asyncio.timeout(2 + LIMIT):
        while (found := await probed(url, monitor=monitor)).status is Health.HEALTHY:
            await asyncio.sleep(0.01)
    return found


async def until_healthy(url: str, monitor: str = "") -> None:
    """Return once all of a new cluster has heard of each other."""
    async with asyncio.timeout(20):
        while (await probed(url, monitor=monitor)).status is not Health.HEALTHY:
            await asyncio.sleep(0.05)
