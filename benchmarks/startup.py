"""Start to first delivery: how long after its start `eventbus-run` handles a message that waits.

    .venv/bin/python benchmarks/startup.py [ROUNDS]

Prints the median wall time beside that of `python -c pass`, on a server of its own.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nats

from eventbus_runtime.testing.server import NatsServer

CONFIG = """
[buses.main]
url = "{url}"
[streams.ORDERS]
subjects = ["orders.>"]
[triggers.work]
"""
HANDLERS = """
import sys
import time
from eventbus_runtime import Message, pipeline

@pipeline
async def work(message: Message) -> None:
    print(time.time(), flush=True)
"""


async def publish(url: str) -> None:
    """One message, stored."""
    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(name="ORDERS", subjects=["orders.>"])
    await js.publish("orders.created", b"1")
    await client.close()


def first_delivery(folder: Path) -> float:
    """Seconds from the start of a new process to its first handler's line."""
    with NatsServer() as server:
        asyncio.run(publish(server.url))
        (folder / "app.toml").write_text(CONFIG.format(url=server.url))
        (folder / "handlers.py").write_text(HANDLERS)
        command = [sys.executable, "-m", "eventbus_runtime.cli.run", str(folder / "app.toml")]
        began = time.time()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        took = float(process.stdout.readline()) - began
        process.terminate()
        process.communicate(timeout=20)
        return took


def bare() -> float:
    """Seconds that `python -c pass` takes."""
    began = time.time()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.time() - began


def main() -> None:
    """Print both medians and their difference."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with tempfile.TemporaryDirectory() as name:
        first_delivery(Path(name))  # compiles what is new
        ours = statistics.median(first_delivery(Path(name)) for _ in range(rounds))
    python = statistics.median(bare() for _ in range(rounds))
    print(f"start to first delivery {ours:.3f} s, python -c pass {python:.3f} s, beyond it {ours - python:.3f} s")


if __name__ == "__main__":
    main()
