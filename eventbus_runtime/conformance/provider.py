"""One provider through its whole life, in twelve phases (S-70)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from eventbus_runtime.buses.base import Bus, PubAck
from eventbus_runtime.conformance.broker import Count
from eventbus_runtime.conformance.candidate import Candidate
from eventbus_runtime.conformance.phases import (
    NotApplicableError,
    Phase,
    Suite,
    eventually,
    expect,
    expect_equal,
    expect_just_now,
    refused,
)
from eventbus_runtime.conformance.targets import implemented
from eventbus_runtime.conformance.workspace import Workspace
from eventbus_runtime.contracts.model import AckRequest, ConsumeRequest, ConsumeResponse, Message, PublishRequest
from eventbus_runtime.errors import EventbusError
from eventbus_runtime.pipelines.steps import AckStep, ConsumeStep, PublishStep
from eventbus_runtime.pipelines.steps.publish import CORRELATION
from eventbus_runtime.provisioning.probe import Health
from eventbus_runtime.provisioning.resources import Output, State

NAME = "provider"
MESSAGES = 10
"""So many are published, consumed in one batch, and acknowledged one by one."""

_DURABLE = "conformance"
_CATCH_UP = 12.0
_DEAD, _SECRET = "nats://127.0.0.1:1", "s3cr3t-of-a-state"


def provider_suite(candidate: Candidate, uri: str, *, replicas: int = 1) -> Suite:
    """Take a provider through its life at a broker that runs already.

    Args:
        candidate: the provider, its target, its bus.
        uri: the broker's address.
        replicas: copies of the stream that is made.
    """
    return _Life(candidate, uri, replicas).suite()


class _Life:
    def __init__(self, candidate: Candidate, uri: str, replicas: int) -> None:
        self._candidate, self._provider, self._uri = candidate, candidate.provider, uri
        self._space, self._is_replicated = Workspace(candidate, uri, replicas, NAME), replicas > 1
        self._subject = f"{self._space.subject}.created"
        self._stack = AsyncExitStack()
        self._bus: Bus | None = None
        self._taken: tuple[Message, ...] = ()

    def suite(self) -> Suite:
        teardown = Phase("teardown", "the stream is gone afterwards", "S-70", self._space.teardown)
        return Suite(NAME, (*self._of_state(), *self._of_messages(), teardown), self._clean)

    def _of_state(self) -> tuple[Phase, ...]:
        override, missing = "an environment's own address goes before the common one", "no address is an error"
        return (
            Phase("provision", "the target yields its resources, found by kind", "S-70", self._provision),
            Phase("streams", "a stream yields one resource, and the broker takes it", "S-13", self._streams),
            Phase("connect", "a bus opens at the address in the state", "S-12", self._connect),
            Phase("connect override", override, "S-12", self._connect_override),
            Phase("connect missing state", missing, "S-12", self._connect_missing_state),
            Phase("probe", "the broker is healthy", "S-14", self._probe),
            Phase("probe empty uri", "it is unreachable, with an error", "S-14", self._probe_empty_uri),
        )

    def _of_messages(self) -> tuple[Phase, ...]:
        publish, made = f"{MESSAGES} messages are confirmed and stored", ("streams", "connect")
        drain = "what is sent before a bus closes is stored, and nothing after"
        return (
            Phase("publish", publish, "S-30", self._publish, made),
            Phase("consume", "all come in one batch, as they were published", "S-31", self._consume, ("publish",)),
            Phase("ack", "each is acknowledged, one by one", "S-32", self._ack, ("consume",)),
            Phase("drain", drain, "S-24", self._drain, ("publish",)),
        )

    async def _provision(self) -> str:
        target = self._candidate.target
        resources = implemented(self._provider, target)
        if not resources:
            raise NotApplicableError(f"{self._provider.name} on {target} is not implemented, and says so")
        kinds = [one.kind for one in resources]
        missing = [kind for kind in self._candidate.kinds.get(target, ()) if kind not in kinds]
        expect(not missing, f"resources of kind {', '.join(missing)} on {target}", ", ".join(kinds))
        return f"{len(kinds)} resources: {', '.join(dict.fromkeys(kinds))}"

    async def _streams(self) -> str:
        space = self._space
        resource = space.resource(State({"uri": Output(self._uri, sensitive="@" in self._uri)}))
        hidden = space.resource(State({"uri": Output(f"nats://u:{_SECRET}@127.0.0.1", sensitive=True)}))
        expect(_SECRET not in repr(hidden), "no sensitive value of the state in a resource (S-3)", "the address")
        nothing = self._provider.stream_resources((), State())
        expect(not nothing, "no resources for no streams", nothing)
        expect_equal("property name of the stream's resource", space.stream, resource.properties.get("name"))
        expect_equal("property subjects", space.spec.subjects[0], resource.properties.get("subjects"))
        await space.make_stream(resource)
        broker = await space.broker()
        await broker.make_consumer(space.stream, _DURABLE, filter_subject=self._subject)
        expect_equal("messages in the new stream", 0, await space.stored())
        return f"{resource.kind} {space.stream}, replicas {resource.properties.get('num_replicas')}"

    async def _connect(self) -> str:
        address = self._provider.connection_string(State({"uri": Output(self._uri)}))
        self._bus = await self._stack.enter_async_context(self._candidate.open_bus(address))
        expect(self._bus.is_connected, "a bus that is connected once it is open", f"state {self._bus.state}")
        return f"connected, at most {self._bus.max_payload} bytes a message"

    async def _connect_override(self) -> str:
        state = State({"uri": Output(_DEAD), "uri.staging": Output(self._uri)})
        address = self._provider.connection_string(state, "staging")
        expect(address == self._uri, "the address of output uri.staging", "another address")
        other = self._provider.connection_string(state, "production")
        expect(other == _DEAD, "the address of output uri where an environment has none of its own", "another")
        async with self._candidate.open_bus(address) as bus:
            expect(bus.is_connected, "a bus that is connected at uri.staging", f"state {bus.state}")
        return "connected at uri.staging; an environment without an address of its own gets uri"

    async def _connect_missing_state(self) -> str:
        for state in (State(), State({"uri": Output("")})):
            told = await refused("a state without address", self._connection_string(state), "provisioned")
        return told

    async def _connection_string(self, state: State) -> object:
        return self._provider.connection_string(state)

    async def _probe(self) -> str:
        # The replicas of a stream that was just made may still catch up.
        await eventually(self._health, "healthy", "status", within=_CATCH_UP if self._is_replicated else 0.0)
        probed = await self._provider.probe(self._uri)
        password = urlsplit(self._uri).password
        expect(not password or password not in str(probed), "no credentials in what a probe says", "the password")
        version = f"server {probed.server_version}, " if probed.server_version else ""
        return f"{version}healthy, {probed.seconds:.3f} s"

    async def _health(self) -> str:
        probed = await self._provider.probe(self._uri)
        return str(probed.status) + (f": {probed.error}" if probed.error else "")

    async def _probe_empty_uri(self) -> str:
        probed = await self._provider.probe("")
        expect_equal("status of an empty address", str(Health.UNREACHABLE), str(probed.status))
        expect(bool(probed.error), "an error that says why", "none")
        return f"{probed.status}: {probed.error}"

    async def _publish(self) -> str:
        publish = PublishStep.over(self._open())
        await refused("a publish without subject", publish(PublishRequest()), "step.eventbus.publish")
        for number in range(MESSAGES):
            answer = await publish(self._request(number))
            expect_equal("sequence of a publish", str(number + 1), answer.sequence)
            expect_just_now("acked_at", answer.acked_at)
        await eventually(self._space.stored, MESSAGES, "messages in the stream", self._candidate.patience)
        return f"{MESSAGES} confirmed, {MESSAGES} stored"

    def _request(self, number: int) -> PublishRequest:
        return PublishRequest(
            subject=self._subject, payload=_payload(number), headers={"X-Number": f"{number}"}, correlation_id="c-1"
        )

    async def _consume(self) -> str:
        bus, space = self._open(), self._space
        opened = self._candidate.open_source(bus, space.stream, _DURABLE)
        self._step = ConsumeStep({_DURABLE: await self._stack.enter_async_context(opened)})
        await refused("an undeclared consumer", self._fetch("no-such", 1, "1s"), "step.eventbus.consume")
        self._taken = (await self._fetch(_DURABLE, MESSAGES, "5s")).messages
        expect_equal("messages in one batch", MESSAGES, len(self._taken))
        for number, message in enumerate(self._taken):
            self._compare(number, message)
        await self._counted(pending=0, unacknowledged=MESSAGES)
        more = await self._fetch(_DURABLE, 1, "200ms")
        expect_equal("messages where nothing is left", 0, len(more.messages))
        return f"{MESSAGES} in one batch, {MESSAGES} unacknowledged, then an empty answer"

    async def _fetch(self, consumer: str, batch: int, max_wait: str) -> ConsumeResponse:
        request = ConsumeRequest.model_validate({"consumer": consumer, "batch_size": batch, "max_wait": max_wait})
        return await self._step(request)

    def _compare(self, number: int, message: Message) -> None:
        what = f"of message {number + 1}"
        expect_equal(f"subject {what}", self._subject, message.subject)
        expect_equal(f"payload {what}", _payload(number), message.payload)
        expect_equal(f"sequence {what}", str(number + 1), message.sequence)
        for name, value in (("X-Number", f"{number}"), (CORRELATION, "c-1")):
            expect_equal(f"header {name} {what}", value, message.headers.get(name))
        expect_just_now(f"published_at {what}", message.published_at)
        expect(bool(message.ack_token), f"an ack_token {what}", "none")

    async def _ack(self) -> str:
        ack = AckStep(self._open())
        await refused("an ack_token that is none", self._ack_elsewhere(), "acknowledgement")
        for left, message in zip(range(MESSAGES - 1, -1, -1), self._taken, strict=True):
            await ack(AckRequest(ack_token=message.ack_token))
            await self._counted(pending=0, unacknowledged=left)
        return f"{MESSAGES} acknowledged, counted after each; 0 left"

    async def _ack_elsewhere(self) -> object:
        return AckRequest(ack_token=self._subject)

    async def _counted(self, *, pending: int, unacknowledged: int) -> None:
        broker, stream = await self._space.broker(), self._space.stream
        wanted, patience = Count(pending, unacknowledged), self._candidate.patience
        await eventually(lambda: broker.count(stream, _DURABLE), wanted, "the broker to say", patience)

    async def _drain(self) -> str:
        answers = list[PubAck | EventbusError]()
        async with self._candidate.open_bus(self._uri) as bus:
            for number in range(MESSAGES):
                bus.publish_nowait(f"{self._space.subject}.drained", _payload(number), (), answers.append)
        await eventually(self._space.stored, 2 * MESSAGES, "messages in the stream", self._candidate.patience)
        expect(not bus.is_connected, "a bus that is closed once its block is left", f"state {bus.state}")
        await asyncio.sleep(0)
        expect_equal("publishes told of", MESSAGES, len(answers))
        await refused("a publish over a closed bus", bus.publish(f"{self._space.subject}.late", timeout=1.0))
        expect_equal("messages in the stream", 2 * MESSAGES, await self._space.stored())
        return f"{MESSAGES} sent just before the close, all stored; a publish behind it is refused"

    def _open(self) -> Bus:
        assert self._bus is not None, "a phase before has opened it"
        return self._bus

    async def _clean(self) -> None:
        try:
            await self._stack.aclose()
        finally:
            await self._space.clean()


def _payload(number: int) -> bytes:
    return b'{"number": %d}' % number
