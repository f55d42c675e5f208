"""The steps as handlers of a running configuration get them: over its buses, its consumers and its triggers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.pipelines.base import Delivery

if TYPE_CHECKING:
    from eventbus_runtime.pipelines.steps import Steps
    from eventbus_runtime.triggers.fetch import Fetcher
    from eventbus_runtime.triggers.subscribe import SubscribeTrigger


class RuntimeSteps:
    """Made of what the runtime has; nothing of it is imported or opened before a handler asks for a step.

    Args:
        config: the configuration.
        triggers: the triggers of this process; may be filled later.
    """

    def __init__(self, config: RuntimeConfig, triggers: Mapping[str, SubscribeTrigger]) -> None:
        self._config, self._triggers = config, triggers
        self._steps: dict[str, Steps] = {}
        self._fetchers: list[Fetcher] = []

    def over(self, bus: Bus) -> Steps:
        """The steps of a bus; the consumers of its streams are what can be consumed."""
        if bus.name not in self._steps:
            from eventbus_runtime.pipelines.steps import Steps
            from eventbus_runtime.triggers.fetch import Fetcher

            streams = self._config.streams
            sources = {
                name: Fetcher(bus, consumer.stream, name)
                for name, consumer in self._config.consumers.items()
                if streams[consumer.stream].bus == bus.name
            }
            self._fetchers += sources.values()
            self._steps[bus.name] = Steps.over(bus, sources, partial(self._held, bus.name))
        return self._steps[bus.name]

    async def close(self) -> None:
        """Give up what is being fetched."""
        for fetcher in self._fetchers:
            await fetcher.close()

    def _held(self, bus: str, token: str) -> Delivery | None:
        config = self._config.triggers
        # Of this bus: where a stream of another one mirrors it, the same token means another delivery there.
        triggers = (trigger for name, trigger in self._triggers.items() if config[name].bus == bus)
        return next(filter(None, (trigger.held(token) for trigger in triggers)), None)
