"""How a child process runs the same handler as we do, where it can."""

from __future__ import annotations

import sys

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.loader import Loaded
from eventbus_runtime.triggers.child import Launch


def launch(loaded: Loaded, trigger: str, bus: NatsBus) -> Launch | str:
    """What a child needs for the handler of a trigger; or why none can run it, as a sentence.

    Args:
        loaded: our configuration.
        trigger: the trigger's name.
        bus: its bus.
    """
    if sys.platform == "win32":
        return "that is not supported on Windows"
    if loaded.arguments is None:
        return "the configuration was made in code, and no other process can load it"
    registry = loaded.registry
    if any(each.module == "__main__" for each in (*registry.pipelines.values(), *registry.resources.values())):
        return "handlers are registered in the main script: move them into a module that runtime.imports names"
    if not bus.urls:
        return f"the connection of bus {bus.name} is the application's own"
    return Launch(loaded.arguments, trigger, bus.urls)
