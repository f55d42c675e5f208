"""The first connection: states, addresses, several first uses, what is fatal."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

import pytest
from nats.aio.client import Client

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.nats import connection, reader
from eventbus_runtime.errors import BusError, BusUnavailableError, ConfigError
from eventbus_runtime.events import State, StateChanged
from eventbus_runtime.testing.server import NatsServer, free_port
from tests.buses.helpers import Facts, bus_on, poll
from tests.conftest import MakeServer


def connections(monitor: int) -> list[dict[str, Any]]:
    """The server's own list of its clients."""
    with urllib.request.urlopen(f"http://127.0.0.1:{monitor}/connz") as answer:
        clients: list[dict[str, Any]] = json.load(answer)["connections"]
    return clients


async def test_a_bus_runs_once_connected_and_is_stopped_after_leaving(server: NatsServer) -> None:
    facts = Facts()
    bus = bus_on(server.url, tell=facts)
    assert bus.state is State.STARTING
    async with bus:
        assert not bus.is_connected, "entering does not wait for the connection"
        await bus.wait_connected()
        assert (bus.state, bus.is_connected, bus.url) == (State.RUNNING, True, server.url)
        assert bus.server_version.startswith("2.")
        assert bus.max_payload == 1 << 20
    assert (bus.state, bus.is_connected, bus.url, bus.server_version) == (State.STOPPED, False, "", "")
    assert facts.states == [State.RUNNING, State.STOPPED]


@pytest.mark.seed("S-24")
async def test_an_unreachable_bus_is_retried_until_it_is_there() -> None:
    """S-24: reconnects for ever."""
    server = NatsServer()
    facts = Facts()
    try:
        async with bus_on(server.url, tell=facts) as bus:
            fact = await facts.until_state(State.BACKING_OFF)
            assert isinstance(fact, StateChanged)
            assert fact.reason == f"{server.url}: connection refused"
            with pytest.raises(BusUnavailableError, match=r"'main' is not connected .*connection refused"):
                await bus.publish("orders.created", b"")
            server.start()
            await bus.wait_connected()
            assert bus.reason == ""
        # One fact a change, however many attempts.
        assert facts.states == [State.BACKING_OFF, State.RUNNING, State.STOPPED]
    finally:
        server.remove()


@pytest.mark.seed("S-24")
async def test_a_server_that_says_nothing_ends_the_attempt_in_time() -> None:
    """S-24."""
    facts = Facts()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    mute = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with mute:
        port = mute.sockets[0].getsockname()[1]
        async with bus_on(f"nats://127.0.0.1:{port}", tell=facts, connect_timeout=0.05) as bus:
            await facts.until_state(State.BACKING_OFF)
            assert bus.reason == f"nats://127.0.0.1:{port}: no answer in time"


async def test_something_that_is_no_nats_server_is_named_and_retried() -> None:
    facts = Facts()

    def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    other = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with other:
        port = other.sockets[0].getsockname()[1]
        async with bus_on(f"nats://127.0.0.1:{port}", tell=facts) as bus:
            await facts.until_state(State.BACKING_OFF)
            assert "expecting INFO" in bus.reason


async def test_of_several_addresses_a_dead_one_does_not_matter(server: NatsServer) -> None:
    dead = [f"nats://127.0.0.1:{free_port()}" for _ in range(3)]
    async with bus_on(*dead, server.url) as bus:
        await bus.wait_connected()
        assert bus.url == server.url


