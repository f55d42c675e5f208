"""Encryption: what is trusted, what is shown, and that nothing goes out in the clear."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from eventbus_runtime.errors import ConfigError
from eventbus_runtime.events import State
from tests.buses.credentials import Certificates
from tests.buses.helpers import Facts, bus_on, server_version, written
from tests.conftest import MakeServer


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("tls"), "DNS:localhost", "DNS:bus.example")


async def test_a_server_of_the_trusted_authority_is_connected_to(
    make_server: MakeServer, certificates: Certificates
) -> None:
    server = make_server(certificates.server_config())
    for scheme in ("nats", "tls"):
        url = f"{scheme}://localhost:{server.port}"
        async with bus_on(url, tls={"ca": str(certificates.ca)}) as bus:
            await bus.wait_connected()
            assert bus.url == url
            await bus.api("STREAM.LIST")
    gc.collect()


async def test_the_handshake_may_come_first(make_server: MakeServer, certificates: Certificates) -> None:
    """A server before 2.10.4 can't be set so; the next test shows what is said of it."""
    config = certificates.server_config("handshake_first: true")
    if server_version() < (2, 10, 4):
        with pytest.raises(RuntimeError, match=r'unknown field \["handshake_first"\]'):
            make_server(config, jetstream=False)
        return
    server = make_server(config, jetstream=False)
    tls = {"ca": str(certificates.ca), "handshake_first": True}
    async with bus_on(f"nats://localhost:{server.port}", tls=tls) as bus:
        await bus.wait_connected()
        assert await bus.ping()


async def test_a_server_that_does_not_take_the_handshake_first_is_retried_and_the_key_named(
    make_server: MakeServer, certificates: Certificates
) -> None:
    server = make_server(certificates.server_config())
    facts = Facts()
    tls = {"ca": str(certificates.ca), "handshake_first": True}
    async with bus_on(f"nats://localhost:{server.port}", tls=tls, connect_timeout=1, tell=facts) as bus:
        await facts.until_state(State.BACKING_OFF)
        assert "; buses.main.tls.handshake_first wants a server that has it too (nats-server 2.10.4" in bus.reason
    gc.collect()


async def test_a_name_may_be_given_that_is_not_the_hosts(make_server: MakeServer, certificates: Certificates) -> None:
    server = make_server(certificates.server_config())
    async with bus_on(server.url, tls={"ca": str(certificates.ca), "hostname": "bus.example"}) as bus:
        await bus.wait_connected()
        assert await bus.ping()


async def test_a_client_certificate_is_shown(make_server: MakeServer, certificates: Certificates) -> None:
    server = make_server(certificates.server_config("verify: true"))
    url, ca = f"nats://localhost:{server.port}", str(certificates.ca)
    shown = {"ca": ca, "cert": str(certificates.client), "key": str(certificates.client_key)}
    async with bus_on(url, tls=shown) as bus:
        await bus.wait_connected()
    facts = Facts()
    async with bus_on(url, tls={"ca": ca}, tell=facts) as bus:
        await facts.until_state(State.BACKING_OFF)
        assert "TLS" in bus.reason or "certificate" in bus.reason or "closed" in bus.reason


@pytest.mark.parametrize(
    ("host", "trusted", "said"),
    [("localhost", False, "is not trusted: "), ("127.0.0.1", True, "is not trusted: IP address mismatch")],
    ids=["stranger", "other name"],
)
async def test_a_server_that_is_not_trusted_is_retried_and_named(
    make_server: MakeServer, certificates: Certificates, host: str, trusted: bool, said: str
) -> None:
    server = make_server(certificates.server_config())
    facts = Facts()
    tls = {"ca": str(certificates.ca)} if trusted else {}
    async with bus_on(f"nats://{host}:{server.port}", tls=tls, tell=facts) as bus:
        await facts.until_state(State.BACKING_OFF)
        assert said in bus.reason
    gc.collect()


@pytest.mark.parametrize(("scheme", "tls"), [("nats", {}), ("tls", None)])
async def test_credentials_do_not_go_out_in_the_clear(scheme: str, tls: dict[str, str] | None) -> None:
    """A bus that asks for TLS says nothing to a server that does not offer it."""
    said: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576}\r\n')
        said.append(await reader.read())
        writer.close()

    facts = Facts()
    plain = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with plain:
        url = f"{scheme}://127.0.0.1:{plain.sockets[0].getsockname()[1]}"
        async with bus_on(url, tls=tls, auth={"user": "a", "password": "secret"}, tell=facts) as bus:
            await facts.until_state(State.BACKING_OFF)
            assert "does not offer TLS" in bus.reason
    assert b"".join(said) == b""


async def test_a_server_that_leaves_the_choice_is_encrypted_with(
    make_server: MakeServer, certificates: Certificates
) -> None:
    server = make_server(f"allow_non_tls: true\n{certificates.server_config()}")
    async with bus_on(f"nats://localhost:{server.port}", tls={"ca": str(certificates.ca)}) as bus:
        await bus.wait_connected()
        transport = bus._life.live().client._transport
        assert transport is not None
        assert transport._io_writer.get_extra_info("cipher")  # type: ignore[attr-defined]


async def test_a_lost_encrypted_connection_comes_back(make_server: MakeServer, certificates: Certificates) -> None:
    server = make_server(certificates.server_config())
    facts = Facts()
    async with bus_on(f"tls://localhost:{server.port}", tls={"ca": str(certificates.ca)}, tell=facts) as bus:
        await bus.wait_connected()
        server.kill()
        await facts.until_state(State.BACKING_OFF)
        server.start()
        await bus.wait_connected()
        assert await bus.ping()
    assert len(asyncio.all_tasks()) == 1
    gc.collect()


async def test_pem_files_that_can_not_be_used_are_named(tmp_path: Path, certificates: Certificates) -> None:
    bad, absent = written(tmp_path / "bad.pem", "no pem"), tmp_path / "absent.pem"
    for tls, said in (
        ({"ca": absent}, rf"buses\.main\.tls\.ca: {absent} can't be used: No such file"),
        ({"ca": bad}, rf"buses\.main\.tls\.ca: {bad} can't be used: not PEM"),
        ({"cert": absent}, rf"buses\.main\.tls\.cert: {absent} can't be used: No such file"),
        ({"cert": certificates.client, "key": bad}, r"buses\.main\.tls\.cert: .* can't be used: not PEM"),
        ({"cert": certificates.client}, r"buses\.main\.tls\.cert: .* can't be used: not PEM"),
    ):
        async with bus_on("nats://127.0.0.1:1", tls={key: str(path) for key, path in tls.items()}) as bus:
            with pytest.raises(ConfigError, match=said):
                await bus.wait_connected()
