"""Lost connections: what is told, what is kept, what is dropped."""

from __future__ import annotations

import asyncio
from math import inf

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.events import State, StateChanged
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import Facts, Sink, bus_on, frozen, poll


class Breaks:
    """A connection listener that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def disconnected(self) -> None:
        self.told.append("disconnected")

    def connected(self) -> None:
        self.told.append("connected")

    def denied(self, subject: str) -> None:
        self.told.append(f"denied {subject}")


async def broken(bus: NatsBus, server: NatsServer) -> None:
    """Kill the server, and wait until the bus has seen it."""
    server.kill()
    await poll(lambda: not bus.is_connected)


async def test_after_kill_9_and_a_restart_the_bus_works_again(server: NatsServer) -> None:
    facts, breaks = Facts(), Breaks()
    async with bus_on(server.url, tell=facts) as bus:
        end = bus.listen(breaks)
        await bus.wait_connected()
        for n in range(1, 4):
            await broken(bus, server)
            server.start()
            await bus.wait_connected()
            assert await bus.ping()
            assert bus.counters.reconnects == n
        end()
        end()
    assert breaks.told == ["connected", *["disconnected", "connected"] * 3]
    assert facts.states == [State.RUNNING, *[State.BACKING_OFF, State.RUNNING] * 3, State.STOPPED]


async def test_the_reason_of_a_break_is_told(server: NatsServer) -> None:
    facts = Facts()
    async with bus_on(server.url, tell=facts) as bus:
        await bus.wait_connected()
        server.kill()
        fact = await facts.until_state(State.BACKING_OFF)
        assert isinstance(fact, StateChanged)
        assert fact.reason == "the server closed the connection"
        await poll(lambda: bus.reason == f"{server.url}: connection refused")


async def test_what_may_wait_is_written_first_after_the_break_and_the_rest_is_dropped(server: NatsServer) -> None:
    loop = asyncio.get_running_loop()
    watcher = Sink()
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
        await broken(bus, server)
        bus.send(
            [
                Frame("s.1", b"ack", keep_until=inf),
                Frame("s.2", b"pull"),
                Frame("s.3", b"late nak", keep_until=loop.time() + 0.01),
                Frame("s.4", b"nak", keep_until=loop.time() + 60),
            ]
        )
        await asyncio.sleep(0.02)
        server.start()
        await bus.wait_connected()
        bus.send([Frame("s.5", b"new")])
        await bus.ping()
        inbox = await bus.open_inbox(watcher)
        await bus.api("CONSUMER.CREATE.S", {"stream_name": "S", "config": {"deliver_subject": inbox.subject}})
        assert [raw[2] for raw in await watcher.until(3)] == [b"ack", b"nak", b"new"]


async def test_a_long_break_does_not_fill_the_memory_with_what_is_dropped_anyway(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await broken(bus, server)
        for _ in range(100):
            bus.send([Frame("progress", b"+WPI")] * 100)
        assert len(bus._life.writer._queue) < 100


async def test_inboxes_of_the_old_connection_are_dead(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        old = Sink()
        inbox = await bus.open_inbox(old)
        await broken(bus, server)
        server.start()
        await bus.wait_connected()
        await inbox.unsubscribe()
        bus.send([Frame(inbox.subject, b"late")])
        new = Sink()
        bus.send([Frame((await bus.open_inbox(new)).subject, b"now")])
        assert await bus.ping()
        assert ([raw[2] for raw in old.all], [raw[2] for raw in new.all]) == ([], [b"now"])
        inbox.close()


async def test_what_came_before_the_break_still_reaches_its_sink(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        bus.send([Frame(inbox.subject, b"%d" % n) for n in range(50)])
        await bus.ping()
        await broken(bus, server)
        assert len(sink.all) == 50


async def test_a_server_that_stops_answering_is_given_up(server: NatsServer) -> None:
    """Without an answer to its pings for about a minute; here the interval is shortened."""
    facts = Facts()
    async with bus_on(server.url, tell=facts) as bus:
        await bus.wait_connected()
        client = bus._life.live().client
        assert (client.options["ping_interval"], client.options["max_outstanding_pings"]) == (20, 2)
        with frozen(server):
            for _ in range(3):
                client._pings_outstanding += 1
            pinging = client._ping_interval_task
            assert pinging is not None
            client.options["ping_interval"] = 0.01
            pinging.cancel()
            client._ping_interval_task = asyncio.create_task(client._ping_interval())
            fact = await facts.until_state(State.BACKING_OFF)
        assert isinstance(fact, StateChanged)
        assert fact.reason == "the server stopped answering"


async def test_a_connection_that_the_server_ends_with_an_error_comes_back(server: NatsServer) -> None:
    facts = Facts()
    async with bus_on(server.url, tell=facts) as bus:
        await bus.wait_connected()
        bus._life.live().requests._write(b"NONSENSE\r\n")
        fact = await facts.until_state(State.BACKING_OFF)
        assert isinstance(fact, StateChanged)
        assert "unknown protocol operation" in fact.reason
        await bus.wait_connected()
        assert await bus.ping()
