"""The NATS bus."""

from eventbus_runtime.buses.nats.connection import NatsBus

__all__ = ["NatsBus"]
