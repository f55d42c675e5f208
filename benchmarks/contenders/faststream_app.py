"""FastStream: a pull subscriber, batches of 100, its per-message log and validation off."""

from __future__ import annotations

from faststream import FastStream
from faststream.nats import JStream, NatsBroker, PullSub

from benchmarks.contenders.common import CONCURRENT_PUBLISHES, CONSUMER, RELAYED, STREAM, Orders, handler_of, run

# With "latency" the smallest batch that keeps up with 3,000 messages a second: a larger one waits longer to be full.
BATCHES = {"hold": 1000, "latency": 10, "relay": CONCURRENT_PUBLISHES}


def make(orders: Orders) -> FastStream:
    """The application for one mode."""
    broker = NatsBroker(orders.url, logger=None, apply_types=False)
    subscriber = broker.subscriber(
        "b.>",
        stream=JStream(STREAM, declare=False),
        durable=CONSUMER,
        pull_sub=PullSub(batch_size=min(orders.window, BATCHES.get(orders.mode, 100))),
        max_workers=100 if orders.mode == "sleep" else None,
    )
    if orders.mode == "relay":

        async def relay(body: bytes) -> bytes:
            return body

        subscriber(broker.publisher(RELAYED, stream=JStream("OUT", declare=False))(relay))
    else:
        handler = handler_of(orders)

        async def handle(body: bytes) -> None:
            await handler(body)

        subscriber(handle)

    return FastStream(broker, logger=None)


if __name__ == "__main__":
    run(make(Orders.read()).run())
