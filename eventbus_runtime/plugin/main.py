"""`eventbus-plugin`: the plugin process, and what puts it where a host looks for it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from eventbus_runtime.errors import EventbusError

_NEEDED = ("grpc", "grpc_health", "google.protobuf")
_INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended: 128 and SIGINT's number."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the command line; None: that of this process.

    Returns:
        The exit code: 0 done; 1 it was not started by a host, or can't serve it; 2 a mistake in the command line.
    """
    parent = os.getppid()
    options = _parser().parse_args(arguments)
    if options.version:
        from importlib.metadata import version

        sys.stdout.write(f"eventbus-plugin {version('eventbus-runtime')}\n")
        return 0
    try:
        return _install(options) if options.command == "install" else _serve(parent)
    except (EventbusError, OSError) as error:  # of the system: no more descriptors, a host that does not listen
        sys.stderr.write(f"eventbus-plugin: {error}\n")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _serve(parent: int) -> int:
    from eventbus_runtime.plugin.handshake import refusal

    why = refusal(os.environ) or _missing()
    if why:
        sys.stderr.write(f"{why}\n")
        return 1
    from eventbus_runtime.plugin.stdio import Stdout

    stdout = Stdout()
    from eventbus_runtime.plugin.process import serve

    asyncio.run(serve(stdout, parent, os.environ))
    return 0


def _install(options: argparse.Namespace) -> int:
    if why := _missing():
        sys.stderr.write(f"{why}\n")
        return 1
    from eventbus_runtime.plugin.install import install

    for path in install(options.folder, force=options.force):
        sys.stdout.write(f"wrote {path}\n")
    return 0


def _missing() -> str:
    """What is not installed, as a line for people; empty: nothing."""
    for name in _NEEDED:
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return "the plugin process needs gRPC: pip install 'eventbus-runtime[rpc]'"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eventbus-plugin",
        description="The event bus as a plugin of a workflow engine, which starts it by itself.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    install = commands.add_parser(
        "install", help="put the plugin into an engine's folder of plugins", allow_abbrev=False
    )
    install.add_argument("folder", type=Path, metavar="DIR", help="the engine's folder of plugins")
    install.add_argument("--force", action="store_true", help="replace what somebody else put there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
