"""Pipelines made of steps, from the file to the server (S-30 to S-33, S-54)."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from eventbus_runtime.testing.server import NatsServer
from tests.pipelines.steps.scene import order, running
from tests.triggers.live import Observer

ENRICH = """
    from pydantic import BaseModel

    class Order(BaseModel):
        id: str
        total: float = 0.0

    class Enriched(Order):
        vat: float

    async def enrich(order: Order) -> Enriched:
        return Enriched(id=order.id, total=order.total, vat=order.total * 0.2)
"""


@pytest.mark.seed("S-30", "S-32")
async def test_enrich_publish_ack(server: NatsServer, tmp_path: Path) -> None:
    """What a call returns is what the next step publishes; the delivery is acknowledged once."""
    tables = """
        [pipelines.work]
        steps = [
          { call = "handlers:enrich" },
          { publish = { subject = "out.enriched", correlation_id = { from = "sequence" }, headers = { Id = ID } } },
          { ack = {} },
        ]
    """.replace("ID", '{ from = "/id" }')
    async with Observer(server.url) as observer, running(server, tmp_path, tables, ENRICH) as scene:
        await scene.publish(order(id="A1", total=10))
        await scene.settled()
        subject, payload, headers = await scene.stored()
        assert subject == "out.enriched"
        assert json.loads(payload) == {"id": "A1", "total": 10.0, "vat": 2.0}
        assert b"Id: A1\r\n" in headers
        assert b"Nats-Correlation-Id: 1\r\n" in headers
        assert b"\r\nNats-Msg-Id: ORDERS.1." in headers
        await observer.flush()
        assert list(observer.settlements().values()) == [[b""]]


async def test_without_an_ack_step_success_acknowledges(server: NatsServer, tmp_path: Path) -> None:
    tables = '[pipelines.work]\nsteps = [{ publish = { subject = "out.copy" } }]'
    async with running(server, tmp_path, tables) as scene:
        await scene.publish(b"as it is \xff")
        await scene.settled()
        assert (await scene.stored())[1] == b"as it is \xff"


async def test_every_part_of_the_message_can_be_a_value(server: NatsServer, tmp_path: Path) -> None:
    tables = """
        [[pipelines.work.steps]]
        [pipelines.work.steps.publish]
        subject = "out.x"
        payload = { from = "/customer" }
        [pipelines.work.steps.publish.headers]
        Subject = { from = "subject" }
        Sequence = { from = "sequence" }
        At = { from = "published_at" }
        Token = { from = "ack_token" }
        Correlation = { from = "correlation_id" }
        Own = { from = "headers.Own" }
        Whole = { from = "payload" }
        Deep = { from = "/customer/names/1" }
        Escaped = { from = "/a~1b/c~0d" }
        Number = { from = "/number" }
        Stream = { from = "stream" }
        Consumer = { from = "consumer" }
        Count = { from = "delivery_count" }
    """
    payload = order(**{"customer": {"names": ["a", "é"]}, "a/b": {"c~d": "there"}, "number": 12345678901234567890})
    async with running(server, tmp_path, tables) as scene:
        await scene.publish(payload, {"Own": "mine", "Nats-Correlation-Id": "c-1"})
        await scene.settled()
        _, body, block = await scene.stored()
        assert json.loads(body) == {"names": ["a", "é"]}
        headers = dict(line.split(": ", 1) for line in block.decode().split("\r\n") if ": " in line)
        assert headers["At"].startswith("20")
        assert headers["Token"].startswith("$JS.ACK.")
        assert {name: headers[name] for name in ("Subject", "Sequence", "Correlation", "Own", "Whole", "Deep")} == {
            "Subject": "orders.created",
            "Sequence": "1",
            "Correlation": "c-1",
            "Own": "mine",
            "Whole": payload.decode(),
            "Deep": "é",
        }
        assert {name: headers[name] for name in ("Escaped", "Number", "Stream", "Consumer", "Count")} == {
            "Escaped": "there",
            "Number": "12345678901234567890",
            "Stream": "ORDERS",
            "Consumer": "work",
            "Count": "1",
        }


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (
            b'{"x": "a\\nb", "y": ""}',
            "work.steps[0].publish.headers.X: it holds a line end; headers are one line each: 'a\\nb'",
        ),
        (b'{"x": "\\ud800", "y": ""}', "work.steps[0].publish.headers.X: /x is no text that UTF-8 can hold: '\\ud800'"),
        (b'{"x": NaN}', "work.steps[0].publish.payload: the payload is not JSON: it holds NaN"),
        (b'{"x": "", "y": -Infinity}', "work.steps[0].publish.payload: the payload is not JSON: it holds -Infinity"),
        (b'{"x": "", "y": [1e999]}', "work.steps[0].publish.payload: /y holds a number that is too large"),
        (b'{"x": "", "y": "\\ud800"}', "work.steps[0].publish.payload: /y is no text that UTF-8 can hold: '\\ud800'"),
    ],
)
async def test_what_can_not_go_out_dead_letters_it(
    server: NatsServer, tmp_path: Path, payload: bytes, text: str
) -> None:
    """It never can: nothing is gained by another try, and nothing that is no JSON goes out as JSON."""
    tables = """
        dead_letter = "dead.work"
        [pipelines.work]
        steps = [{ publish = { subject = "out.x", headers = { X = VALUE }, payload = { from = "/y" } } }]
    """.replace("VALUE", '{ from = "/x" }')
    async with running(server, tmp_path, tables) as scene:
        await scene.publish(payload)
        failure = await scene.failed()
        assert failure.text == text
        assert (failure.reason, failure.settlement, failure.attempt) == ("undecodable", "dead_letter", 1)
        assert await scene.count("OUT") == 0


async def test_a_pointer_into_what_utf_8_can_not_hold_goes_as_json_can(server: NatsServer, tmp_path: Path) -> None:
    tables = '[pipelines.work]\nsteps = [{ publish = { subject = "out.x", payload = { from = "/y" } } }]'
    async with running(server, tmp_path, tables) as scene:
        await scene.publish(b'{"y": ["\\ud800"]}')
        await scene.settled()
        assert (await scene.stored())[1] == b'["\\ud800"]'


@pytest.mark.parametrize(
    ("subject", "payload", "text"),
    [
        ("/to", b'{"too": 1}', "work.steps[0].publish.subject: the payload has nothing at /to"),
        ("/to", b"no JSON", "work.steps[0].publish.subject: the payload is not JSON: "),
        ("/to", b'{"to": ["x"]}', 'work.steps[0].publish.subject: /to is neither a text nor a whole number: ["x"]'),
        ("/to", b'{"to": "a b"}', "work.steps[0].publish.subject: 'a b' can't be published to"),
        ("/to", b'{"to": "out.>"}', "work.steps[0].publish.subject: 'out.>' can't be published to"),
        ("payload", b"\xff", "work.steps[0].publish.subject: the payload is not UTF-8 text: "),
        ("headers.To", b"", "work.steps[0].publish.subject: the message has no header To"),
    ],
)
async def test_what_the_message_does_not_have_dead_letters_it(
    server: NatsServer, tmp_path: Path, subject: str, payload: bytes, text: str
) -> None:
    """It never will have it: as with a payload that does not decode, no try is wasted."""
    tables = f"""
        dead_letter = "dead.work"
        [pipelines.work]
        steps = [{{ publish = {{ subject = {{ from = "{subject}" }} }} }}]
    """
    async with running(server, tmp_path, tables) as scene:
        await scene.publish(payload)
        failure = await scene.failed()
        assert failure.text.startswith(text)
        assert (failure.reason, failure.settlement, failure.attempt) == ("undecodable", "dead_letter", 1)
        assert (await scene.stored(stream="DEAD_WORK"))[1] == payload
        assert await scene.count("OUT") == 0


@pytest.mark.seed("S-33")
async def test_a_step_that_fails_is_told_by_its_name_and_retried(server: NatsServer, tmp_path: Path) -> None:
    tables = '[pipelines.work]\nsteps = [{ publish = { subject = "nobody.stores.this" } }]'
    async with running(server, tmp_path, tables) as scene:
        await scene.publish()
        failure = await scene.failed()
        assert failure.text.startswith("StepError: step.eventbus.publish: ")
        assert (failure.reason, failure.settlement) == ("error", "nak")


@pytest.mark.seed("S-32")
async def test_a_step_that_fails_behind_an_ack_is_told_and_not_settled_again(
    server: NatsServer, tmp_path: Path
) -> None:
    tables = '[pipelines.work]\nsteps = [{ ack = {} }, { publish = { subject = "nobody.stores.this" } }]'
    async with Observer(server.url) as observer, running(server, tmp_path, tables) as scene:
        await scene.publish()
        failure = await scene.failed()
        assert failure.settlement == "settled"
        await scene.settled()
        await observer.flush()
        assert list(observer.settlements().values()) == [[b""]]
        assert (await scene.info())["num_redelivered"] == 0


@pytest.mark.seed("S-31", "S-32")
async def test_consume_gives_the_steps_behind_it_what_it_brought(server: NatsServer, tmp_path: Path) -> None:
    """As a `ConsumeResponse`, and as the payload; the ack of another token is one of the server's."""
    tables = """
        [streams.SEEN]
        subjects = ["seen.>"]
        [pipelines.work]
        steps = [
          { consume = { consumer = "rest", batch_size = 2, max_wait = "5s" } },
          { publish = { subject = "seen.first", payload = { from = "/messages/0/payload" } } },
          { ack = { ack_token = { from = "/messages/0/ack_token" } } },
          { call = "handlers:look" },
          { publish = { subject = "seen.count" } },
        ]
    """
    handlers = """
        from eventbus_runtime.contracts import ConsumeResponse

        async def look(found: ConsumeResponse, messages: dict) -> list:
            assert [each["subject"] for each in messages["messages"]] == [each.subject for each in found.messages]
            return [each.payload.decode() for each in found.messages]
    """
    async with running(server, tmp_path, tables, handlers) as scene:
        for number in range(3):
            await scene.outside.publish("out.x", b"%d" % number)
        await scene.publish()
        await scene.settled()
        assert base64.b64decode((await scene.stored(1, "SEEN"))[1]) == b"0"
        assert json.loads((await scene.stored(2, "SEEN"))[1]) == ["0", "1"]
        rest = await scene.info("OUT", "rest")
        assert (rest["ack_floor"]["stream_seq"], rest["num_ack_pending"], rest["num_pending"]) == (1, 1, 1)