async def test_addresses_that_are_dead_unknown_or_mute_do_not_matter_at_the_start_nor_after_a_break(
    server: NatsServer,
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as mute:
        bad = (
            f"nats://127.0.0.1:{free_port()}",
            "nats://no-such-host.invalid:4222",
            f"nats://127.0.0.1:{mute.sockets[0].getsockname()[1]}",
        )
        async with bus_on(*bad, server.url, connect_timeout=0.3) as bus:
            await bus.wait_connected()
            server.kill()
            await poll(lambda: not bus.is_connected)
            server.start()
            await bus.wait_connected()
            assert (bus.url, bus.counters.reconnects) == (server.url, 1)


async def test_an_address_without_scheme_and_one_with_a_name_will_do(server: NatsServer) -> None:
    for address in (f"127.0.0.1:{server.port}", f"nats://localhost:{server.port}"):
        async with bus_on(address) as bus:
            await bus.wait_connected()
            assert await bus.ping()


async def test_the_bus_moves_to_a_server_that_the_first_one_told_of(make_server: MakeServer) -> None:
    routes = [free_port(), free_port()]
    joined = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    cluster = 'cluster {{ name: c, listen: "127.0.0.1:{}", routes: [{}] }}'
    first, second = (make_server(cluster.format(port, joined), jetstream=False) for port in routes)
    async with bus_on(first.url) as bus:
        await bus.wait_connected()
        client = bus._life.link.client if bus._life.link else Client()
        async with asyncio.timeout(10):
            while not client.discovered_servers:
                await bus.ping()
        first.kill()
        async with asyncio.timeout(10):
            while bus.url != second.url:
                await asyncio.sleep(0.01)
        assert bus.counters.reconnects == 1


@pytest.mark.seed("S-24")
async def test_two_concurrent_first_uses_leave_one_connection(make_server: MakeServer) -> None:
    """S-24: one connection per bus."""
    monitor = free_port()
    server = make_server(f'http: "127.0.0.1:{monitor}"')

    async with bus_on(server.url) as bus:
        await asyncio.gather(bus.wait_connected(), bus.wait_connected())
        await asyncio.gather(bus.api("INFO"), bus.api("INFO"))
        assert [there["name"] for there in connections(monitor)] == ["main"]


async def test_the_connection_bears_the_configured_name(make_server: MakeServer) -> None:
    monitor = free_port()
    server = make_server(f'http: "127.0.0.1:{monitor}"')
    sections: list[tuple[dict[str, Any], str]] = [({}, "main"), ({"name": "billing"}, "billing")]
    for section, expected in sections:
        async with bus_on(server.url, **section) as bus:
            await bus.wait_connected()
            assert [there["name"] for there in connections(monitor)] == [expected]


@pytest.mark.seed("S-23")
def test_a_bus_without_an_address_names_both_variables() -> None:
    """S-23: what needs a connection fails, naming both variables."""
    with pytest.raises(ConfigError, match=r"buses\.main\.url: .*EVENTBUS_MAIN_URI, or NATS_URL"):
        bus_on()


@pytest.mark.parametrize("url", ["http://127.0.0.1:4222", "nats://", "nats://h:port", "nats://[::1", "ws://127.0.0.1"])
def test_an_address_that_can_not_be_used_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"buses\.main\.url: .*nats://HOST:PORT"):
        bus_on(url)


@pytest.mark.parametrize(
    ("key", "value"), [("inbox_prefix", "my inbox"), ("inbox_prefix", "a.*"), ("api_prefix", ""), ("domain", "a\r\nb")]
)
def test_a_name_that_can_not_be_part_of_a_subject_is_refused(key: str, value: str) -> None:
    section: dict[str, Any] = {key: value}
    with pytest.raises(ConfigError, match=rf"buses\.main\.{key}: .* must not be empty, nor hold spaces"):
        bus_on("nats://127.0.0.1:4222", **section)


def test_a_nats_bus_is_a_bus() -> None:
    """The type checker holds it to the protocol."""
    bus: Bus = bus_on("nats://ann:secret@127.0.0.1:4222")
    assert bus.name == "main"
    assert "secret" not in repr(vars(bus))


@pytest.mark.parametrize("url", ["nats://h:4222", "tls://to%2Fken@h:1", "nats://ann:se%40cr%3Aet@[::1]:4222"])
def test_a_buss_addresses_are_those_that_it_was_given(url: str) -> None:
    """A child process gets them."""
    assert bus_on(url).urls == (url,)


async def test_a_bug_in_what_keeps_the_connection_is_seen_by_who_waits(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "keep_dialled", _broken)
    async with bus_on(server.url) as bus:
        with pytest.raises(BusError, match="bus 'main' broke down: RuntimeError: boom"):
            await bus.wait_connected()


async def _broken(*arguments: object) -> None:
    raise RuntimeError("boom")


async def test_a_nats_py_that_is_built_otherwise_is_named_with_its_version(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reader._METHODS, "_process_msg", ("sid", "message"))
    async with bus_on(server.url) as bus:
        with pytest.raises(BusError, match=r"nats-py \d+\.\d+.*_process_msg"):
            await bus.wait_connected()
        assert bus.state is State.FAILED


async def test_waiting_for_a_stopped_bus_ends(server: NatsServer) -> None:
    async with bus_on("nats://127.0.0.1:1") as bus:
        waiting = asyncio.ensure_future(bus.wait_connected())
        await asyncio.sleep(0)
    with pytest.raises(BusUnavailableError, match="stopped"):
        await waiting


async def test_entering_twice_is_an_error(server: NatsServer) -> None:
    bus = bus_on(server.url)
    async with bus:
        with pytest.raises(RuntimeError, match="entered before"):
            await bus.__aenter__()
