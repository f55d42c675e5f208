"""What the tests of `PullWindow` share."""

from __future__ import annotations

from eventbus_runtime.triggers.pull import Limits, PullWindow, Request
from eventbus_runtime.triggers.status import Status

LIMITS = Limits(expires=30.0, heartbeat=5.0)


def status(text: str, *, messages: int | None = None) -> Status:
    counts = "" if messages is None else f"\r\nNats-Pending-Messages: {messages}\r\nNats-Pending-Bytes: 0"
    return Status.parse(f"NATS/1.0 {text}{counts}\r\n\r\n".encode())


def started(capacity: int = 10, limits: Limits = LIMITS) -> tuple[PullWindow, str]:
    """A window that has asked for all that it can hold, at time 0; and the token of that request."""
    window = PullWindow(capacity, limits)
    window.resume(0.0)
    (request,) = requests(window)
    return window, request.token


def requests(window: PullWindow, now: float = 0.0) -> list[Request]:
    commands = window.commands(now)
    asked = [command for command in commands if isinstance(command, Request)]
    assert len(asked) == len(commands), commands
    return asked
