"""The publisher of the latency cases: paced, each payload begins with the time when it was sent.

    python -m benchmarks.pace URL RATE MESSAGES SIZE

It never waits for an answer, so a slow consumer does not slow it.
"""

from __future__ import annotations

import sys
import time

from benchmarks.wire import Wire, frame


def main() -> None:
    """Send all, evenly; return when the server has read them."""
    url, rate, messages, size = sys.argv[1], *map(int, sys.argv[2:5])
    padding = b"x" * (size - 8)
    with Wire(url) as wire:
        wire.api("INFO")
        began = time.perf_counter()
        for number in range(messages):
            wait = began + number / rate - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            wire.send(frame("b.x", time.time_ns().to_bytes(8, "big") + padding))
        wire.api("INFO")


if __name__ == "__main__":
    main()
