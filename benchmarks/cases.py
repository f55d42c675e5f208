"""The disciplines, in the order in which they are raced and shown."""

from __future__ import annotations

from benchmarks import rounds
from benchmarks.model import Case, Metric

SPEED = (Metric("rate", "messages/s"), Metric("cpu", "us CPU each", 1))
LATENCY = (Metric("p50", "p50 ms", 3), Metric("p99", "p99 ms", 3))
HEADERS = {"Order-Id": "4711", "Content-Type": "application/json", "Trace-Id": "0af7651916cd43dd8448eb211c80319c"}

_STEPS = ("ours", "steps")

CASES = {
    case.name: case
    for case in (
        Case("ack-128", "consume+ack, 128 B", "ack", 200_000, rounds.consume, SPEED),
        Case(
            "ack-headers", "consume+ack, 128 B with 3 headers", "ack", 100_000, rounds.consume, SPEED, headers=HEADERS
        ),
        Case("ack-1k", "consume+ack, 1 KiB", "ack", 100_000, rounds.consume, SPEED, size=1 << 10),
        # A server cuts off a client that it owes more than 64 MiB (max_pending), so large payloads need a small window.
        Case("ack-64k", "consume+ack, 64 KiB", "ack", 5_000, rounds.consume, SPEED, size=1 << 16, window=256),
        Case("ack-1m", "consume+ack, 1 MiB", "ack", 400, rounds.consume, SPEED, size=1 << 20, window=32),
        Case("sleep", "handler that awaits 1 ms", "sleep", 50_000, rounds.consume, SPEED),
        Case("relay", "consume, publish confirmed, ack", "relay", 50_000, rounds.consume, SPEED),
        Case("publish", "publish alone, confirmed", "publish", 100_000, rounds.publish, SPEED),
        *(
            Case(f"steps-{mode}", f"trigger and steps: {title}", mode, messages, measure, SPEED, contenders=_STEPS)
            for mode, title, messages, measure in (
                ("consume", "consume, plain acks", 100_000, rounds.consume),
                ("ack", "consume+ack", 100_000, rounds.consume),
                ("relay", "consume, publish, ack", 50_000, rounds.consume),
                ("publish", "publish alone", 100_000, rounds.publish),
            )
        ),
        Case("latency-500", "publish to handler at 500/s", "latency", 2_500, rounds.latency, LATENCY, rate=500),
        Case("latency-3000", "publish to handler at 3,000/s", "latency", 12_000, rounds.latency, LATENCY, rate=3_000),
        Case(
            "start",
            "start to first delivery",
            "ack",
            1,
            rounds.start,
            (Metric("seconds", "seconds", 3),),
            contenders=("ours", "hand", "faststream"),
        ),
        Case(
            "memory",
            "memory, resident",
            "hold",
            1_000,
            rounds.memory,
            (Metric("idle", "MiB idle", 1), Metric("held", "MiB with 1,000 in flight", 1)),
        ),
    )
}

CHARTED = "ack-128"
QUICK = ("ack-128", "publish")
QUICK_CONTENDERS = ("ours", "hand", "callback")
QUICK_SHARE = 0.5
"""How many of a case's messages a quick race has."""
