"""The README's first example, as a new user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.service.worker import Worker

CONFIG = """
    [buses.main]
    url = "embedded"
    [streams.ORDERS]
    subjects = ["orders.>"]
    [triggers.billing]
    filter_subjects = ["orders.created"]
    dead_letter = "dead.billing"
"""
HANDLERS = """
    from dataclasses import dataclass
    from eventbus_runtime import pipeline

    @dataclass
    class Order:
        id: str
        total: float

    @pipeline
    async def billing(order: Order) -> None:
        print(f"order {order.id}: {order.total:.2f}")
"""


def publish(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`eventbus publish app.toml …`"""
    return subprocess.run(
        [sys.executable, "-m", "eventbus_runtime.cli.main", "publish", str(folder / "app.toml"), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_six_lines_of_toml_and_one_handler(tmp_path: Path) -> None:
    with Worker(tmp_path / "app", CONFIG, HANDLERS) as worker:
        worker.wait_logged("trigger billing: running")
        published = publish(worker.folder, "orders.created", '{"id": "A1", "total": 9.5}')
        assert (published.returncode, published.stdout) == (0, "ORDERS 1\n"), published.stderr
        worker.wait_lines(1)
        assert worker.lines == ["order A1: 9.50"]
        worker.signal()
        assert worker.wait() == 0


def test_a_payload_that_does_not_decode_is_dead_lettered_without_a_traceback(tmp_path: Path) -> None:
    with Worker(tmp_path / "app", CONFIG, HANDLERS) as worker:
        worker.wait_logged("trigger billing: running")
        assert publish(worker.folder, "orders.created", '{"id": "A1"').returncode == 0
        worker.wait_logged("delivery failed")
        failed = next(line for line in worker.log if line["event"] == "delivery failed")
        assert (failed["reason"], failed["settlement"], failed["sequence"]) == ("undecodable", "dead_letter", 1)
        assert "Traceback" not in worker.errors
