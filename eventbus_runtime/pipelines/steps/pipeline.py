"""A pipeline made of steps, bound: they run in order on one delivery, each on the payload that the one before left."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from anyio import CapacityLimiter

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.config.steps import AckEntry, AckOptions, CallEntry, ConsumeOptions, PublishEntry, PublishOptions
from eventbus_runtime.contracts.duration import Duration
from eventbus_runtime.contracts.json_mapping import to_json
from eventbus_runtime.contracts.model import AckRequest, ConsumeRequest, ConsumeResponse, PublishRequest
from eventbus_runtime.errors import DecodeError
from eventbus_runtime.pipelines.arguments import Scope
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.encoding import encode
from eventbus_runtime.pipelines.outcome import Publish
from eventbus_runtime.pipelines.pipeline import BoundCall, BoundPipeline, bind_call
from eventbus_runtime.pipelines.registry import Registration, Registry
from eventbus_runtime.pipelines.resources import Resources
from eventbus_runtime.pipelines.steps import Steps
from eventbus_runtime.pipelines.steps.mapping import line, payload, text
from eventbus_runtime.subjects import check_target

Act: TypeAlias = "Callable[[Passage], Awaitable[None]]"
_NOT_READ = object()


class Passage:
    """One delivery on its way through the steps.

    Args:
        delivery: the delivery.
        steps: those of its bus.
    """

    __slots__ = ("_json", "consumed", "delivery", "message", "payload", "steps")

    def __init__(self, delivery: Delivery, steps: Steps) -> None:
        self.delivery, self.message = delivery, delivery.message
        self.steps = steps.within(delivery)
        self.payload = delivery.message.payload
        self.consumed: ConsumeResponse | None = None
        self._json: Any = _NOT_READ

    def replace(self, value: bytes) -> None:
        """Have another payload from here on."""
        self.payload, self._json = value, _NOT_READ

    def json(self, where: str) -> Any:
        """The payload read as JSON, once.

        Raises:
            DecodeError: it is none.
        """
        if self._json is _NOT_READ:
            try:
                self._json = json.loads(self.payload, parse_constant=_no_json)
            except (ValueError, RecursionError) as error:
                raise DecodeError(f"{where}: the payload is not JSON: {error}") from None
        return self._json


def _no_json(constant: str) -> Any:
    raise ValueError(f"it holds {constant}")


def bind_steps(
    registration: Registration,
    *,
    registry: Registry,
    bus: Bus,
    resources: Resources,
    threads: CapacityLimiter | None = None,
) -> BoundPipeline:
    """Bind a pipeline of steps; arguments and errors as for `pipelines.pipeline.bind`."""
    steps = resources.steps(bus)
    acts: list[Act] = []
    in_thread: set[int] = set()
    for at, entry in enumerate(registration.settings["steps"]):
        where = f"{registration.name}.steps[{at}]"
        if isinstance(entry, CallEntry):
            call = registration.settings["calls"][at]
            bound = bind_call(call, registry=registry, bus=bus, resources=resources, threads=threads)
            acts.append(_call(bound))
            if bound.blocking:
                in_thread.add(at)
        elif isinstance(entry, PublishEntry):
            acts.append(_publish(entry.publish, f"{where}.publish"))
        elif isinstance(entry, AckEntry):
            acts.append(_ack(entry.ack, f"{where}.ack"))
        else:
            acts.append(_consume(entry.consume))

    async def fire(delivery: Delivery) -> None:
        passage = Passage(delivery, steps)
        for at, act in enumerate(acts):
            delivery.enter(at, in_thread=at in in_thread)
            await act(passage)

    return BoundPipeline(registration.name, bool(in_thread), fire, _nothing)


def _nothing(result: Any) -> Sequence[Publish]:
    """Its steps have published already, each confirmed before the next began."""
    return ()


def _call(bound: BoundCall) -> Act:
    async def act(passage: Passage) -> None:
        result = await bound.run(Scope(passage.delivery, bound.decode, passage.payload, passage.consumed))
        if result is None:
            return
        publishes = bound.publishes(result)
        if publishes is None:
            passage.replace(encode(result))
            return
        for each in publishes:
            await passage.delivery.publish(each)

    return act


def _publish(options: PublishOptions, where: str) -> Act:
    subject, body = text(options.subject, f"{where}.subject"), payload(options.payload, f"{where}.payload")
    headers = {name: line(value, f"{where}.headers.{name}") for name, value in options.headers.items()}
    correlation = None
    if options.correlation_id is not None:
        correlation = line(options.correlation_id, f"{where}.correlation_id")

    async def act(passage: Passage) -> None:
        to = subject(passage)
        try:
            check_target(to)
        except ValueError as error:
            raise DecodeError(f"{where}.subject: {error}") from None
        request = PublishRequest.model_construct(
            subject=to,
            payload=body(passage),
            headers={name: read(passage) for name, read in headers.items()},
            correlation_id=correlation(passage) if correlation is not None else "",
        )
        await passage.steps.publish(request)

    return act


def _consume(options: ConsumeOptions) -> Act:
    request = ConsumeRequest(
        consumer=options.consumer,
        batch_size=options.batch_size,
        max_wait=Duration.of(round(options.max_wait * 10**9)),
    )

    async def act(passage: Passage) -> None:
        passage.consumed = await passage.steps.consume(request)
        passage.replace(json.dumps(to_json(passage.consumed)).encode())

    return act


def _ack(options: AckOptions, where: str) -> Act:
    token = text(options.ack_token, f"{where}.ack_token") if options.ack_token is not None else None

    async def act(passage: Passage) -> None:
        named = token(passage) if token is not None else passage.message.ack_token
        try:
            request = AckRequest(ack_token=named)
        except ValueError as error:
            raise DecodeError(f"{where}.ack_token: {named!r} is no ack token: {error}") from None
        await passage.steps.ack(request)

    return act
