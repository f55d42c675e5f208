"""What one plugin process holds: the modules that are initialised, found by name. One of it per process, no globals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from eventbus_runtime.events import Tell
from eventbus_runtime.plugin.failures import PluginError

if TYPE_CHECKING:
    from eventbus_runtime.plugin.modules import BusModule, ConsumerModule, StreamModule
    from eventbus_runtime.plugin.triggers import TriggerModule


class Declared:
    """The initialised modules by instance name, and the triggers that run.

    Args:
        environ: the variables, where addresses are (S-23).
        tell: takes facts.
    """

    def __init__(self, environ: Mapping[str, str], tell: Tell) -> None:
        self.environ, self.tell = environ, tell
        self.buses: dict[str, BusModule] = {}
        self.streams: dict[str, StreamModule] = {}
        self.consumers: dict[str, ConsumerModule] = {}
        self.triggers: set[TriggerModule] = set()

    def bus(self, name: str = "") -> BusModule:
        """The bus of that name, or the only one (S-25).

        Raises:
            PluginError: there is none, or several and none is named.
        """
        known = ", ".join(sorted(self.buses))
        if name:
            if name not in self.buses:
                raise PluginError(f'there is no bus "{name}"; declared: {known or "none"}')
            return self.buses[name]
        if not self.buses:
            raise PluginError("no bus is declared: add a module of type infra.eventbus")
        if len(self.buses) > 1:
            raise PluginError(f"there are several buses, and none is named; name one as bus: {known}")
        return next(iter(self.buses.values()))

    def stream(self, name: str, bus: str) -> StreamModule | None:
        """The declared stream of that name on a bus: another bus may have one of the same name."""
        found = (one for one in self.streams.values() if one.config.name == name)
        return next((one for one in found if one.bus in ("", bus)), None)

    def consumer(self, name: str, stream: str = "") -> ConsumerModule | None:
        """The declared consumer of that durable name; of that stream alone, where one is given."""
        found = (one for one in self.consumers.values() if one.config.name == name)
        return next((one for one in found if not stream or one.config.stream_name == stream), None)
