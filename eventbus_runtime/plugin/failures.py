"""Mistakes of a host, told to it."""

from __future__ import annotations

from eventbus_runtime.errors import EventbusError


class PluginError(EventbusError):
    """The host asks for what can't be done: an unknown handle or type, a second start, a missing bus; or (in `client`)
    what a plugin process answered, or why it can't be talked to."""
