"""The seven contracts (S-40): which type takes which message, and gives which."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, NamedTuple, TypeAlias, cast

from eventbus_runtime.contracts import model
from eventbus_runtime.contracts.duration import Duration
from eventbus_runtime.contracts.fields import Contract, fields

Kind: TypeAlias = Literal["module", "step", "trigger"]

BUS, STREAM, CONSUMER = "infra.eventbus", "infra.eventbus.stream", "infra.eventbus.consumer"
PUBLISH, CONSUME, ACK = "step.eventbus.publish", "step.eventbus.consume", "step.eventbus.ack"
SUBSCRIBE = "trigger.eventbus.subscribe"


class Spec(NamedTuple):
    """One contract; strict: an unknown field is an error.

    Args:
        kind: of what it is the contract.
        name: of the type, as `step.eventbus.publish`.
        config, input, output: the messages that it takes and gives; None: none.
    """

    kind: Kind
    name: str
    config: type[Contract] | None = None
    input: type[Contract] | None = None
    output: type[Contract] | None = None


CONTRACTS = (
    Spec("module", BUS, config=model.ClusterConfig),
    Spec("module", STREAM, config=model.StreamConfig),
    Spec("module", CONSUMER, config=model.ConsumerConfig),
    Spec("step", PUBLISH, input=model.PublishRequest, output=model.PublishResponse),
    Spec("step", CONSUME, input=model.ConsumeRequest, output=model.ConsumeResponse),
    Spec("step", ACK, input=model.AckRequest, output=model.AckResponse),
    Spec("trigger", SUBSCRIBE, config=model.ConsumerConfig, output=model.Message),
)


def messages() -> tuple[type[Contract], ...]:
    """All messages of the package, each behind those that it holds; without `Duration`, which is protobuf's own."""
    found: dict[type[Contract], None] = {}

    def visit(contract: type[Contract]) -> None:
        for field in fields(contract):
            if field.kind == "message" and field.type is not Duration:
                visit(field.type)  # type: ignore[arg-type]  # of this kind it is a contract
        found.setdefault(contract)

    for spec in CONTRACTS:
        for contract in (spec.config, spec.input, spec.output):
            if contract is not None:
                visit(contract)
    return tuple(found)


def enums() -> tuple[type[IntEnum], ...]:
    """The enums that the messages use, each once."""
    found = dict.fromkeys(field.type for contract in messages() for field in fields(contract) if field.kind == "enum")
    return cast(tuple[type[IntEnum], ...], tuple(found))
