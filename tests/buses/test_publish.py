"""Confirmed publishes, requests and the JetStream API."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from eventbus_runtime.buses.base import Frame, PubAck
from eventbus_runtime.errors import (
    ApiError,
    BusUnavailableError,
    JetStreamDisabledError,
    NotFoundError,
    NotPermittedError,
    PayloadTooLargeError,
    PublishError,
)
from eventbus_runtime.events import Warned
from eventbus_runtime.headers import Headers
from eventbus_runtime.message import Raw
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import Facts, Sink, bus_on
from tests.conftest import MakeServer

ORDERS = {"name": "ORDERS", "subjects": ["orders.>"]}


async def test_a_publish_is_confirmed_by_its_stream_and_counted(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.ORDERS", ORDERS)
        assert await bus.publish("orders.created", "{}") == ("ORDERS", 1, False)
        assert await bus.publish("orders.created", b"") == ("ORDERS", 2, False)
        assert bus.counters.published == 2


async def test_the_same_id_is_stored_once(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.ORDERS", ORDERS)
        await bus.publish("orders.created", b"1", id="a")
        assert await bus.publish("orders.created", b"1", id="a") == ("ORDERS", 1, True)
        # An id that the user set as a header wins.
        assert (await bus.publish("orders.created", b"1", {"Nats-Msg-Id": "b"}, id="a")).sequence == 2


async def test_another_stream_than_the_expected_refuses(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.ORDERS", ORDERS)
        with pytest.raises(PublishError, match=r"'orders\.created' was refused: expected stream") as caught:
            await bus.publish("orders.created", b"", expect_stream="DEAD")
        assert caught.value.err_code == 10060
        assert bus.counters.published == 0


async def test_a_subject_that_no_stream_stores_is_said_long_before_the_time_is_over(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        with pytest.raises(PublishError, match="no stream stores 'nowhere'"):
            await bus.publish("nowhere", b"", timeout=60)


async def test_a_confirmation_that_does_not_come_is_an_error(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        inbox = await bus.open_inbox(Sink())
        with pytest.raises(PublishError, match=r"within 0\.05 s"):
            await bus.publish(inbox.subject, b"", timeout=0.05)


async def test_an_answer_that_is_not_a_streams_is_an_error(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()

        def answer(raws: list[Raw]) -> None:
            bus.send([Frame(raw[1].decode(), b'"pong"') for raw in raws])

        inbox = await bus.open_inbox(answer)
        with pytest.raises(PublishError, match="other than a stream"):
            await bus.publish(inbox.subject, b"")
        with pytest.raises(BusUnavailableError, match="no answer from"):
            await bus.request((await bus.open_inbox(Sink())).subject, timeout=0.05)
        assert await bus.request(inbox.subject) == b'"pong"'


async def test_too_large_a_message_is_never_sent(server: NatsServer) -> None:
    """Headers count: the server cuts the connection of who sends more."""
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.ORDERS", ORDERS)
        await bus.publish("orders.created", bytes(bus.max_payload))
        with pytest.raises(PayloadTooLargeError, match=rf"'orders\.created' has {(1 << 20) + 21} bytes .* {1 << 20} "):
            await bus.publish("orders.created", bytes(bus.max_payload), {"type": "a"})
        assert bus.counters.reconnects == 0
        assert await bus.ping()


@pytest.mark.parametrize("subject", ["", "a b", "a\tb", "a\r\nPING", "a\nb", "a" * 5000])
async def test_a_subject_that_can_not_go_on_the_wire_is_refused(server: NatsServer, subject: str) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        with pytest.raises(ValueError, match="subject"):
            await bus.publish(subject, b"")
        with pytest.raises(ValueError, match="subject"):
            bus.send([Frame("fine"), Frame(subject)])
        assert await bus.ping()


async def test_a_lost_connection_fails_open_questions_at_once(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        inbox = await bus.open_inbox(Sink())
        asked = asyncio.ensure_future(bus.request(inbox.subject, timeout=60))
        await bus.ping()
        server.kill()
        with pytest.raises(BusUnavailableError, match="lost its connection"):
            await asked


async def test_a_cancelled_question_does_not_harm_the_next(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.ORDERS", ORDERS)
        asked = asyncio.ensure_future(bus.publish("orders.created", b"1"))
        await asyncio.sleep(0)
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked
        assert (await bus.publish("orders.created", b"2")).sequence == 2


async def test_many_publishes_at_once_are_confirmed_each_by_its_own(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.ORDERS", ORDERS)
        acks = await asyncio.gather(*(bus.publish("orders.created", b"%d" % n) for n in range(2000)))
        assert [ack.sequence for ack in acks] == list(range(1, 2001))


async def test_api_errors_have_their_kind(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        with pytest.raises(NotFoundError, match="stream not found") as caught:
            await bus.api("STREAM.INFO.NONE")
        assert (caught.value.code, caught.value.err_code) == (404, 10059)
        assert caught.value.subject == "$JS.API.STREAM.INFO.NONE"
        with pytest.raises(ApiError) as other:
            await bus.api("STREAM.CREATE.ORDERS", {"name": "OTHER"})
        assert not isinstance(other.value, NotFoundError)


async def test_what_does_not_answer_or_answers_nonsense_is_said(server: NatsServer) -> None:
    async with bus_on(server.url) as other:
        await other.wait_connected()

        def answer_lists_only(raws: list[Raw]) -> None:
            other.send([Frame(raw[1].decode(), b"[]") for raw in raws if raw[0].endswith(b".LIST")])

        inbox = await other.open_inbox(answer_lists_only, wildcard=True)
        async with bus_on(server.url, api_prefix=inbox.subject) as bus:
            await bus.wait_connected()
            with pytest.raises(BusUnavailableError, match="nobody answers on 'nowhere'"):
                await bus.request("nowhere", timeout=60)
            with pytest.raises(BusUnavailableError, match=r"JetStream did not answer '.*\.INFO' within 0\.05 s"):
                await bus.api("INFO", timeout=0.05)
            with pytest.raises(BusUnavailableError, match=r"other than JetStream answered on '.*\.LIST'"):
                await bus.api("LIST")


async def test_jetstream_that_is_off_is_named(make_server: MakeServer) -> None:
    server = make_server(jetstream=False)
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        with pytest.raises(JetStreamDisabledError, match=r"JetStream is off on nats://127.*start it with -js"):
            await bus.api("INFO")


async def test_jetstream_that_is_off_for_the_account_is_named(make_server: MakeServer) -> None:
    server = make_server("accounts { A: { users: [ { user: a, password: b } ] } }")
    async with bus_on(server.url, auth={"user": "a", "password": "b"}) as bus:
        await bus.wait_connected()
        with pytest.raises(JetStreamDisabledError):
            await bus.api("INFO")


async def test_a_domain_is_asked_under_its_own_prefix(make_server: MakeServer) -> None:
    server = make_server("jetstream { domain: hub }")
    sections: list[tuple[dict[str, Any], str]] = [
        ({"domain": "hub"}, "$JS.hub.API.INFO"),
        ({"api_prefix": "$JS.hub.API."}, "$JS.hub.API.INFO"),
        ({}, "$JS.API.INFO"),
    ]
    for section, subject in sections:
        async with bus_on(server.url, **section) as bus:
            await bus.wait_connected()
            assert bus.api_subject("INFO") == subject
            assert (await bus.api("INFO"))["domain"] == "hub"
    async with bus_on(server.url, domain="moon") as bus:
        await bus.wait_connected()
        with pytest.raises(BusUnavailableError, match=r"\$JS\.moon\.API\.INFO.*check domain"):
            await bus.api("INFO")


async def test_what_the_server_does_not_permit_is_told_once_with_its_subject(make_server: MakeServer) -> None:
    server = make_server(
        'authorization { users: [ { user: a, password: b, permissions: { publish: ["_INBOX.>", "$JS.>"] } } ] }'
    )
    facts = Facts()
    async with bus_on(server.url, auth={"user": "a", "password": "b"}, tell=facts) as bus:
        await bus.wait_connected()
        bus.send([Frame("secret.plans"), Frame("secret.plans")])
        await facts.until(lambda fact: isinstance(fact, Warned))
        assert await bus.ping()
        [warned] = [fact for fact in facts.all if isinstance(fact, Warned)]
        assert warned.text == 'permissions violation for publish to "secret.plans"'
        assert bus.counters.reconnects == 0


async def test_who_waits_for_what_is_not_permitted_is_told_at_once_and_nobody_else(make_server: MakeServer) -> None:
    server = make_server(
        'authorization { users: [ { user: a, password: b, permissions: { publish: { deny: ["Secret.>"] } } } ] }'
    )
    async with bus_on(server.url, auth={"user": "a", "password": "b"}) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.ORDERS", {**ORDERS, "subjects": ["orders.*", "Secret.*"]})
        first, second, asked, fine = await asyncio.gather(
            bus.publish("Secret.plans", b"1", timeout=60),
            bus.publish("Secret.plans", b"2", timeout=60),
            bus.request("Secret.names", timeout=60),
            bus.publish("orders.created", b"3"),
            return_exceptions=True,
        )
        assert isinstance(first, NotPermittedError)
        assert isinstance(second, NotPermittedError)
        assert isinstance(asked, NotPermittedError)
        assert (first.subject, asked.subject) == ("Secret.plans", "Secret.names")
        assert isinstance(fine, PubAck)


async def test_an_inbox_that_is_not_permitted_is_told_once_with_its_cure(make_server: MakeServer) -> None:
    server = make_server(
        'authorization { users: [ { user: a, password: b, permissions: { subscribe: "Answers.>" } } ] }'
    )
    facts = Facts()
    async with bus_on(server.url, auth={"user": "a", "password": "b"}, tell=facts) as bus:
        await bus.wait_connected()
        await bus.open_inbox(Sink())
        assert await bus.ping()
        [warned] = [fact for fact in facts.all if isinstance(fact, Warned)]
        assert warned.text.startswith('the server does not permit it to subscribe to "_INBOX.>"')
        assert "buses.main.inbox_prefix" in warned.text
    async with bus_on(server.url, auth={"user": "a", "password": "b"}, inbox_prefix="Answers") as bus:
        await bus.wait_connected()
        await bus.api("INFO")


async def test_headers_reach_the_stream_with_all_their_values(server: NatsServer) -> None:
    pairs = [("type", "a"), ("type", "b"), ("city", "Zürich"), ("raw", "\udcff\udcfe")]
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.ORDERS", ORDERS)
        sink = Sink()
        inbox = await bus.open_inbox(sink)
        await bus.api("CONSUMER.CREATE.ORDERS", {"stream_name": "ORDERS", "config": {"deliver_subject": inbox.subject}})
        await bus.publish("orders.created", b"", pairs)
        [raw] = await sink.until(1)
        assert list(Headers.parse(raw[3]).pairs()) == pairs
