"""Stands in for what is being written elsewhere at the same time; goes as soon as that is there."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from eventbus_runtime.buses.base import Bus, Frame
from eventbus_runtime.config import model as config_model
from eventbus_runtime.config import objects
from eventbus_runtime.contracts.duration import Duration
from eventbus_runtime.contracts.model import ClusterConfig, ConsumerConfig, StreamConfig
from eventbus_runtime.message import Raw


def to_bus(config: ClusterConfig) -> config_model.BusConfig:
    return config_model.BusConfig(provider=config.provider, deploy_target=config.deploy_target)


def to_stream(config: StreamConfig, *, bus: str = "", max_age: Duration | None = None) -> objects.StreamConfig:
    age = config.max_age or max_age
    values: dict[str, Any] = {"bus": bus, "subjects": config.subjects}
    if config.retention_policy:
        values["retention"] = config.retention_policy.name.rpartition("_")[2].lower()
    if age:
        values["max_age"] = f"{age.nanoseconds}ns"
    return objects.StreamConfig(**values)


def to_consumer(config: ConsumerConfig, *, ack_wait: Duration | None = None) -> objects.ConsumerConfig:
    values: dict[str, Any] = {"stream": config.stream_name}
    if config.filter_subject:
        values["filter_subject"] = config.filter_subject
    if ack_wait:
        values["ack_wait"] = f"{ack_wait.nanoseconds}ns"
    return objects.ConsumerConfig(**values)


class Fetcher:
    def __init__(self, bus: Bus, stream: str, consumer: str) -> None:
        self._bus, self._next = bus, bus.api_subject(f"CONSUMER.MSG.NEXT.{stream}.{consumer}")

    async def fetch(self, batch: int, max_wait: float) -> list[Raw]:
        got: list[Raw] = []
        full = asyncio.Event()

        def sink(raws: list[Raw]) -> None:
            got.extend(raw for raw in raws if raw[1].startswith(b"$JS.ACK."))
            if len(got) >= batch or any(not raw[1] for raw in raws):
                full.set()

        inbox = await self._bus.open_inbox(sink)
        body = json.dumps({"batch": batch, "expires": int(max_wait * 1e9)}).encode()
        self._bus.send([Frame(self._next, body, inbox.subject)])
        try:
            async with asyncio.timeout(max_wait + 0.5):
                await full.wait()
        except TimeoutError:
            pass
        finally:
            await inbox.unsubscribe()
            inbox.close()
        return got

    async def close(self) -> None:
        pass


def held(trigger: Any, token: str) -> Any:
    return next((one for one in trigger._progress.deliveries if one.token == token.encode()), None)
