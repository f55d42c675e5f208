"""The demo: a shop sells, `billing` turns orders into invoices, `mailing` mails them. Its topology is in demo.toml."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from itertools import count

import structlog

from eventbus_runtime import Bus, Message, Publish, Reject, background, pipeline, resource

log = structlog.get_logger("demo")


@dataclass
class Order:
    number: int
    total: float


@dataclass
class Invoice:
    order: int
    amount: float


@dataclass
class Tally:
    sold: int = 0
    billed: int = 0
    mailed: int = 0


@resource
async def tally() -> AsyncIterator[Tally]:
    """Made at start, and handed to whatever has a parameter of its type."""
    yield Tally()


@pipeline
async def billing(order: Order, message: Message, tally: Tally) -> Publish:
    if order.total < 0:
        raise Reject(f"order {order.number} has a negative total")  # never retried: to the dead letters
    if order.number % 100 == 7 and message.delivery_count == 1:
        raise ConnectionError("the tax office does not answer")  # as any error: retried
    tally.billed += 1
    return Publish("invoices.created", Invoice(order.number, round(order.total * 1.19, 2)))


@pipeline
async def mailing(invoice: Invoice, tally: Tally) -> None:
    await asyncio.sleep(0.01)  # the mail server
    tally.mailed += 1


@background
async def shop(bus: Bus, tally: Tally) -> None:
    """Sells some hundred times a second. One order in five hundred is one that nobody can bill."""
    for number in count(1):
        order = Order(number, total=-1.0 if number % 500 == 42 else 9.5)
        await bus.publish("orders.created", json.dumps(asdict(order)))
        tally.sold += 1
        await asyncio.sleep(0.003)


@background
async def rate(tally: Tally) -> None:
    """One line a second. After DEMO_SECONDS, if that is set, it asks the process to stop, as Ctrl-C does."""
    last = int(os.environ.get("DEMO_SECONDS", "0"))
    for second in count(1):
        before = asdict(tally)
        await asyncio.sleep(1)
        log.info("rate per second", **{name: now - before[name] for name, now in asdict(tally).items()})
        if second == last:
            os.kill(os.getpid(), signal.SIGTERM)
