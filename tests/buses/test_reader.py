"""Both readers, on connections to a real server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.parser import AWAITING_MSG_PAYLOAD, Parser

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.buses.nats.reader import VARIABLE, Reader, check_client
from eventbus_runtime.buses.nats.writer import publication
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.events import State, Warned
from eventbus_runtime.message import Raw
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import Facts, Sink, bus_on, poll
from tests.conftest import MakeServer

HEADERS = b"NATS/1.0\r\nA: 1\r\nA: 2\r\nB: \xff\r\n\r\n"
both = pytest.mark.parametrize("reader", ["batch", "compatible"])


@pytest.fixture(autouse=True)
def _chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    call: Any = getattr(request.node, "callspec", None)
    monkeypatch.setenv(VARIABLE, call.params.get("reader", "") if call else "")


async def quiet(error: Exception) -> None:
    """An error callback that does not log."""


async def connected(server: NatsServer) -> Client:
    return await nats.connect(server.url, error_cb=quiet, reconnect_time_wait=0)


def no_warning(text: str) -> None:
    raise AssertionError(text)


def subscribe(client: Client, reader: Reader, subject: str, sink: Callable[[list[Raw]], None]) -> int:
    sid = reader.add(sink)
    write(client, b"SUB %b %d\r\n" % (subject.encode(), sid))
    return sid


def write(client: Client, *commands: bytes) -> None:
    transport: Any = client._transport
    transport.write(b"".join(commands))


def is_plugged(client: Client) -> bool:
    return type(client._ps) is not Parser or "_process_msg" in client.__dict__


@both
async def test_payloads_of_any_size_and_header_blocks_come_byte_for_byte(make_server: MakeServer, reader: str) -> None:
    client = await connected(make_server("max_payload: 16MB"))
    sink, taker = Sink(), Reader(client, no_warning)
    subscribe(client, taker, "s", sink)
    bodies = [b"", b"\r\nPING\r\n", os.urandom(32766), os.urandom(1 << 20), os.urandom(8 << 20), b"end"]
    for body in bodies:
        write(client, publication("s", body, headers=HEADERS), publication("s", body, "reply.to"))
    assert await sink.until(2 * len(bodies)) == [
        raw for body in bodies for raw in ((b"s", b"", body, HEADERS), (b"s", b"reply.to", body, None))
    ]
    taker.detach()
    await client.close()


@both
async def test_a_status_comes_as_the_server_wrote_it(server: NatsServer, reader: str) -> None:
    client = await connected(server)
    sink, taker = Sink(), Reader(client, no_warning)
    subscribe(client, taker, "s", sink)
    write(client, publication("nobody.listens", b"", "s"))
    [(subject, reply, payload, block)] = await sink.until(1)
    assert (subject, reply, payload) == (b"s", b"", b"")
    assert block is not None
    assert block.startswith(b"NATS/1.0 503")
    assert block.endswith(b"\r\n\r\n")
    taker.detach()
    await client.close()


@both
async def test_all_that_came_before_a_pong_is_in_its_sink_by_then(server: NatsServer, reader: str) -> None:
    client = await connected(server)
    sink, taker = Sink(), Reader(client, no_warning)
    subscribe(client, taker, "s", sink)
    for round_ in range(1, 21):
        write(client, *(publication("s", b"%d" % n) for n in range(100)))
        await client.flush()
        assert len(sink.all) == round_ * 100
    assert [raw[2] for raw in sink.all] == [b"%d" % n for n in range(100)] * 20
    taker.detach()
    await client.close()


@both
async def test_a_sink_that_raises_is_reported_and_all_others_go_on(server: NatsServer, reader: str) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

    def broken(raws: list[Raw]) -> None:
        raise ValueError("boom")

    client = await connected(server)
    sink, taker = Sink(), Reader(client, no_warning)
    subscribe(client, taker, "s", broken)
    subscribe(client, taker, "s", sink)
    for count in (1, 2):
        write(client, publication("s", b"x"))
        await sink.until(count)
    await client.flush()
    assert [str(context["exception"]) for context in reported] == ["boom"] * 2
    taker.detach()
    await client.close()


@both
async def test_its_owner_s_subscriptions_go_on_beside_it_and_after_it(server: NatsServer, reader: str) -> None:
    client = await connected(server)
    got: list[bytes] = []

    async def take(message: Msg) -> None:
        got.append(message.data)

    await client.subscribe("theirs", cb=take)
    await client.flush()
    sink, taker = Sink(), Reader(client, no_warning)
    assert is_plugged(client)
    subscribe(client, taker, "ours", sink)
    for n in range(20):
        write(client, publication("theirs", b"%d" % n, headers=HEADERS), publication("ours", b"%d" % n))
    await sink.until(20)
    taker.detach()
    assert not is_plugged(client)
    await client.publish("theirs", b"20")
    await client.publish("ours", b"dropped")
    await client.flush()
    await poll(lambda: len(got) == 21)
    assert got == [b"%d" % n for n in range(21)]
    assert len(sink.all) == 20
    await client.close()


@both
async def test_it_begins_and_ends_in_the_middle_of_its_owner_s_message(make_server: MakeServer, reader: str) -> None:
    server = make_server("max_payload: 16MB")
    client, sender = await connected(server), await connected(server)
    theirs = await client.subscribe("theirs", pending_bytes_limit=1 << 30)
    await client.flush()
    body = os.urandom(8 << 20)

    async def in_the_middle() -> None:
        async with asyncio.timeout(10):
            while client._ps.state != AWAITING_MSG_PAYLOAD:
                await asyncio.sleep(0)

    for _ in range(3):
        write(sender, publication("theirs", body, headers=HEADERS))
        await in_the_middle()
        taker = Reader(client, no_warning)
        assert (await theirs.next_msg(timeout=10)).data == body
        write(sender, publication("theirs", body))
        await in_the_middle()
        taker.detach()
        assert not is_plugged(client)
        assert (await theirs.next_msg(timeout=10)).data == body
    await sender.close()
    await client.close()


@both
@pytest.mark.parametrize("first", [0, 1])
async def test_two_buses_on_one_connection_keep_their_messages(server: NatsServer, reader: str, first: int) -> None:
    client = await connected(server)
    sinks, takers = [Sink(), Sink()], [Reader(client, no_warning), Reader(client, no_warning)]
    for sink, taker in zip(sinks, takers, strict=True):
        subscribe(client, taker, "s", sink)
    write(client, publication("s", b"1"))
    await asyncio.gather(*(sink.until(1) for sink in sinks))
    takers[first].detach()
    write(client, publication("s", b"2"))
    await sinks[1 - first].until(2)
    assert len(sinks[first].all) == 1
    takers[1 - first].detach()
    assert not is_plugged(client)
    await client.close()


@both
async def test_detaching_hands_out_what_is_there_and_forgets_the_sinks(server: NatsServer, reader: str) -> None:
    client = await connected(server)
    sink, taker = Sink(), Reader(client, no_warning)
    parser, sid = client._ps, subscribe(client, taker, "s", sink)
    await parser.parse(b"MSG s %d 1\r\nx\r\n" % sid)
    taker.detach()
    assert [raw[2] for raw in sink.all] == [b"x"]
    await parser.parse(b"MSG s %d 1\r\ny\r\n" % sid)
    await client.flush()
    assert len(sink.all) == 1
    await client.close()


@both
async def test_what_somebody_put_over_it_stays(server: NatsServer, reader: str) -> None:
    client = await connected(server)
    sink, taker = Sink(), Reader(client, no_warning)
    subscribe(client, taker, "s", sink)
    ours = client._process_msg
    seen: list[int] = []

    async def over(sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        seen.append(sid)
        await ours(sid, subject, reply, data, headers)

    client.__dict__["_process_msg"] = over
    theirs = await client.subscribe("theirs")
    await client.flush()
    write(client, publication("theirs", b"1"), publication("s", b"2"))
    assert (await theirs.next_msg(timeout=10)).data == b"1"
    await sink.until(1)
    taker.detach()
    write(client, publication("s", b"3"), publication("theirs", b"4"))
    assert (await theirs.next_msg(timeout=10)).data == b"4"
    assert client.__dict__["_process_msg"] is over
    assert seen.count(theirs._id) == 2
    assert [raw[2] for raw in sink.all] == [b"2"]
    await client.close()


@both
async def test_a_forgotten_sink_gets_nothing_more(server: NatsServer, reader: str) -> None:
    client = await connected(server)
    sink, taker = Sink(), Reader(client, no_warning)
    sid = subscribe(client, taker, "s", sink)
    taker.forget(sid)
    taker.forget(sid)
    write(client, publication("s", b"x"))
    await client.flush()
    assert sink.all == []
    taker.detach()
    await client.close()


@pytest.mark.parametrize(("value", "batch"), [("", True), ("batch", True), ("compatible", False)])
async def test_the_variable_chooses_the_reader_of_the_next_connection(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, value: str, batch: bool
) -> None:
    client = await connected(server)
    monkeypatch.setenv(VARIABLE, value)
    taker = Reader(client, no_warning)
    assert (type(client._ps) is not Parser) is batch
    assert ("_process_msg" in client.__dict__) is not batch
    taker.detach()
    await client.close()


async def test_another_value_of_the_variable_fails_the_bus_and_names_the_two(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "fast")
    says = "EVENTBUS_READER: is 'fast': set it to 'batch' .* or 'compatible'"
    async with bus_on(server.url) as bus:
        with pytest.raises(ConfigError, match=says):
            await bus.wait_connected()
        assert bus.state is State.FAILED
    client = await connected(server)
    with pytest.raises(ConfigError, match=says):
        await NatsBus.adopt("main", client).__aenter__()
    with pytest.raises(ConfigError, match=says):
        Reader(client, no_warning)
    assert not is_plugged(client)
    await client.close()


def missing_module(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.setitem(sys.modules, "eventbus_runtime.buses.nats.parser", None)


def another_parser(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    client._ps = type("Another", (Parser,), {})(client)


def another_state(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    original: Callable[..., Any] = Parser.parse

    async def parse(self: Parser, data: bytes = b"") -> None:
        await original(self, data)
        self.needed -= len(self.buf)

    monkeypatch.setattr(Parser, "parse", parse)


def another_loop(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    async def read_loop(self: Client) -> None:
        raise NotImplementedError

    monkeypatch.setattr(Client, "_read_loop", read_loop)


def no_loop(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.delattr(Client, "_read_loop")


def broken_parse(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    original: Callable[..., Any] = Parser.parse

    async def parse(self: Parser, data: bytes = b"") -> None:
        if self.nc is None:
            raise AttributeError("there is no client")
        await original(self, data)

    monkeypatch.setattr(Parser, "parse", parse)


@pytest.mark.parametrize("change", [missing_module, another_parser, broken_parse, another_state, another_loop, no_loop])
async def test_on_a_parser_built_otherwise_the_compatible_reader_works_and_warns(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch, Client], None]
) -> None:
    client = await connected(server)
    warnings: list[str] = []
    with monkeypatch.context() as changed:
        change(changed, client)
        before = client._ps
        taker = Reader(client, warnings.append)
        assert client._ps is before
    [warning] = warnings
    assert "nats-py" in warning
    assert f"{VARIABLE}=compatible" in warning
    check_client(client)
    sink = Sink()
    subscribe(client, taker, "s", sink)
    write(client, publication("s", b"x"))
    await sink.until(1)
    taker.detach()
    await client.close()


async def test_a_bus_warns_once_of_a_parser_built_otherwise(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = Facts()
    monkeypatch.setitem(sys.modules, "eventbus_runtime.buses.nats.parser", None)
    async with bus_on(server.url, tell=facts) as bus:
        await bus.wait_connected()
        server.kill()
        await poll(lambda: not bus.is_connected)
        server.start()
        await bus.wait_connected()
        assert await bus.ping()
    [warned] = [fact for fact in facts.all if isinstance(fact, Warned)]
    assert warned.text.startswith("the parser of nats-py")
