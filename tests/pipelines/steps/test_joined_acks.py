"""Acks that are waited for, joined: one answer of the server for many, and nothing told that is not so (S-32)."""

from __future__ import annotations

import asyncio

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.contracts import AckRequest, AckResponse
from eventbus_runtime.errors import StepError
from eventbus_runtime.pipelines.steps import AckStep
from eventbus_runtime.pipelines.steps.joined import JoinedAcks
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers.fetch import Fetcher
from tests.triggers.live import Observer, connected, delete_consumer, make_consumer, make_stream

pytestmark = pytest.mark.seed("S-32")


async def fetched(bus: NatsBus, count: int) -> list[AckRequest]:
    """Requests to acknowledge so many messages, which the consumer `c` has delivered."""
    await make_stream(bus)
    await make_consumer(bus)
    await asyncio.gather(*(bus.publish("s.a") for _ in range(count)))
    fetcher = Fetcher(bus, "S", "c")
    raws = await fetcher.fetch(count, 10.0)
    await fetcher.close()
    return [AckRequest(ack_token=raw[1].decode()) for raw in raws]


async def test_all_of_one_turn_are_said_once_and_one_answer_proves_them(server: NatsServer) -> None:
    async with Observer(server.url) as observer, connected(server.url) as bus:
        requests = await fetched(bus, 200)
        ack = AckStep(bus)
        answers = await asyncio.gather(*map(ack, requests))
        assert answers == [AckResponse()] * 200
        info = await bus.api("CONSUMER.INFO.S.c")
        assert (info["num_ack_pending"], info["ack_floor"]["stream_seq"]) == (0, 200)
        await observer.flush()
        assert set(map(tuple, observer.settlements().values())) == {(b"",)}
        assert len(observer.settlements()) == 200
        assert sum(bool(seen.reply) for seen in observer.seen) == 1


async def test_one_alone_is_confirmed_too(server: NatsServer) -> None:
    async with connected(server.url) as bus:
        (request,) = await fetched(bus, 1)
        assert await AckStep(bus)(request) == AckResponse()
        assert (await bus.api("CONSUMER.INFO.S.c"))["num_ack_pending"] == 0


async def test_a_consumer_that_is_gone_fails_its_own_acks_and_no_others(server: NatsServer) -> None:
    async with connected(server.url) as bus:
        requests = await fetched(bus, 3)
        gone = AckRequest(ack_token="$JS.ACK.S.gone.1.1.1.1.0")
        ack = AckStep(bus)
        answers = await asyncio.gather(*map(ack, [gone, *requests, gone]), return_exceptions=True)
        assert answers[1:4] == [AckResponse()] * 3
        for failed in (answers[0], answers[4]):
            assert isinstance(failed, StepError)
            assert str(failed).startswith("step.eventbus.ack: nobody answers on ")
        await delete_consumer(bus)
        with pytest.raises(StepError, match=r"^step\.eventbus\.ack: "):
            await ack(requests[0])


async def test_who_is_cancelled_holds_up_no_other(server: NatsServer) -> None:
    async with connected(server.url) as bus:
        first, second = await fetched(bus, 2)
        ack = AckStep(bus)
        tasks = [asyncio.create_task(ack(first)), asyncio.create_task(ack(second))]
        await asyncio.sleep(0)
        tasks[1].cancel()
        assert await tasks[0] == AckResponse()
        assert (await asyncio.gather(tasks[1], return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_without_a_connection_it_fails_at_once(server: NatsServer) -> None:
    async with connected(server.url) as bus:
        (request,) = await fetched(bus, 1)
        server.kill()
        async with asyncio.timeout(10):
            with pytest.raises(StepError, match=r"^step\.eventbus\.ack: "):
                await AckStep(bus)(request)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("orders.created", "'orders.created' is not a JetStream acknowledgement subject"),
        ("$JS.ACK.S.c.1.1.1.1.0\r\nPUB x 0", "is not a JetStream acknowledgement subject"),
        ("", "ack_token is required"),
    ],
)
async def test_what_is_no_ack_subject_is_refused_by_the_step_too(server: NatsServer, token: str, text: str) -> None:
    """A request can be made past its own validation."""
    async with connected(server.url) as bus, asyncio.timeout(10):
        with pytest.raises(StepError, match=r"^step\.eventbus\.ack: ") as caught:
            await AckStep(bus)(AckRequest.model_construct(ack_token=token))
        assert text in str(caught.value)
        assert bus.is_connected


async def test_an_error_that_nobody_foresaw_reaches_all_who_wait(server: NatsServer) -> None:
    """Here a token that is longer than the server takes a line to be."""
    async with connected(server.url) as bus, asyncio.timeout(10):
        acks = JoinedAcks(bus)
        tokens = [f"$JS.ACK.S.c.1.1.1.1.{'0' * length}" for length in (1, 5000)]
        answers = await asyncio.gather(*map(acks.ack, tokens), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ValueError, ValueError]


async def test_what_was_dropped_before_the_connection_came_back_is_not_proven(server: NatsServer) -> None:
    """Many acks of one turn, begun away from the server: the one that is answered proves only what went with it."""
    async with connected(server.url) as bus:
        requests = await fetched(bus, 100)
        acks = JoinedAcks(bus)
        life, writer = bus._life, bus._life.writer  # the moment between two connections, which no test can time
        (link, out), life.link, writer._out = (life.link, writer._out), None, None
        waiters = [acks.ack(request.ack_token) for request in requests]
        life.link, writer._out = link, out
        await asyncio.gather(*waiters)
        assert (await bus.api("CONSUMER.INFO.S.c"))["num_ack_pending"] == 0
