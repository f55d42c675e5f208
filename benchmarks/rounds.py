"""How one round of one contender is measured. All of these fill or empty the arena's streams as they need."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.arena import MAX_ACK_PENDING, RELAYED, STREAM, Arena
from benchmarks.child import ROOT, FailedError
from benchmarks.contenders.registry import Contender
from benchmarks.model import Case, Sample

_DONE_WITHIN = 120.0
_SETTLES = 1.0
_WARM_UP = 0.1


def consume(arena: Arena, contender: Contender, case: Case) -> Sample:
    """Messages a second from the resumed consumer to the last ack at the server, and processor time of a message."""
    _fill(arena, case)
    arena.renew_relayed()
    arena.make_consumer(paused=True)
    with arena.running(contender, case.job) as child:
        arena.wait_open(child)
        before = child.cpu()
        began = arena.release()
        ended = arena.wait_settled(child, case.messages)
        cpu = child.cpu() - before
        if case.mode == "relay" and arena.messages(RELAYED) != case.messages:
            raise FailedError(f"relayed {arena.messages(RELAYED)} of {case.messages} messages")
    return {"rate": case.messages / (ended - began), "cpu": cpu / case.messages * 1e6}


def publish(arena: Arena, contender: Contender, case: Case) -> Sample:
    """Messages a second from the go to the last confirmation, and processor time of a message."""
    arena.renew_relayed()
    with arena.running(contender, case.job) as child:
        child.hear("ready", within=30)
        child.calm()
        before, began = child.cpu(), time.monotonic()
        child.say("go")
        child.hear("done", within=_DONE_WITHIN)
        took, cpu = time.monotonic() - began, child.cpu() - before
    if arena.messages(RELAYED) != case.messages:
        raise FailedError(f"the stream has {arena.messages(RELAYED)} of {case.messages} messages")
    return {"rate": case.messages / took, "cpu": cpu / case.messages * 1e6}


def start(arena: Arena, contender: Contender, case: Case) -> Sample:
    """Seconds from the start of the process to the server's receipt of its first ack, for a message that waits."""
    _fill(arena, case)
    arena.make_consumer(paused=False)
    began = time.time()
    with arena.running(contender, case.job) as child:
        return {"seconds": arena.wait_settled(child, case.messages) - began}


def memory(arena: Arena, contender: Contender, case: Case) -> Sample:
    """Resident MiB while waiting for messages, and with as many in flight as the consumer allows."""
    _fill(arena, case)
    arena.make_consumer(paused=True)
    with arena.running(contender, case.job) as child:
        arena.wait_open(child)
        idle = child.rss()
        arena.release()
        arena.wait_held(child, MAX_ACK_PENDING)
        time.sleep(_SETTLES)
        return {"idle": idle, "held": child.rss()}


def latency(arena: Arena, contender: Contender, case: Case) -> Sample:
    """Milliseconds from publish to handler, at a steady rate; the first tenth is warm-up."""
    arena.empty(STREAM)
    floor = _last_sequence(arena)
    arena.make_consumer(paused=False)
    with arena.running(contender, case.job) as child:
        arena.wait_open(child)
        pace = [sys.executable, "-m", "benchmarks.pace", arena.url, str(case.rate), str(case.messages), str(case.size)]
        subprocess.run(pace, cwd=ROOT, check=True, timeout=case.messages / case.rate + 20)
        arena.wait_settled(child, floor + case.messages)
        file = child.folder / "samples.txt"
        samples = sorted(int(line) for line in file.read_text().split()[int(case.messages * _WARM_UP) :])
    return {f"p{share}": samples[len(samples) * share // 100] / 1e6 for share in (50, 99)}


def _fill(arena: Arena, case: Case) -> None:
    """The case's messages, put into the stream once for all its rounds."""
    if arena.messages(STREAM) != case.messages:
        arena.wire.fill("b.x", b"x" * case.size, case.messages, case.headers)


def _last_sequence(arena: Arena) -> int:
    return int(arena.wire.api(f"STREAM.INFO.{STREAM}")["state"]["last_seq"])
