"""What the worker of production.toml does: an invoice for every order. Its topology is in production.toml."""

from __future__ import annotations

from dataclasses import dataclass

from eventbus_runtime import Publish, Reject, pipeline


@dataclass
class Order:
    number: int
    total: float


@dataclass
class Invoice:
    order: int
    amount: float


@pipeline
async def billing(order: Order) -> Publish:
    if order.total < 0:
        raise Reject(f"order {order.number} has a negative total")  # never retried: to the dead letters
    return Publish("invoices.created", Invoice(order.number, round(order.total * 1.19, 2)))
