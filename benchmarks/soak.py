"""Ours at full rate for long: does its memory stay flat?

    python -m benchmarks.soak [SECONDS]

The stream is refilled whenever little is left, so that the consumer never waits, and bounded, so that the disk stays
small. Resident memory is sampled each second; after a minute of warm-up (a sixth of a shorter run), the median of the
first minute is compared with that of the last.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.arena import STREAM, Arena
from benchmarks.child import Child
from benchmarks.contenders.registry import CONTENDERS, Job
from benchmarks.results import FOLDER, versions

_BACKLOG = 200_000
_REFILL = 50_000
_STALLED_AFTER = 15.0
_BOUND = 5.0


class Drift(NamedTuple):
    """Resident memory at both ends of a run, in MiB.

    Args:
        first: median of the first window after the warm-up.
        last: median of the last window.
    """

    first: float
    last: float

    @property
    def percent(self) -> float:
        """How much it grew."""
        return (self.last / self.first - 1) * 100


def drift(samples: Sequence[float]) -> Drift:
    """Compare the first with the last window of samples taken once a second; windows of a minute, or a sixth of all."""
    window = max(1, min(60, len(samples) // 6))
    return Drift(median(samples[window : 2 * window]), median(samples[-window:]))


def soak(arena: Arena, child: Child, seconds: int) -> tuple[list[float], float]:
    """Keep the consumer busy for so long; memory once a second, and messages a second."""
    samples: list[float] = []
    began = time.monotonic()
    acked, moved = 0, began
    while (now := time.monotonic()) < began + seconds:
        state = arena.state()
        child.check()
        if state["ack_floor"]["consumer_seq"] > acked:
            acked, moved = state["ack_floor"]["consumer_seq"], now
        elif now > moved + _STALLED_AFTER:
            raise child.failure(f"stalled after {acked} messages")
        if now >= began + len(samples):
            samples.append(child.rss())
            if len(samples) % 30 == 0:
                rate = acked / (now - began)
                print(f"{len(samples):5d} s  {samples[-1]:6.1f} MiB  {rate:9,.0f} messages/s", flush=True)
        if state["num_pending"] < _BACKLOG:
            arena.wire.fill("b.x", b"x" * 128, _REFILL)
        else:
            time.sleep(0.01)
    return samples, acked / (time.monotonic() - began)


def main() -> int:
    """Run it; 1 when memory drifted by more than 5 %."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave as after Ctrl-C: with no process left behind
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    with Arena() as arena:
        arena.wire.api(f"STREAM.DELETE.{STREAM}")
        arena.make_stream(STREAM, "b.>", max_msgs=2 * _BACKLOG)
        arena.make_consumer(paused=False)
        with arena.running(CONTENDERS["ours"], Job("ack", 0)) as child:
            arena.wait_open(child)
            samples, rate = soak(arena, child, seconds)
        server = arena.version
    found = drift(samples)
    print(f"{rate:,.0f} messages/s for {seconds} s; resident {found.first:.1f} MiB, at the end {found.last:.1f} MiB")
    print(f"drift {found.percent:+.1f} % (bound: {_BOUND:g} %)")
    FOLDER.mkdir(exist_ok=True)
    result = {"seconds": seconds, "rate": rate, **found._asdict(), "percent": found.percent, "samples": samples}
    (FOLDER / "soak.json").write_text(json.dumps(result | {"versions": versions(server)}) + "\n")
    return int(found.percent > _BOUND)


if __name__ == "__main__":
    sys.exit(main())
