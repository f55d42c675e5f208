"""A connection that somebody else owns (S-24: used, never closed)."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import BusUnavailableError, NotPermittedError
from eventbus_runtime.events import State, Warned
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import Facts, Sink, poll
from tests.conftest import MakeServer

HOOKS = ("_disconnected_cb", "_reconnected_cb", "_closed_cb", "_error_cb")


async def quiet(error: Exception) -> None:
    """An error callback that does not log."""


async def connected(server: NatsServer, **options: Any) -> Client:
    return await nats.connect(server.url, error_cb=quiet, reconnect_time_wait=0, **options)


def hooks(client: Client) -> dict[str, object]:
    return {name: getattr(client, name) for name in (*HOOKS, "_ps")} | {
        "_process_msg": client.__dict__.get("_process_msg")
    }


@pytest.mark.seed("S-24")
async def test_it_is_used_and_given_back_as_it_was(server: NatsServer) -> None:
    """S-24."""
    client = await connected(server)
    before = hooks(client)
    async with NatsBus.adopt("main", client, config=BusConfig(inbox_prefix="_INBOX_x")) as bus:
        await bus.wait_connected()
        assert (bus.state, bus.url) == (State.RUNNING, server.url)
        await bus.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
        assert await bus.publish("s", b"1") == ("S", 1, False)
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        assert inbox.subject.startswith("_INBOX_x.")
        bus.send([Frame(inbox.subject, b"x")])
        assert await bus.ping()
        assert [raw[2] for raw in sink.all] == [b"x"]
        assert hooks(client) != before
    assert client.is_connected
    assert hooks(client) == before
    assert bus.state is State.STOPPED
    await client.flush()
    await client.close()


@pytest.mark.seed("S-24")
async def test_its_owner_goes_on_using_it(server: NatsServer) -> None:
    """S-24."""
    client = await connected(server)
    got: list[bytes] = []

    async def take(message: Msg) -> None:
        got.append(message.data)

    await client.subscribe("theirs", cb=take)
    async with NatsBus.adopt("main", client) as bus:
        await client.subscribe("later", cb=take)
        inbox = await bus.open_inbox(Sink())
        for subject in ("theirs", "later"):
            await client.publish(subject, subject.encode())
        bus.send([Frame(inbox.subject, b"ours")])
        await client.flush()
        await poll(lambda: len(got) == 2)
    assert got == [b"theirs", b"later"]
    await client.close()


async def test_its_reconnects_are_followed_and_its_callbacks_called(server: NatsServer) -> None:
    told: list[str] = []

    async def disconnected() -> None:
        told.append("disconnected")

    async def reconnected() -> None:
        told.append("reconnected")

    client = await connected(
        server, disconnected_cb=disconnected, reconnected_cb=reconnected, max_reconnect_attempts=-1
    )
    facts, old = Facts(), Sink()
    async with NatsBus.adopt("main", client, tell=facts) as bus:
        inbox = await bus.open_inbox(old)
        await bus.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
        server.kill()
        await facts.until_state(State.BACKING_OFF)
        bus.send([Frame("s", b"kept", keep_until=inf), Frame("s", b"dropped")])
        server.start()
        await bus.wait_connected()
        bus.send([Frame(inbox.subject, b"to the old inbox")])
        assert await bus.ping()
        assert old.all == []
        assert (await bus.publish("s", b"last")).sequence == 2, "one came before: the server stores in order"
        assert bus.counters.reconnects == 1
    assert told == ["disconnected", "reconnected"]
    assert facts.states == [State.RUNNING, State.BACKING_OFF, State.RUNNING, State.STOPPED]
    await client.close()


async def test_a_bus_whose_owner_closes_it_has_failed(server: NatsServer) -> None:
    client = await connected(server)
    facts = Facts()
    async with NatsBus.adopt("main", client, tell=facts) as bus:
        await client.close()
        await facts.until_state(State.FAILED)
        with pytest.raises(BusUnavailableError, match="owner of bus 'main' closed"):
            await bus.wait_connected()
        with pytest.raises(BusUnavailableError, match="owner of bus 'main' closed"):
            await bus.publish("s", b"")
    async with NatsBus.adopt("main", client) as bus:
        assert bus.state is State.FAILED


async def test_a_connection_lost_for_good_is_seen(server: NatsServer) -> None:
    client = await connected(server, allow_reconnect=False)
    facts = Facts()
    async with NatsBus.adopt("main", client, tell=facts) as bus:
        server.kill()
        await facts.until_state(State.FAILED)
        assert not bus.is_connected
    await client.close()
    transport: Any = client._transport
    transport.close()  # the oldest nats-py that we allow leaves it open here


async def test_what_was_read_before_a_loss_comes_before_it(server: NatsServer) -> None:
    told: list[str] = []

    class Breaks:
        def disconnected(self) -> None:
            told.append("disconnected")

        def connected(self) -> None:
            pass

        def denied(self, subject: str) -> None:
            pass

    client = await connected(server)
    async with NatsBus.adopt("main", client) as bus:
        bus.listen(Breaks())
        await bus.open_inbox(lambda raws: told.extend(raw[2].decode() for raw in raws))
        # Read, and lost in the same turn of the loop: as when the write that follows fails.
        await client._ps.parse(b"MSG subject %d 7\r\nmessage\r\n" % client._sid)
        bus._life.detach("a write failed")
        assert told == ["message", "disconnected"]
    await client.close()


async def test_what_is_not_permitted_is_told(make_server: MakeServer) -> None:
    server = make_server(
        'authorization { users: [ { user: a, password: b, permissions: { publish: ["_INBOX.>"] } } ] }', jetstream=False
    )
    client = await connected(server, user="a", password="b")
    facts = Facts()
    async with NatsBus.adopt("main", client, tell=facts) as bus:
        bus.send([Frame("secret")])
        await facts.until(lambda fact: isinstance(fact, Warned) and '"secret"' in fact.text)
        with pytest.raises(NotPermittedError, match="'Secret'"):
            await bus.publish("Secret", timeout=60)
    await client.close()


async def test_no_task_of_ours_is_left(server: NatsServer) -> None:
    client = await connected(server)
    before = asyncio.all_tasks()
    async with NatsBus.adopt("main", client) as bus:
        await bus.ping()
    assert asyncio.all_tasks() == before
    await client.close()
