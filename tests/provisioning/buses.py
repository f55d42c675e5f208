"""Buses in front of the real one that do what is hard to catch in the act."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.nats import NatsBus


def is_older(bus: NatsBus, version: str) -> bool:
    """Whether the server behind `bus` is older than `version`, as "2.11"."""
    return [int(part) for part in bus.server_version.split(".")[:2]] < [int(part) for part in version.split(".")]


class Asked:
    """Passes every question on, and notes what changes something."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.changes: list[str] = []

    @property
    def as_bus(self) -> Bus:
        return cast(Bus, self)

    async def api(self, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if subject.split(".")[1:2] != ["INFO"] and subject not in ("INFO", "STREAM.NAMES"):
            self.changes.append(subject)
        return await self._bus.api(subject, body)


class Overtaken(Asked):
    """Lets another process act just before the first change is sent."""

    def __init__(self, bus: Bus, other: Callable[[], Awaitable[object]]) -> None:
        super().__init__(bus)
        self._other = other

    async def api(self, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if not self.changes and subject.split(".")[1] in ("CREATE", "UPDATE"):
            await self._other()
        return await super().api(subject, body)


class Old(Asked):
    """Does to a request what an older server does: takes fields that it does not know off, without a word."""

    def __init__(self, bus: Bus, *unknown: str, level: int | None = None) -> None:
        super().__init__(bus)
        self._unknown, self._level = unknown, level

    async def api(self, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if body and "config" in body:
            body = {**body, "config": self._known(body["config"])}
        elif body:
            body = self._known(body)
        answer = await super().api(subject, body)
        if subject == "INFO":
            answer["api"] = {} if self._level is None else {"level": self._level}
        return answer

    def _known(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in config.items() if key not in self._unknown}
