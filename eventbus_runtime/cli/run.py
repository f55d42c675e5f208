"""`eventbus-run`: runs a configuration, or checks it. What only some runs need is imported where it is needed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from eventbus_runtime.errors import ConfigError, EventbusError

if TYPE_CHECKING:
    from eventbus_runtime.config.loader import Loaded

_INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended: 128 and SIGINT's number."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the command line; None: that of this process.

    Returns:
        The exit code: 0 done, 1 a fatal error at run time, 2 a mistake in the configuration or the command line,
        3 deliveries had to be cancelled, 130 interrupted before the start.
    """
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except ConfigError as error:
        _say(sys.stderr, *map(str, error.problems))
        return error.exit_code
    except EventbusError as error:
        _say(sys.stderr, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    if options.version:
        from importlib.metadata import version

        _say(sys.stdout, f"eventbus-runtime {version('eventbus-runtime')}")
        return 0
    if options.schema:
        import json

        from eventbus_runtime.config.schema import json_schema

        _say(sys.stdout, json.dumps(json_schema(), indent=2))
        return 0
    # The service before the user's code is loaded: our logs must be the first to import structlog, without rich.
    from eventbus_runtime.config.loader import load
    from eventbus_runtime.service import serve

    loaded = load(
        options.file,
        overrides=options.overrides,
        secrets_dir=options.secrets_dir,
        only=[name.strip() for names in options.only for name in names.split(",") if name.strip()],
    )
    if options.check or options.dry_run:
        _show(loaded, whole=options.dry_run)
        return 0
    return serve(loaded, stop_when_idle=options.stop_when_idle)


def _show(loaded: Loaded, *, whole: bool) -> None:
    _say(sys.stderr, *(f"warning: {problem}" for problem in loaded.warnings))
    if whole:
        from eventbus_runtime.config.effective import effective

        sys.stdout.write(effective(loaded.config, {key for key, _ in loaded.filled}))
        return
    config = loaded.config
    counts = (
        _count(len(config.buses), "bus", "buses"),
        _count(len(config.streams), "stream", "streams"),
        _count(len(config.triggers), "trigger", "triggers"),
    )
    _say(sys.stdout, f"{loaded.path}: ok ({', '.join(counts)})")


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eventbus-run",
        description="Runs the triggers of a configuration.",
        epilog="Exit codes: 0 done, 1 fatal error, 2 mistake in the configuration, 3 deliveries had to be cancelled.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("file", nargs="?", type=Path, metavar="FILE", help="the configuration; left out: what EVENTBUS_CONFIG holds")
    add("--check", action="store_true", help="check the file and the code that it names; connect to nothing")
    add("--dry-run", action="store_true", help="print the whole effective configuration; connect to nothing")
    add("--only", action="append", default=[], metavar="A,B", help="run these triggers only")
    add("--set", action="append", default=[], dest="overrides", metavar="A.B.C=V", help="set a key, over all sources")
    add("--secrets-dir", type=Path, metavar="DIR", help="folder of files named like variables (EVENTBUS_SECRETS_DIR)")
    add("--stop-when-idle", type=_duration, metavar="2s", help="end once nothing was left to do for so long")
    add("--schema", action="store_true", help="print the JSON schema of the file")
    add("--version", action="store_true", help="print the version")
    return parser


def _duration(text: str) -> float:
    from eventbus_runtime.config.units import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _say(stream: TextIO, *lines: str) -> None:
    stream.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
