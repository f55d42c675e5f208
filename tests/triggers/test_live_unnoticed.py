"""What nobody tells a trigger: while its slots are all taken no request is open, and no status comes."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter, defaultdict

import pytest

from eventbus_runtime.buses.base import Frame
from eventbus_runtime.message import Message, Raw
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers import loop
from tests.triggers.live import Live, Observer, delete_consumer, make_consumer, make_stream, running, sequence_of, until

SLOTS = 4
BLIND = 0.05


class Gates:
    """Handlers that wait until their message is let go."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def handler(self, message: Message) -> None:
        """Waits; one named `bad` fails the first time."""
        name = message.payload.decode()
        self.begun[name] += 1
        await self.gates[name].wait()
        if name.startswith("bad") and self.begun[name] == 1:
            raise ValueError(name)

    def let_go(self, *names: str) -> None:
        for name in names:
            self.gates[name].set()


async def full(live: Live, gates: Gates, *names: str) -> None:
    """All slots are taken by these, and the server has no request of ours."""
    await live.publish(*(name.encode() for name in names))
    await until(lambda: gates.begun.total() == SLOTS)
    await until(lambda: live.trigger._window.credit == 0)


async def blinded(live: Live) -> None:
    """It has had no request open for long enough."""
    assert live.trigger._loop is not None
    since = live.trigger._loop._delivered_at
    await until(lambda: asyncio.get_running_loop().time() - since > BLIND)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triggers count as blind sooner than after a second without an open request."""
    monkeypatch.setattr(loop, "_BLIND", BLIND)


@pytest.mark.usefixtures("blind")
async def test_a_stream_made_anew_unseen_has_no_message_settled_by_an_old_token(server: NatsServer) -> None:
    """Stream, consumer, sequences and consumer sequences are the same: so are the ack tokens, but for the time."""
    gates = Gates()
    async with running(server, gates.handler, max_in_flight=SLOTS, retry={"delays": ["50ms"], "jitter": 0}) as live:
        await full(live, gates, "old 1", "old 2", "old 3", "old 4")
        await live.outside.api("STREAM.DELETE.S")
        await make_stream(live.outside)
        await make_consumer(live.outside)
        await live.publish(b"new 1", b"new 2", b"new 3", b"bad 4")
        await blinded(live)
        gates.let_go("old 1", "old 2", "old 3")
        await until(lambda: gates.begun["new 3"] == 1)
        gates.let_go("new 1")
        await until(lambda: gates.begun["bad 4"] == 1)
        gates.let_go("old 4")
        await until(lambda: live.trigger.counters.in_flight == 3)
        gates.let_go("new 2", "new 3", "bad 4")
        await until(lambda: gates.begun["bad 4"] == 2)
        await until(live.drained)
        assert {name for name, times in gates.begun.items() if times > 1} == {"bad 4"}


@pytest.mark.usefixtures("blind")
async def test_a_consumer_made_anew_unseen_runs_nothing_twice_at_once(server: NatsServer) -> None:
    gates = Gates()
    async with running(server, gates.handler, max_in_flight=SLOTS) as live:
        await full(live, gates, "1", "2", "3", "4")
        await delete_consumer(live.outside)
        await make_consumer(live.outside)
        await blinded(live)
        gates.let_go("1")
        await until(lambda: live.trigger.counters.recalled == 3)
        gates.let_go("2", "3", "4")
        await until(live.drained)
        assert gates.begun == {"1": 2, "2": 1, "3": 1, "4": 1}, "who makes it anew by hand gets all that was done again"


def publish_blocking(server: NatsServer, *payloads: bytes) -> None:
    """Publish without the event loop."""
    with socket.create_connection(("127.0.0.1", server.port)) as line, line.makefile("rwb") as file:
        file.readline()
        commands = [b'CONNECT {"verbose":false}', *(b"PUB s.a %d\r\n%b" % (len(one), one) for one in payloads), b"PING"]
        file.write(b"".join(command + b"\r\n" for command in commands))
        file.flush()
        while file.readline() != b"PONG\r\n":
            pass


async def test_behind_a_blocked_event_loop_both_copies_in_one_read_are_one(server: NatsServer) -> None:
    """What the server delivers meanwhile waits in the socket, and so does what it delivers again after `ack_wait`."""
    gates = Gates()

    async def handler(message: Message) -> None:
        if message.payload == b"block":
            publish_blocking(server, *(b"%d" % number for number in range(5)))
            time.sleep(2.5)
        else:
            await gates.handler(message)

    async with running(server, handler, max_in_flight=20, consumer={"ack_wait": 1.0}) as live:
        await live.publish(b"block")
        await until(lambda: live.trigger.counters.redelivered >= 5)
        await until(lambda: gates.begun.total() >= 5)
        gates.let_go(*map(str, range(5)))
        await until(live.drained)
        assert set(gates.begun.values()) == {1}


@pytest.mark.usefixtures("blind")
async def test_nothing_of_a_consumer_made_anew_unseen_is_given_back_by_an_old_token(server: NatsServer) -> None:
    """Somebody else works on its messages by now: a nak would have them delivered a second time."""
    gates = Gates()
    async with running(server, gates.handler, max_in_flight=SLOTS, retry={"delays": ["10s"], "jitter": 0}) as live:
        await full(live, gates, "bad 1", "2", "3", "4")
        await delete_consumer(live.outside)
        await make_consumer(live.outside)
        theirs: list[Raw] = []
        inbox = await live.outside.open_inbox(theirs.extend)
        pull = live.outside.api_subject("CONSUMER.MSG.NEXT.S.c")
        live.outside.send([Frame(pull, b'{"batch": 1}', inbox.subject)])
        await until(lambda: len(theirs) == 1)
        await blinded(live)
        async with Observer(server.url) as observer:
            gates.let_go("bad 1")
            await until(lambda: live.trigger.counters.left == 1)
            await live.shown_to(observer)
            assert 1 not in map(sequence_of, observer.settlements()), "theirs"
        inbox.close()
        gates.let_go("2", "3", "4")
