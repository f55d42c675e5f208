"""Streams and consumers by the server's own field names (nats-server `server/stream.go` and `server/consumer.go`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from eventbus_runtime.config.units import Bytes, Nanoseconds


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class ServerObject(BaseModel):
    """A table whose keys, but for a few of ours, go to the server as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_server(self, name: str) -> dict[str, Any]:
        """What was declared, in the server's JSON: only the fields that the file sets. Durations in nanoseconds."""
        raise NotImplementedError


class StreamConfig(ServerObject):
    """`[streams.NAME]`"""

    bus: str = Field("", description="The bus; may be left out when there is exactly one.")
    declare: bool = Field(True, description="false: attach only, never created or changed.")
    subjects: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field((), description="Subjects that it stores.")
    retention: Literal["limits", "interest", "workqueue"] = Field("limits", description="When messages go.")
    max_age: Nanoseconds = Field(0, description="Oldest message kept; 0: no limit.")
    max_bytes: Bytes = Field(-1, description="Most bytes kept; -1: no limit.")


class ConsumerConfig(ServerObject):
    """`[consumers.NAME]`: a durable pull consumer."""

    stream: str = Field("", description="The stream.")
    declare: bool = Field(True, description="false: attach only, never created or changed.")
    filter_subjects: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field(
        (), description="Only these subjects; empty: all."
    )
    ack_wait: Nanoseconds = Field(30 * 10**9, description="How long the server waits for a settlement.")
    max_ack_pending: int = Field(1000, description="Deliveries unsettled at once, over all instances.")