@pytest.mark.parametrize("first", ["", '{ call = "handlers:blocks" }, '])
async def test_a_timeout_ends_a_step_that_waits(server: NatsServer, tmp_path: Path, first: str) -> None:
    """A `def` function that was called before can't be cancelled, but it has returned."""
    tables = f"""
        timeout = "300ms"
        [pipelines.work]
        steps = [{first}{{ consume = {{ consumer = "rest", max_wait = "60s" }} }}]
    """
    handlers = """
        def blocks(message) -> None: ...
    """
    async with running(server, tmp_path, tables, handlers) as scene:
        await scene.publish()
        assert (await scene.failed()).reason == "timeout"


async def test_an_empty_stream_is_no_failure(server: NatsServer, tmp_path: Path) -> None:
    tables = """
        [pipelines.work]
        steps = [{ consume = { consumer = "rest", max_wait = "50ms" } }, { publish = { subject = "out.answer" } }]
    """
    async with running(server, tmp_path, tables) as scene:
        await scene.publish()
        await scene.settled()
        assert json.loads((await scene.stored())[1]) == {}


@pytest.mark.parametrize(
    ("result", "published"),
    [
        ("None", [b"original"]),
        ('Publish("out.own", b"own")', [b"own", b"original"]),
        ('[Publish("out.own", b"1"), Publish("out.own", b"2")]', [b"1", b"2", b"original"]),
        ("'text'", [b"text"]),
        ("b'bytes'", [b"bytes"]),
        ("{'a': 1}", [b'{"a":1}']),
        ("[]", [b"[]"]),
        ("0", [b"0"]),
    ],
)
async def test_what_a_call_returns(server: NatsServer, tmp_path: Path, result: str, published: list[bytes]) -> None:
    tables = '[pipelines.work]\nsteps = [{ call = "handlers:step" }, { publish = { subject = "out.end" } }]'
    handlers = f"""
        from eventbus_runtime import Publish

        def step(message):
            return {result}
    """
    async with running(server, tmp_path, tables, handlers) as scene:
        await scene.publish(b"original")
        await scene.settled()
        assert [(await scene.stored(at + 1))[1] for at in range(await scene.count())] == published


