"""What a stream refuses a publish with, as this package's errors; and what is refused before it is sent."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.buses.base import PubAck
from eventbus_runtime.buses.nats.errors import refusal
from eventbus_runtime.buses.nats.publisher import pub_ack
from eventbus_runtime.buses.nats.writer import publication
from eventbus_runtime.errors import (
    MessageTooLargeError,
    PayloadTooLargeError,
    PublishError,
    StreamFullError,
    WrongSequenceError,
)
from eventbus_runtime.events import State, StateChanged
from eventbus_runtime.testing.server import NatsServer
from tests.buses.helpers import Facts, bus_on
from tests.cluster import cluster_of_three, once_complete
from tests.conftest import MakeServer


@pytest.mark.parametrize(
    ("stream", "headers", "kind", "err_code", "text"),
    [
        ({}, {"Nats-Expected-Last-Sequence": "7"}, WrongSequenceError, 10071, "wrong last sequence: 1"),
        ({}, {"Nats-Expected-Last-Subject-Sequence": "7"}, WrongSequenceError, 10071, "wrong last sequence: 1"),
        ({}, {"Nats-Expected-Last-Msg-Id": "7"}, PublishError, 10070, "wrong last msg ID"),
        ({}, {"Nats-Expected-Stream": "OTHER"}, PublishError, 10060, "expected stream does not match"),
        ({"max_msgs": 1, "discard": "new"}, {}, StreamFullError, 10077, "maximum messages exceeded"),
        ({"max_bytes": 200, "discard": "new"}, {"a": "x" * 150}, StreamFullError, 10077, "maximum bytes exceeded"),
        (
            {"max_msgs": 9, "max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": True},
            {},
            StreamFullError,
            10077,
            "maximum messages per subject exceeded",
        ),
        ({"max_msg_size": 100}, {"a": "x" * 100}, MessageTooLargeError, 10054, "message size exceeds maximum allowed"),
        ({}, {"a": "x" * 70_000}, PublishError, 10097, "header size exceeds maximum allowed"),
    ],
)
async def test_a_refusal_has_the_kind_and_the_number_of_its_reason(
    server: NatsServer, stream: dict[str, Any], headers: dict[str, str], kind: type, err_code: int, text: str
) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.P", {"name": "P", "subjects": ["p.>"], **stream})
        await bus.publish("p.a", b"x")
        with pytest.raises(PublishError, match=rf"'p\.a' was refused: {text}.* \(error {err_code}\)") as caught:
            await bus.publish("p.a", b"x", headers)
        assert type(caught.value) is kind
        assert caught.value.err_code == err_code
        if isinstance(caught.value, WrongSequenceError):
            assert caught.value.sequence == 1
        assert bus.counters.published == 1


@pytest.mark.parametrize(
    ("config", "section", "err_code"),
    [
        (
            "accounts { A: { users: [ { user: a, password: b } ], jetstream: { max_mem: 1MB } } }",
            {"auth": {"user": "a", "password": "b"}},
            10002,
        ),
        ("jetstream { max_memory_store: 1MB }", {}, 10023),
    ],
    ids=["account", "server"],
)
async def test_no_room_in_account_or_server_is_a_full_stream(
    make_server: MakeServer, config: str, section: dict[str, Any], err_code: int
) -> None:
    server = make_server(config)
    async with bus_on(server.url, **section) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.P", {"name": "P", "subjects": ["p.>"], "storage": "memory"})
        with pytest.raises(StreamFullError) as caught:
            await asyncio.gather(*(bus.publish("p.a", bytes(200_000)) for _ in range(20)))
        assert caught.value.err_code == err_code


async def test_a_replicated_stream_lets_one_of_many_at_once_win() -> None:
    async with cluster_of_three() as cluster, bus_on(cluster.nodes["n1"].url) as bus:
        await bus.wait_connected()
        stream = {"name": "P", "subjects": ["p.>"], "num_replicas": 3}
        await once_complete(lambda: bus.api("STREAM.CREATE.P", stream))
        expected = {"Nats-Expected-Last-Subject-Sequence": "0"}
        results = await asyncio.gather(*(bus.publish("p.a", b"x", expected) for _ in range(50)), return_exceptions=True)
        assert [result for result in results if isinstance(result, PubAck)] == [("P", 1, False)]
        refused = [result for result in results if isinstance(result, WrongSequenceError)]
        assert len(refused) == 49, results
        assert {(error.err_code, error.sequence) for error in refused} <= {(10164, None), (10071, 1)}


def test_a_replicated_stream_may_not_tell_its_last_sequence() -> None:
    """Those that come while the first is being agreed on get a number of their own, and no sequence."""
    error = refusal({"code": 400, "err_code": 10164, "description": "wrong last sequence"}, "p.a")
    assert isinstance(error, WrongSequenceError)
    assert (error.err_code, error.sequence) == (10164, None)


def test_a_store_that_fails_otherwise_is_not_called_full() -> None:
    """The number of a failed store says nothing of the cause: this one came for a message of 32 MiB."""
    error = refusal({"code": 503, "err_code": 10077, "description": "message too large"}, "p.a")
    assert type(error) is PublishError
    assert error.err_code == 10077


async def test_an_id_among_the_headers_is_the_only_one_that_is_sent(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.P", {"name": "P", "subjects": ["p.>"]})
        await bus.publish("p.a", b"x", {"Nats-Msg-Id": "theirs"}, id="ours")
        stored = (await bus.api("STREAM.MSG.GET.P", {"seq": 1}))["message"]
    assert base64.b64decode(stored["hdrs"]) == b"NATS/1.0\r\nNats-Msg-Id: theirs\r\n\r\n"


@pytest.mark.parametrize("over", [0, 1])
async def test_our_size_limit_is_exactly_the_servers_headers_included(server: NatsServer, over: int) -> None:
    """A byte more, past our check, and the server ends the connection."""
    facts = Facts()
    block = b"NATS/1.0\r\ntype: a\r\n\r\n"
    async with bus_on(server.url, tell=facts) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.P", {"name": "P", "subjects": ["p.>"]})
        body = bytes(bus.max_payload - len(block) + over)
        if not over:
            assert (await bus.publish("p.a", body, {"type": "a"})).sequence == 1
            return
        with pytest.raises(PayloadTooLargeError, match=rf"'p\.a' has {(1 << 20) + 1} bytes .* takes {1 << 20} "):
            await bus.publish("p.a", body, {"type": "a"})
        assert await bus.ping()
        bus._life.writer.write(publication("p.a", body, headers=block))
        fact = await facts.until_state(State.BACKING_OFF)
        assert isinstance(fact, StateChanged)
        assert "maximum payload" in fact.reason.lower()


async def test_the_longest_subject_that_passes_our_check_passes_the_servers(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.P", {"name": "P", "subjects": ["p.>"]})
        subject = "p." + "a" * 4096
        while True:
            try:
                assert (await bus.publish(subject, bytes(1 << 19), {"type": "a"})).sequence == 1
            except ValueError:
                subject = subject[:-1]
            else:
                break
        assert len(subject) > 3900
        assert await bus.ping()


async def test_the_memory_of_checked_subjects_is_bounded(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.P", {"name": "P", "subjects": ["p.>"]})
        await asyncio.gather(*(bus.publish(f"p.{n}", b"") for n in range(1200)))
        assert len(bus._publisher._subjects) == 200
        with pytest.raises(ValueError, match="subject"):
            await bus.publish("p.1\r\nPING", b"")
        with pytest.raises(ValueError, match="line end"):
            await bus.publish("p.1", b"", id="a\r\nb")


async def test_other_payloads_than_bytes_and_text_are_refused_before_anything_waits(server: NatsServer) -> None:
    async with bus_on(server.url) as bus:
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.P", {"name": "P", "subjects": ["p.>"]})
        wrong: Any = {"id": 1}
        with pytest.raises(TypeError, match="a payload is bytes or text, not dict"):
            await bus.publish("p.a", wrong)
        assert not bus._life.live().requests._waiting
        unusual: list[Any] = [bytearray(b"1"), memoryview(b"1"), "1"]
        for payload in unusual:
            await bus.publish("p.a", payload)
        assert (await bus.publish("p.a", b"1")).sequence == 4


@given(
    stream=st.text(min_size=1), sequence=st.integers(0, 1 << 64), duplicate=st.sampled_from([None, True, False]),
    spaced=st.booleans(), ascii_only=st.booleans(), domain=st.booleans(),
)  # fmt: skip
def test_a_confirmation_is_read_however_it_is_written(
    stream: str, sequence: int, duplicate: bool | None, spaced: bool, ascii_only: bool, domain: bool
) -> None:
    """The short way for the server's usual words gives what JSON says."""
    words: dict[str, Any] = {"stream": stream, "seq": sequence}
    if domain:
        words["domain"] = "hub"
    if duplicate is not None:
        words["duplicate"] = duplicate
    separators = (", ", ": ") if spaced else (",", ":")
    payload = json.dumps(words, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        words = json.loads(payload)
    except ValueError:
        return  # lone surrogates, unescaped
    ack = pub_ack((b"", b"", payload, None), "p.a")
    assert type(ack) is PubAck
    assert ack == (words["stream"], sequence, bool(duplicate))
