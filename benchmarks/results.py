"""The race as JSON: every round, medians, ratios, verdicts, and the versions of all that took part."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.contenders import native
from benchmarks.contenders.registry import BENCH_PYTHON, HERE
from benchmarks.goals import OURS, Verdict
from benchmarks.model import Outcome

FOLDER = Path(__file__).parent / "results"
_LIST = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
_SHOWN = ("faststream", "nats-py", "uvloop")


def write(path: Path, outcomes: Mapping[str, Outcome], verdicts: Iterable[Verdict]) -> None:
    """Write a results file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_dict(outcomes, verdicts), indent=2) + "\n")


def as_dict(outcomes: Mapping[str, Outcome], verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """What the file holds."""
    return {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(next(iter(outcomes.values())).server),
        "cases": {name: _case(outcome) for name, outcome in outcomes.items()},
        "goals": [
            {
                "case": verdict.goal.case,
                "metric": verdict.goal.metric,
                "goal": verdict.goal.text,
                "measured": verdict.measured,
                "bound": verdict.bound,
                "reached": verdict.reached,
            }
            for verdict in verdicts
        ],
    }


def machine() -> dict[str, Any]:
    """Processor, cores, system."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {"cpu": model or platform.processor(), "cores": os.cpu_count(), "system": platform.platform()}


def versions(server: str) -> dict[str, Any]:
    """Of Python, the server, our packages, and the contenders'."""
    theirs: dict[str, str] = {}
    if BENCH_PYTHON.exists():
        done = subprocess.run([BENCH_PYTHON, "-c", _LIST], capture_output=True, text=True, timeout=30, check=True)
        theirs = json.loads(done.stdout)
    required = (HERE / "go" / "go.mod").read_text().split()
    return {
        "python": platform.python_version(),
        "nats-server": server,
        "ours": {name: version(name) for name in ("eventbus-runtime", "nats-py", "uvloop")},
        "contenders": {name: theirs[name] for name in _SHOWN if name in theirs},
        "libnats": native.libnats_version(),
        "nats.go": required[required.index("github.com/nats-io/nats.go") + 1],
    }


def _case(outcome: Outcome) -> dict[str, Any]:
    case = outcome.case
    return {
        "title": case.title,
        "messages": case.messages,
        "size": case.size,
        "contenders": {
            name: {
                "rounds": [dict(sample) for sample in entry.samples],
                "median": {metric.name: entry.median(metric.name) for metric in case.metrics},
                "ratio": outcome.ratio(name, OURS, case.metrics[0].name),
                "problem": entry.problem,
            }
            for name, entry in outcome.entries.items()
        },
    }