async def test_a_call_that_yields_publishes_and_keeps_the_payload(server: NatsServer, tmp_path: Path) -> None:
    tables = '[pipelines.work]\nsteps = [{ call = "handlers:split" }, { publish = { subject = "out.end" } }]'
    handlers = """
        from collections.abc import AsyncIterator
        from eventbus_runtime import Publish

        async def split(order: str) -> AsyncIterator[Publish]:
            for part in order.split():
                yield Publish("out.part", part)
    """
    async with running(server, tmp_path, tables, handlers) as scene:
        await scene.publish(b"a b")
        await scene.settled()
        assert [(await scene.stored(at + 1))[1] for at in range(await scene.count())] == [b"a", b"b", b"a b"]


@pytest.mark.parametrize("how", ["raise", "return"])
async def test_a_call_chooses_the_settlement_as_a_handler_does(server: NatsServer, tmp_path: Path, how: str) -> None:
    tables = '[pipelines.work]\nsteps = [{ call = "handlers:step" }, { publish = { subject = "out.end" } }]'
    handlers = f"""
        from eventbus_runtime import Reject

        async def step(message):
            {how} Reject("not ours")
    """
    async with running(server, tmp_path, tables, handlers) as scene:
        await scene.publish()
        failure = await scene.failed()
        assert (failure.reason, failure.text, failure.settlement) == ("rejected", "not ours", "term")
        assert await scene.count() == 0


