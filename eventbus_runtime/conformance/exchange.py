"""What a host and a plugin process say to each other, by two clients: one that has our models, and one that knows
nothing but what the process says of itself (S-61)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

from eventbus_runtime.conformance.broker import Count
from eventbus_runtime.conformance.phases import eventually, expect, expect_equal, expect_just_now, refused
from eventbus_runtime.conformance.workspace import Workspace
from eventbus_runtime.contracts.model import (
    AckRequest,
    AckResponse,
    ConsumerConfig,
    ConsumeRequest,
    ConsumeResponse,
    Message,
    PublishRequest,
    PublishResponse,
    StreamConfig,
)
from eventbus_runtime.contracts.registry import ACK, CONSUME, CONSUMER, PUBLISH, STREAM, SUBSCRIBE
from eventbus_runtime.plugin.client import PluginProcess
from eventbus_runtime.plugin.host import Fired
from eventbus_runtime.plugin.types import Types

TEN = 10
HEADER = "X-Number"


class Got(NamedTuple):
    """Of a consumed message, what is compared and used."""

    payload: bytes
    number: str
    sequence: str
    published_at: str
    ack_token: str

    @classmethod
    def of(cls, payload: bytes, fields: Mapping[str, Any]) -> Got:
        """Of a message's fields."""
        number = fields["headers"].get(HEADER, "")
        return cls(payload, number, fields["sequence"], fields["published_at"], fields["ack_token"])


class Client(Protocol):
    """Runs the three steps of a plugin process."""

    async def publish(self, subject: str, payload: bytes, number: str = "") -> str:
        """Publish with a header that holds a number; returns the sequence."""

    async def consume(self, consumer: str, batch: int) -> list[Got]:
        """Fetch a batch."""

    async def ack(self, token: str) -> None:
        """Acknowledge a message."""


class Typed:
    """A client with the models; see `Client`."""

    def __init__(self, process: PluginProcess, steps: Mapping[str, str]) -> None:
        self._process, self._steps = process, steps

    @classmethod
    async def of(cls, process: PluginProcess) -> Typed:
        """One with steps of its own."""
        return cls(process, {kind: await process.create_step(kind, kind) for kind in (PUBLISH, CONSUME, ACK)})

    async def publish(self, subject: str, payload: bytes, number: str = "") -> str:
        request = PublishRequest(subject=subject, payload=payload, headers={HEADER: number})
        return (await self._process.execute_step(self._steps[PUBLISH], request, PublishResponse)).sequence

    async def consume(self, consumer: str, batch: int) -> list[Got]:
        request = ConsumeRequest.model_validate({"consumer": consumer, "batch_size": batch, "max_wait": "5s"})
        answer = await self._process.execute_step(self._steps[CONSUME], request, ConsumeResponse)
        return [Got.of(message.payload, message.model_dump()) for message in answer.messages]

    async def ack(self, token: str) -> None:
        await self._process.execute_step(self._steps[ACK], AckRequest(ack_token=token), AckResponse)


class Described:
    """A client that knows the contract registry and its FileDescriptorSet, and nothing else; see `Client`."""

    def __init__(
        self, process: PluginProcess, types: Types, names: Mapping[str, str], steps: Mapping[str, str]
    ) -> None:
        self._process, self._types, self._names, self._steps = process, types, names, steps

    @classmethod
    async def of(cls, process: PluginProcess) -> Described:
        """One with steps of its own, and the message names that the registry says."""
        registry = await process.contract_registry()
        steps = {one.step_type: one.input_message for one in registry.contracts if one.step_type}
        modules = {one.module_type: one.config_message for one in registry.contracts if one.module_type}
        made = {kind: await process.create_step(kind, f"described {kind}") for kind in steps}
        return cls(process, await process.types(), {**steps, **modules}, made)

    async def run_consumer(self, config: Mapping[str, Any]) -> None:
        """Make a consumer by a module."""
        packed = self._types.pack(self._names[CONSUMER], config)
        await self._process.run_module(CONSUMER, config["name"], packed)

    async def publish(self, subject: str, payload: bytes, number: str = "") -> str:
        body = base64.b64encode(payload).decode()
        answer = await self._execute(PUBLISH, subject=subject, payload=body, headers={HEADER: number})
        return str(answer["sequence"])

    async def consume(self, consumer: str, batch: int) -> list[Got]:
        answer = await self._execute(CONSUME, consumer=consumer, batch_size=batch, max_wait="5s")
        return [Got.of(base64.b64decode(one["payload"]), one) for one in answer["messages"]]

    async def ack(self, token: str) -> None:
        await self._execute(ACK, ack_token=token)

    async def _execute(self, kind: str, **values: Any) -> dict[str, Any]:
        packed = self._types.pack(self._names[kind], values)
        answer = await self._process.call("ExecuteStep", handle_id=self._steps[kind], typed_input=packed)
        return self._types.unpack(answer.typed_output)


