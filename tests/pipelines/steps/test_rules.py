"""What each step takes and refuses, rule by rule (S-30 to S-33)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from eventbus_runtime.contracts import AckRequest, ConsumeRequest, Duration, PublishRequest
from eventbus_runtime.errors import StepError
from eventbus_runtime.message import Raw
from eventbus_runtime.pipelines.steps import ConsumeStep, PublishStep
from eventbus_runtime.testing.server import NatsServer
from tests.triggers.live import connected, make_stream


class Asked:
    """A source that notes what it is asked for, and has nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float]] = []

    async def fetch(self, batch: int, max_wait: float) -> list[Raw]:
        self.asked.append((batch, max_wait))
        return []


@pytest.mark.seed("S-31")
@pytest.mark.parametrize(
    ("batch", "wait", "asked"),
    [
        (0, None, (1, 5.0)),
        (-3, Duration(), (1, 5.0)),
        (7, Duration(seconds=-1), (7, 5.0)),
        (1000, Duration(nanos=1), (1000, 1e-9)),
        (1001, Duration(seconds=90), (1000, 90.0)),
    ],
)
async def test_what_is_left_out_or_too_much_gets_its_bound(
    batch: int, wait: Duration | None, asked: tuple[int, float]
) -> None:
    source = Asked()
    answer = await ConsumeStep({"c": source})(ConsumeRequest(consumer="c", batch_size=batch, max_wait=wait))
    assert source.asked == [asked]
    assert answer.messages == ()


@pytest.mark.seed("S-31", "S-33")
@pytest.mark.parametrize(
    ("sources", "consumer", "text"),
    [
        (("c",), "", "step.eventbus.consume: consumer is required"),
        (
            ("b", "a"),
            "c",
            'step.eventbus.consume: there is no consumer "c"; declare [consumers.c] with its stream; declared: a, b',
        ),
        (
            (),
            "c",
            'step.eventbus.consume: there is no consumer "c"; declare [consumers.c] with its stream; declared: none',
        ),
    ],
)
async def test_a_consumer_must_be_declared(sources: Sequence[str], consumer: str, text: str) -> None:
    with pytest.raises(StepError) as caught:
        await ConsumeStep({name: Asked() for name in sources})(ConsumeRequest(consumer=consumer))
    assert str(caught.value) == text


NOT = "can't be published to: write words with dots between, without wildcards or spaces"


@pytest.mark.seed("S-30", "S-33")
@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (PublishRequest(), "step.eventbus.publish: subject is required"),
        (PublishRequest(subject="a b"), f"step.eventbus.publish: 'a b' {NOT}"),
        (PublishRequest(subject="s.*"), f"step.eventbus.publish: 's.*' {NOT}"),
        (PublishRequest(subject="s.>"), f"step.eventbus.publish: 's.>' {NOT}"),
        (PublishRequest(subject="s..a"), f"step.eventbus.publish: 's..a' {NOT}"),
        (PublishRequest(subject="s.a", headers={"A": "x\r\ny"}), "step.eventbus.publish: "),
        (PublishRequest(subject="s.a", payload=b"x" * (2 << 20)), "step.eventbus.publish: the message to 's.a' has "),
        (PublishRequest(subject="nobody.listens"), "step.eventbus.publish: "),
    ],
)
async def test_a_publish_that_can_not_be_is_told_by_the_steps_name(
    server: NatsServer, request_: PublishRequest, text: str
) -> None:
    async with connected(server.url) as bus:
        await make_stream(bus)
        with pytest.raises(StepError) as caught:
            await PublishStep.over(bus)(request_)
        assert str(caught.value).startswith(text)
        assert bus.is_connected


@pytest.mark.seed("S-30")
async def test_the_callers_deadline_holds_for_a_server_that_does_not_answer(server: NatsServer) -> None:
    async with connected(server.url) as bus, connected(server.url) as deaf:
        await deaf.api("STREAM.CREATE.N", {"name": "N", "subjects": ["n.>"], "no_ack": True})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await PublishStep.over(bus)(PublishRequest(subject="n.a"))
        assert (await deaf.api("STREAM.INFO.N"))["state"]["messages"] == 1


@pytest.mark.seed("S-32")
@pytest.mark.parametrize(
    "token",
    [
        "",
        "orders.created",
        "$JS.API.STREAM.DELETE.ORDERS",
        "$JS.ACK",
        "$JS.ACK.S.c.1.1.1.1",
        "$JS.ACK.S.c.1.1.1.1.x",
        "$JS.ACK.S.c.1.1.1.1.0.1",
        "$JS.ACK.a.S.c.1.1.1.1.0",
        "$JS.ACK.S.c.1.1.1.1.0.x.y",
        "$JS.ACK.S.c.1.1.1.1.0 x",
        "$JS.ACK.S.c.1.1.1.1.0\r\nPUB x 0",
        "$JS.ACK.S.*.1.1.1.1.0",
        "$JS.ACK.S.>.1.1.1.1.0",
    ],
)
def test_what_is_no_ack_subject_is_no_request(token: str) -> None:
    with pytest.raises(ValueError, match=r"JetStream acknowledgement subject|ack_token is required"):
        AckRequest(ack_token=token)
