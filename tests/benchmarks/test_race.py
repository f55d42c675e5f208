"""Small races, run in earnest: real server, real processes."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import TimeoutExpired

import psutil
import pytest

from benchmarks.arena import STREAM, Arena
from benchmarks.cases import CASES
from benchmarks.contenders import registry
from benchmarks.contenders.registry import CONTENDERS, Contender
from benchmarks.model import Case, Sample
from benchmarks.race import race
from benchmarks.wire import ApiError, Wire
from eventbus_runtime.testing.server import NatsServer


@pytest.fixture(autouse=True)
def _contenders_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py and uvloop are in this environment too; the contenders' own need not be made for a test."""
    monkeypatch.setattr(registry, "BENCH_PYTHON", Path(sys.executable))


def broken(name: str, program: str) -> Contender:
    """A contender that runs this Python text."""
    return Contender(name, name, frozenset({"ack"}), lambda job: [sys.executable, "-c", program])


def test_ours_and_a_hand_written_loop_race_and_one_that_dies_only_loses() -> None:
    said: list[str] = []
    dies = broken("dies", "raise SystemExit('no legs')")
    outcome = race(CASES["ack-128"].scaled(500, 1), [CONTENDERS["ours"], dies, CONTENDERS["hand"]], 1, said.append)
    assert {name: entry.problem for name, entry in outcome.entries.items()} == {
        "ours": "",
        "dies": "ended with exit code 1: no legs",
        "hand": "",
    }
    for name in ("ours", "hand"):
        assert 100 < (outcome.median(name, "rate") or 0) < 10_000_000
    assert [line.split(":")[1].strip() for line in said] == ["ours", "dies", "hand"]


def test_publishes_are_counted_by_the_server() -> None:
    outcome = race(CASES["publish"].scaled(300, 1), [CONTENDERS["ours"]], 1, lambda line: None)
    assert outcome.entries["ours"].problem == ""
    lies = "input('ready\\n'); print('done', flush=True); input()"
    liar = Contender("lies", "lies", frozenset({"publish"}), lambda job: [sys.executable, "-uc", lies])
    outcome = race(CASES["publish"].scaled(300, 1), [liar], 1, lambda line: None)
    assert outcome.entries["lies"].problem == "the stream has 0 of 300 messages"


@pytest.mark.parametrize("error", [TimeoutExpired("pace", 7), psutil.NoSuchProcess(1)])
def test_a_round_whose_process_is_late_or_gone_is_lost_and_the_race_goes_on(error: Exception) -> None:
    def measure(arena: Arena, contender: Contender, case: Case) -> Sample:
        raise error

    said: list[str] = []
    outcome = race(CASES["ack-128"]._replace(measure=measure), [CONTENDERS["ours"]], 2, said.append)
    assert outcome.entries["ours"].problem == str(error)
    assert len(said) == 2


def test_one_that_is_slow_but_never_stands_still_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.arena._SETTLED_WITHIN", 0.2)
    outcome = race(CASES["sleep"].scaled(20_000, 1), [CONTENDERS["hand"]], 1, lambda line: None)
    assert outcome.entries["hand"].problem.startswith("not done within 0.2 s: at ")


def test_one_that_cannot_be_had_is_named_and_not_run() -> None:
    absent = broken("absent", "")._replace(missing=lambda: "gcc is not installed")
    outcome = race(CASES["ack-128"].scaled(1, 1), [absent], 2, lambda line: None)
    assert outcome.entries["absent"].problem == "not available: gcc is not installed"
    assert outcome.entries["absent"].samples == []


def test_a_fill_is_stored_whole_with_its_headers() -> None:
    with Arena() as arena:
        arena.wire.fill("b.x", b"12345678", 12_001, {"A": "b"})
        state = arena.wire.api(f"STREAM.INFO.{STREAM}")["state"]
        assert state["messages"] == 12_001
        stored = arena.wire.api(f"STREAM.MSG.GET.{STREAM}", {"seq": 12_001})["message"]
        assert (stored["data"], stored["hdrs"]) == ("MTIzNDU2Nzg=", "TkFUUy8xLjANCkE6IGINCg0K")


def test_what_the_server_refuses_is_an_error() -> None:
    with NatsServer() as server, Wire(server.url) as wire:
        with pytest.raises(ApiError, match=r"STREAM.INFO.NONE: stream not found"):
            wire.api("STREAM.INFO.NONE")
        with pytest.raises(ApiError, match="nobody answers"):
            wire.fill("nobody.listens", b"1", 1)
