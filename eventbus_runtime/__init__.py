"""An asyncio worker runtime with declarative triggers over NATS JetStream."""

from eventbus_runtime.buses.base import Bus, PubAck
from eventbus_runtime.errors import EventbusError
from eventbus_runtime.events import Listener
from eventbus_runtime.message import Message
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.outcome import Publish, Reject, Retry
from eventbus_runtime.pipelines.registry import background, pipeline, resource, subscribe
from eventbus_runtime.runtime import Runtime

__all__ = [
    "Bus",
    "Delivery",
    "EventbusError",
    "Listener",
    "Message",
    "PubAck",
    "Publish",
    "Reject",
    "Retry",
    "Runtime",
    "background",
    "pipeline",
    "resource",
    "subscribe",
]
