"""The version matrix: `python -m tests.matrix [--list | --rotate] [ROW…]`, from the repository's root.

The tests of triggers, buses and provisioning, and the core of the chaos suite, on other versions of nats-server,
nats-py and Python. What pytest printed for a row is in `.matrix/ROW.log`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.matrix.environments import FOLDER, ROOT, Environment, Unavailable
from tests.matrix.results import Result, read, table
from tests.matrix.rows import ROWS, Row, named, rotated

_TESTS = (
    "tests/triggers",
    "tests/buses",
    "tests/provisioning",
    "tests/pipelines/steps",
    "tests/plugin",
    "tests/conformance",
    "tests/chaos",
)
_PYTEST = ("-m", "pytest", "-n", "2", "--dist", "loadgroup", "-rs", *_TESTS)
_VARIABLE = "MATRIX_ROW"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run rows, and print the table; 0 when every row that was asked for ran, and nothing failed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave as after Ctrl-C: with no process left behind
    if options.list:
        _say("\n".join(row.name for row in ROWS))
        return 0
    if options.rotate and not os.environ.get(_VARIABLE):
        return _rotate()
    try:
        rows = named([os.environ[_VARIABLE]] if options.rotate else options.rows)
    except ValueError as error:
        parser.error(str(error))
    results = [_run(row) for row in rows]
    _say(f"\n{datetime.now(UTC):%Y-%m-%d}\n\n{table(results)}")
    return int(not all(result.is_good for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description="Run the tests on other versions.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these rows; left out: all")
    parser.add_argument("--list", action="store_true", help="print the rows' names")
    parser.add_argument(
        "--rotate",
        action="store_true",
        help=f"one row, another each hour, of those possible here; {_VARIABLE}=… names it",
    )
    return parser


def _rotate() -> int:
    """Run the first row of this hour's order that this machine can set up."""
    for row in rotated():
        result = _run(row)
        if not result.unavailable:
            _say(f"to run this row again: {_VARIABLE}={row.name}")
            return int(not result.is_good)
        _say(f"WARNING: the row {row.name} can't be set up here, and another is taken")
    _say("WARNING: no row of the version matrix can be set up here: NOTHING WAS TESTED ON OTHER VERSIONS")
    return 0


def _run(row: Row) -> Result:
    """Set a row up, run its tests, and say in a line how it ended."""
    try:
        environment = Environment(row)
        versions = environment.versions()
    except Unavailable as error:
        result = Result(row.name, unavailable=str(error))
    else:
        report = FOLDER / f"{row.name}.xml"
        report.unlink(missing_ok=True)
        begun = time.monotonic()
        code = _pytest(row, environment)
        result = read(row.name, versions, code, report, time.monotonic() - begun)
    _say(str(result))
    for failure in result.failed:
        _say(f"  {failure}")
    if result.failed:
        _say(f"  see .matrix/{row.name}.log")
    return result


def _pytest(row: Row, environment: Environment) -> int:
    """Pytest's exit code. It has a session of its own, so that Ctrl-C reaches it once, and it can end its servers."""
    command = [str(environment.python), *_PYTEST, f"--junitxml={FOLDER / row.name}.xml"]
    variables = os.environ | {"EVENTBUS_NATS_SERVER": str(environment.server)}
    with (
        (FOLDER / f"{row.name}.log").open("wb") as log,
        subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
