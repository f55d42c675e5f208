"""The origin's three steps as typed callables (S-30 to S-33): in handlers, in pipelines of steps, from outside."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.pipelines.base import Delivery
from eventbus_runtime.pipelines.steps.ack import AckStep, Find, nowhere
from eventbus_runtime.pipelines.steps.consume import ConsumeStep, Source
from eventbus_runtime.pipelines.steps.publish import PublishStep

__all__ = ["AckStep", "ConsumeStep", "PublishStep", "Source", "Steps"]


class Steps(NamedTuple):
    """The steps of one bus."""

    publish: PublishStep
    consume: ConsumeStep
    ack: AckStep

    @classmethod
    def over(cls, bus: Bus, sources: Mapping[str, Source] = MappingProxyType({}), find: Find = nowhere) -> Steps:
        """The steps apart from any delivery.

        Args:
            bus: the bus.
            sources: its declared consumers, by name.
            find: see `AckStep`.
        """
        return cls(PublishStep.over(bus), ConsumeStep(sources), AckStep(bus, find))

    def within(self, delivery: Delivery) -> Steps:
        """The steps as the handler of this delivery gets them."""
        return Steps(PublishStep.within(delivery), self.consume.within(delivery), self.ack.within(delivery))
