"""The origin's three steps as typed callables (S-30 to S-33): in handlers, in pipelines of steps, from outside."""

from eventbus_runtime.pipelines.steps.ack import AckStep
from eventbus_runtime.pipelines.steps.consume import ConsumeStep, Source
from eventbus_runtime.pipelines.steps.publish import PublishStep

__all__ = ["AckStep", "ConsumeStep", "PublishStep", "Source"]
