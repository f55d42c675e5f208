"""The stream and the consumer that the tests of all hosts speak of."""

from __future__ import annotations

from eventbus_runtime.buses.nats import NatsBus

ORDERS = {"name": "billing", "stream_name": "ORDERS"}
"""The consumer, as a contract has it."""


async def prepare(bus: NatsBus) -> None:
    """Make both; the modules of the plugin process only speak of them."""
    await bus.api("STREAM.CREATE.ORDERS", {"name": "ORDERS", "subjects": ["orders.>"]})
    config = {"durable_name": "billing", "ack_policy": "explicit"}
    await bus.api("CONSUMER.CREATE.ORDERS.billing", {"stream_name": "ORDERS", "config": config})
