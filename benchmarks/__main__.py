"""The race: `python -m benchmarks`, from the repository's root; see README.md beside this file."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import chart, results, table
from benchmarks.cases import CASES, CHARTED, QUICK, QUICK_CONTENDERS, QUICK_SHARE
from benchmarks.contenders.registry import CONTENDERS
from benchmarks.goals import judge
from benchmarks.model import Outcome
from benchmarks.race import race

CHART = Path(__file__).with_name("consume.svg")


def main(arguments: list[str] | None = None) -> int:
    """Race, print the table, write the results; 1 when ours failed somewhere."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave as after Ctrl-C: with no process left behind
    cases = options.cases or (QUICK if options.quick else tuple(CASES))
    names = options.contenders or (QUICK_CONTENDERS if options.quick else tuple(CONTENDERS))
    outcomes: dict[str, Outcome] = {}
    for name in cases:
        case = CASES[name].scaled(options.messages, QUICK_SHARE if options.quick else 1.0)
        outcomes[name] = race(case, [CONTENDERS[each] for each in names], options.rounds, _say)
    verdicts = judge(outcomes)
    print(table.render(outcomes, verdicts))
    everything = (set(cases), set(names)) == (set(CASES), set(CONTENDERS))
    full = everything and not options.quick and not options.messages and options.rounds >= 3
    path = options.output or results.FOLDER / ("latest.json" if full else "partial.json")
    results.write(path, outcomes, verdicts)
    print(f"\nwritten: {path}")
    if full:
        CHART.write_text(chart.draw(outcomes[CHARTED]))
        print(f"written: {CHART}")
    return int(any(outcome.entries["ours"].problem for outcome in outcomes.values() if "ours" in outcome.entries))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Race eventbus-runtime against others.")
    parser.add_argument("--quick", action="store_true", help="two cases, three contenders, fewer messages")
    parser.add_argument("--cases", type=_names(CASES), help=f"only these, of: {', '.join(CASES)}")
    parser.add_argument("--contenders", type=_names(CONTENDERS), help=f"only these, of: {', '.join(CONTENDERS)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs each case (3)")
    parser.add_argument("--messages", type=int, help="in each round, instead of each case's own number")
    parser.add_argument("--output", type=Path, help="the JSON file, instead of one in benchmarks/results")
    return parser


def _names(known: Mapping[str, object]) -> Callable[[str], tuple[str, ...]]:
    """Reads a comma-separated list of names."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return read


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
