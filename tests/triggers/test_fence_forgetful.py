"""A server that was killed forgets what it has delivered: acks of that are not answered. Tokens that the server does
not know are made here of one that it does, since a kill alone does not always lose state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.errors import BusUnavailableError
from eventbus_runtime.message import AckToken
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers.fence import Fence
from eventbus_runtime.triggers.recall import Recall
from tests.buses.helpers import Sink
from tests.triggers.live import Observer, connected, make_consumer, make_stream, until


@asynccontextmanager
async def delivered(server: NatsServer, count: int) -> AsyncIterator[tuple[NatsBus, list[bytes]]]:
    """A bus, and the ack tokens of so many deliveries."""
    async with connected(server.url) as bus:
        await make_stream(bus)
        await make_consumer(bus)
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        for _ in range(count):
            await bus.publish("s.a")
        bus.answer_all([b"$JS.API.CONSUMER.MSG.NEXT.S.c"], b'{"batch":%d}' % count, inbox.subject)
        yield bus, [raw[1] for raw in await sink.until(count)]


def forgotten(token: bytes) -> bytes:
    """The token of a delivery that the server knows nothing of."""
    parts = token.split(b".")
    parts[5] = parts[6] = b"%d" % (1000 + int(parts[5]))
    assert AckToken.parse(b".".join(parts).decode()).sequence > 1000
    return b".".join(parts)


async def pending(bus: NatsBus) -> int:
    return int((await bus.api("CONSUMER.INFO.S.c"))["num_ack_pending"])


@pytest.mark.parametrize("known_by", ["ack", "term"])
@pytest.mark.parametrize("forgotten_by", ["ack", "term"])
async def test_what_the_server_knows_is_proven_whatever_it_has_forgotten(
    server: NatsServer, known_by: str, forgotten_by: str
) -> None:
    async with delivered(server, 3) as (bus, tokens):
        fence = Fence(bus, Recall({}))
        for token in tokens:
            getattr(fence, known_by)(token)
            getattr(fence, forgotten_by)(forgotten(token))
        fence.flush()
        async with Observer(server.url) as observer:
            await fence.prove(known=3)
            await observer.flush()
            assert len(observer.seen) == 6, "at the first try"
        assert fence.unproven == 0
        assert await pending(bus) == 0
        await fence.close()


async def test_where_the_server_has_forgotten_all_nothing_is_said(server: NatsServer) -> None:
    async with delivered(server, 1) as (bus, (token,)):
        fence = Fence(bus, Recall({}))
        fence.ack(forgotten(token))
        fence.flush()
        fence.asking()
        async with Observer(server.url) as observer:
            await fence.prove(known=1)
            await observer.flush()
            assert observer.seen == []
        assert fence.unproven == 0
        await fence.close()


async def test_what_was_given_and_not_yet_written_is_not_forgotten(server: NatsServer) -> None:
    async with delivered(server, 2) as (bus, (first, second)):
        fence = Fence(bus, Recall({}))
        fence.ack(forgotten(first))
        fence.flush()
        fence.asking()
        fence.ack(second)
        await fence.prove(known=2)
        fence.flush()
        await fence.settled()
        assert fence.unproven == 0
        assert await pending(bus) == 1
        await fence.close()


async def test_what_nobody_answers_stays_unproven_and_is_told(server: NatsServer) -> None:
    async with delivered(server, 1) as (bus, (token,)):
        fence = Fence(bus, Recall({}))
        fence.ack(token.replace(b".S.c.", b".S.nobody."))  # the server answers in its place: 503
        fence.flush()
        with pytest.raises(BusUnavailableError, match="does not answer acks"):
            await fence.prove()
        assert fence.unproven == 1
        await fence.close()
        assert await pending(bus) == 1


async def test_a_connection_that_is_lost_before_the_proof_is_an_error_of_the_bus(server: NatsServer) -> None:
    async with delivered(server, 1) as (bus, (token,)):
        fence = Fence(bus, Recall({}))
        fence.ack(token.replace(b".S.c.", b".S.nobody."))
        fence.flush()
        proving = asyncio.ensure_future(fence.prove())
        await until(lambda: fence.late)
        fence.disconnected()
        with pytest.raises(BusUnavailableError, match="the connection was lost"):
            await proving
        assert fence.unproven == 1
