"""An asyncio worker runtime with declarative triggers over NATS JetStream.

The names are imported when they are first asked for: a command that only prints its help needs none of them, and Ctrl-C
during the start of `eventbus-run` must find it in its own `main`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus_runtime.buses.base import Bus, PubAck
    from eventbus_runtime.errors import EventbusError
    from eventbus_runtime.events import Listener
    from eventbus_runtime.message import Message
    from eventbus_runtime.pipelines.base import Delivery
    from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
    from eventbus_runtime.pipelines.registry import background, pipeline, resource, subscribe
    from eventbus_runtime.pipelines.steps.ack import AckStep
    from eventbus_runtime.pipelines.steps.consume import ConsumeStep
    from eventbus_runtime.pipelines.steps.publish import PublishStep
    from eventbus_runtime.runtime import Runtime

__all__ = [
    "AckStep",
    "Bus",
    "ConsumeStep",
    "Delivery",
    "EventbusError",
    "Listener",
    "Message",
    "PubAck",
    "Publish",
    "PublishStep",
    "Reject",
    "Retry",
    "Runtime",
    "background",
    "pipeline",
    "resource",
    "subscribe",
]

_HOMES = {
    "buses.base": ("Bus", "PubAck"),
    "errors": ("EventbusError",),
    "events": ("Listener",),
    "message": ("Message",),
    "pipelines.base": ("Delivery",),
    "pipelines.outcome": ("Publish", "Reject", "Retry"),
    "pipelines.registry": ("background", "pipeline", "resource", "subscribe"),
    "pipelines.steps": ("AckStep", "ConsumeStep", "PublishStep"),
    "runtime": ("Runtime",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
