"""Facts that the runtime tells sideways: to logs, metrics and the user's listeners. Never one per ordinary message."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, TypeAlias

from eventbus_runtime.message import Message


class State(StrEnum):
    """What a bus or a trigger is doing; the same words in code, logs, `/status` and metrics."""

    STARTING = "starting"  # not yet connected or attached for the first time
    RUNNING = "running"  # doing its work
    BACKING_OFF = "backing_off"  # can't work now; waits, and tries again by itself
    DRAINING = "draining"  # takes nothing new, finishes what it has
    STOPPED = "stopped"  # ended on request
    FAILED = "failed"  # ended by an error; for a trigger: tried again much later, or never where that can't help


class StateChanged(NamedTuple):
    """A bus or a trigger changed its state. `reason` says why, in a sentence; empty where the state says all."""

    kind: Literal["bus", "trigger"]
    name: str
    old: State
    new: State
    reason: str = ""


class DeliveryFailed(NamedTuple):
    """A delivery did not end well: its handler raised, timed out or rejected it, or its payload did not decode.

    Args:
        trigger: the trigger's name.
        pipeline: the pipeline's name.
        message: the message.
        attempt: which delivery of this message it was, from 1.
        reason: short and stable: `error`, `timeout`, `undecodable`, `retry`, `rejected`, `exhausted`, `cancelled`,
            `killed-worker` (it ran alone in a process of its own, and that died), `dead_letter_unconfirmed`.
        text: one line for people, with the innermost user frame where there is one.
        settlement: `nak`, `term`, `dead_letter`, `left` (no word to the server), or `settled` (by hand, before).
        delay: seconds until the redelivery, when settled by `nak`.
        error: the exception, where there is one.
        stuck: its retry schedule is used up and there is no dead letter, so that it goes on for ever.
    """

    trigger: str
    pipeline: str
    message: Message
    attempt: int
    reason: str
    text: str
    settlement: str
    delay: float | None = None
    error: BaseException | None = None
    stuck: bool = False


class Warned(NamedTuple):
    """Something that an operator should know, once. `text` is a sentence; `detail` holds its facts."""

    name: str
    text: str
    detail: dict[str, object]


class Ensured(NamedTuple):
    """A declared stream or consumer was `created` or `updated` (`change`); nothing is told where nothing changed."""

    bus: str
    what: str
    change: str


Fact: TypeAlias = StateChanged | DeliveryFailed | Warned | Ensured


class Listener(Protocol):
    """What `[runtime] listeners` names: any object with this method. It must not block; what it raises is logged."""

    def on_fact(self, fact: Fact) -> None:
        """Take one fact."""


Tell: TypeAlias = Callable[[Fact], None]
"""How the parts of the runtime hand a fact on."""
