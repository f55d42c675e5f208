"""The three steps (S-30 to S-33) over the modules of this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from eventbus_runtime.contracts.fields import Contract
from eventbus_runtime.contracts.model import AckRequest, ConsumeRequest, PublishRequest
from eventbus_runtime.contracts.registry import ACK, CONSUME, CONTRACTS, PUBLISH, Spec
from eventbus_runtime.errors import EventbusError, StepError
from eventbus_runtime.message import AckToken, check_ack_subject
from eventbus_runtime.pipelines.steps import AckStep, ConsumeStep, PublishStep
from eventbus_runtime.plugin.declared import Declared
from eventbus_runtime.plugin.messages import Proto


class Step(NamedTuple):
    """What a step's handle stands for.

    Args:
        spec: its contract.
        values: the config that it was created with, a table; a request may leave out what is there.
        config: the same where it came typed: a message of its input's type.
        bus: the name of its bus; empty: the only one.
    """

    spec: Spec
    values: dict[str, Any]
    config: Proto
    bus: str


STEPS = {spec.name: spec for spec in CONTRACTS if spec.kind == "step"}
"""Their contracts, by type."""


async def run(declared: Declared, step: Step, request: Contract, bus: str = "") -> Contract:
    """Run a step.

    Args:
        declared: the modules.
        step: which.
        request: its input.
        bus: the name of the bus in this request; empty: the step's.

    Raises:
        StepError: begins with the step's name.
    """
    runner = _RUNNERS[step.spec.name]
    try:
        return await runner(declared, request, bus or step.bus)
    except StepError:
        raise
    except EventbusError as error:
        raise StepError(f"{step.spec.name}: {error}") from error


async def _publish(declared: Declared, request: Any, name: str) -> Contract:
    assert isinstance(request, PublishRequest)
    if not request.subject:  # before any connection is made
        raise StepError(f"{PUBLISH}: subject is required")
    return await PublishStep.over(await declared.bus(name).connect())(request)


async def _consume(declared: Declared, request: Any, name: str) -> Contract:
    assert isinstance(request, ConsumeRequest)
    sources = {one.config.name: one for one in declared.consumers.values()}
    if request.consumer and request.consumer not in sources:
        raise StepError(
            f'{CONSUME}: there is no consumer "{request.consumer}": declare it by a module of type '
            f"infra.eventbus.consumer; declared: {', '.join(sorted(sources)) or 'none'}"
        )
    return await ConsumeStep(sources)(request)


async def _ack(declared: Declared, request: Any, name: str) -> Contract:
    assert isinstance(request, AckRequest)
    for trigger in declared.triggers:
        held = trigger.held(request.ack_token)
        if held is not None and trigger.bus is not None:
            return await AckStep(trigger.bus, trigger.held)(request)
    if not name:
        token = AckToken.parse(check_ack_subject(request.ack_token))
        consumer = declared.consumer(token.consumer, token.stream)
        name = consumer.bus if consumer is not None else ""
    return await (await declared.bus(name).acks())(request)


_RUNNERS: dict[str, Callable[[Declared, Any, str], Awaitable[Contract]]] = {
    PUBLISH: _publish,
    CONSUME: _consume,
    ACK: _ack,
}