class Exchange:
    """Ten messages through one client, counted at the broker.

    Args:
        space: where.
        client: runs the steps.
        consumer: an existing consumer; its filter is the subject of its name.
    """

    def __init__(self, space: Workspace, client: Client, consumer: str) -> None:
        self._space, self._client, self._consumer = space, client, consumer
        self._sequences: list[str] = []
        self._got: list[Got] = []

    async def publish(self) -> str:
        """Publish ten."""
        before = await self._space.stored() or 0
        subject = f"{self._space.subject}.{self._consumer}"
        self._sequences = [await self._client.publish(subject, b"%d" % number, f"{number}") for number in range(TEN)]
        expect_equal("sequences", [str(before + number + 1) for number in range(TEN)], self._sequences)
        patience = self._space.candidate.patience
        await eventually(self._space.stored, before + TEN, "messages in the stream", patience)
        return f"{TEN} confirmed, {TEN} stored"

    async def consume(self) -> str:
        """Consume them in one batch."""
        self._got = await self._client.consume(self._consumer, TEN)
        expect_equal("payloads in one batch", [b"%d" % number for number in range(TEN)], [x.payload for x in self._got])
        expect_equal(f"headers {HEADER}", [f"{number}" for number in range(TEN)], [x.number for x in self._got])
        expect_equal("sequences of what is consumed", self._sequences, [x.sequence for x in self._got])
        for one in self._got:
            expect_just_now("published_at", one.published_at)
        await self._counted(TEN)
        return f"{TEN} in one batch, {TEN} unacknowledged"

    async def ack(self) -> str:
        """Acknowledge them one by one."""
        for left, one in zip(range(TEN - 1, -1, -1), self._got, strict=True):
            await self._client.ack(one.ack_token)
            await self._counted(left)
        return f"{TEN} acknowledged, counted after each; 0 left"

    async def _counted(self, unacknowledged: int) -> None:
        await counted(self._space, self._consumer, unacknowledged)


async def counted(space: Workspace, consumer: str, unacknowledged: int) -> None:
    """Wait until the broker has delivered all, and waits for so many acknowledgements.

    Raises:
        UnmetError: it does not say so in time.
    """
    look = partial((await space.broker()).count, space.stream, consumer)
    await eventually(look, Count(0, unacknowledged), "the broker to say", space.candidate.patience)


async def mistakes(process: PluginProcess) -> list[str]:
    """Make every mistake that a host can make; returns what was said of each.

    Raises:
        UnmetError: one was not refused, or not as it should be.
    """
    steps = [await process.create_step(kind, "mistaken") for kind in (PUBLISH, CONSUME, ACK)]
    return [await refused(what, attempt, *texts) for what, attempt, *texts in _mistakes(process, *steps)]


def _mistakes(process: PluginProcess, publish: str, consume: str, ack: str) -> Iterator[tuple[Any, ...]]:
    """What it is, what does it once it is awaited, and what the refusal must say; each is made when it is its turn."""
    elsewhere = AckRequest.model_construct(ack_token="orders.created")
    nobodys = ConsumeRequest(consumer="no-such-consumer")
    unnamed, homeless = StreamConfig(subjects=("a",)), ConsumerConfig(name="a")
    run, make = process.execute_step, process.create_module
    yield "publish without subject", run(publish, PublishRequest(), PublishResponse), PUBLISH, "subject"
    yield "consume without consumer", run(consume, ConsumeRequest(), ConsumeResponse), CONSUME, "consumer"
    yield "undeclared consumer", run(consume, nobodys, ConsumeResponse), CONSUME, "no-such-consumer"
    yield "ack elsewhere", run(ack, elsewhere, AckResponse), ACK, "acknowledgement"
    yield "input of another step", run(ack, nobodys, AckResponse), ACK, "ConsumeRequest"
    yield "module of unknown type", make("infra.nothing", "a"), "infra.nothing"
    yield "step of unknown type", process.create_step("step.nothing", "a"), "step.nothing"
    yield "stream without name", make(STREAM, "a", unnamed), STREAM, "name"
    yield "consumer without stream", make(CONSUMER, "a", homeless), CONSUMER, "stream_name"
    yield "unknown field", make(STREAM, "a", {"nmae": "a"}), STREAM, "nmae"
    yield "unknown handle", process.start_module("no-such-handle"), "unknown", "handle"


async def fired_by(process: PluginProcess, space: Workspace) -> str:
    """Have a trigger of the process call the host, and see that its message is settled.

    Args:
        process: which; its host is served here.
        space: where its stream is.
    """
    fired = asyncio.Queue[Fired]()
    await process.serve_callbacks(fired.put)
    subject = f"{space.subject}.fired"
    config = {"name": "fired", "stream_name": space.stream, "filter_subject": subject}
    handle = await process.create_trigger(SUBSCRIBE, "fired", config)
    await process.start_module(handle)
    client = await Typed.of(process)
    payload = b"\x00\xff not text"
    sequence = await client.publish(subject, payload, "1")

    async def came() -> int:
        return fired.qsize()

    await eventually(came, 1, "workflows run for one message", space.candidate.patience)
    await counted(space, "fired", 0)
    one = fired.get_nowait()
    expect_equal("fields", sorted(Message.model_fields), sorted(one.data))
    expect_equal("subject", subject, one.data["subject"])
    expect_equal("payload", payload, one.payload)
    expect_equal("headers", {HEADER: "1"}, one.data["headers"])
    expect_equal("sequence", sequence, one.data["sequence"])
    expect_just_now("published_at", one.data["published_at"])
    expect(bool(one.data["ack_token"]), "an ack_token", "none")
    expect_equal("workflows run for one message", 0, fired.qsize())
    await process.stop_module(handle)
    return f"fired once with {len(one.data)} fields, and acknowledged after the host's answer"
