"""Which delivery the running code belongs to, for its log lines.

A worker sets the variable once, to a slot of its own, and puts each delivery into that slot: changing a context
variable per message would cost a context copy, and would look like something that the handler left behind.
"""

from __future__ import annotations

from contextvars import ContextVar

from eventbus_runtime.message import Message


class Slot:
    """A worker's present message, and the names that its log lines carry."""

    __slots__ = ("message", "pipeline", "trigger")

    def __init__(self, trigger: str, pipeline: str) -> None:
        self.trigger, self.pipeline = trigger, pipeline
        self.message: Message | None = None


current: ContextVar[Slot | None] = ContextVar("eventbus_runtime.current", default=None)
