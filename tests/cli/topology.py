"""A file beside a server, and the commands that compare and change."""

from __future__ import annotations

from pathlib import Path

from eventbus_runtime.testing.server import NatsServer
from tests.cli.command import eventbus

TOML = """
[streams.ORDERS]
subjects = ["orders.>"]
max_age = "7d"
[consumers.billing]
stream = "ORDERS"
ack_wait = "1m"
"""


def write(folder: Path, server: NatsServer, toml: str = TOML) -> Path:
    """A configuration for a server."""
    path = folder / "app.toml"
    path.write_text(f'[buses.main]\nurl = "{server.url}"\n{toml}')
    return path


def run(*arguments: str | Path, **environ: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `eventbus`."""
    done = eventbus(*arguments, environ=environ)
    return done.returncode, done.stdout.decode(), done.stderr.decode()