async def test_a_payload_that_does_not_decode_for_a_call_is_dead_lettered(server: NatsServer, tmp_path: Path) -> None:
    tables = 'dead_letter = "dead.work"\n[pipelines.work]\nsteps = [{ call = "handlers:enrich" }]'
    async with running(server, tmp_path, tables, ENRICH) as scene:
        await scene.publish(b"no order")
        failure = await scene.failed()
        assert (failure.reason, failure.settlement) == ("undecodable", "dead_letter")


async def test_calls_get_resources_which_are_closed_with_their_outcome(server: NatsServer, tmp_path: Path) -> None:
    tables = '[pipelines.work]\nsteps = [{ call = "handlers:save" }, { publish = { subject = "out.end" } }]'
    handlers = """
        from collections.abc import AsyncIterator
        from eventbus_runtime import Delivery, Message, resource

        class Transaction: ...

        did = []

        @resource(scope="delivery")
        async def transaction() -> AsyncIterator[Transaction]:
            did.append("begin")
            yield Transaction()
            did.append("commit")

        async def save(order: dict, t: Transaction, message: Message, delivery: Delivery) -> str:
            did.append("save")
            assert delivery.message is message
            return " ".join(did)
    """
    async with running(server, tmp_path, tables, handlers) as scene:
        await scene.publish()
        await scene.settled()
        assert (await scene.stored())[1] == b"begin save"
