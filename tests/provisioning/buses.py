"""Buses in front of the real one that do what is hard to catch in the act."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import nats
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.errors import BusError, BusUnavailableError
from eventbus_runtime.testing.server import NatsServer


def is_older(bus: NatsBus, version: str) -> bool:
    """Whether the server behind `bus` is older than `version`, as "2.11"."""
    return [int(part) for part in bus.server_version.split(".")[:2]] < [int(part) for part in version.split(".")]


async def onlook(server: NatsServer, subject: str) -> tuple[Client, Subscription]:
    """A second connection that sees all that is published to `subject` from now on."""
    client = await nats.connect(server.url)
    seen = await client.subscribe(subject)
    for _ in range(2):  # nats-py's first PING can overtake the SUB that waits in its buffer
        await client.flush()
    return client, seen


class Asked:
    """Passes every question on, and notes what changes something."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.changes: list[str] = []

    @property
    def as_bus(self) -> Bus:
        return cast(Bus, self)

    async def api(self, subject: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        if subject.split(".")[1:2] != ["INFO"] and subject not in ("INFO", "STREAM.NAMES"):
            self.changes.append(subject)
        return await self._bus.api(subject, body, timeout=timeout)


class Overtaken(Asked):
    """Lets another process act just before the first change is sent."""

    def __init__(self, bus: Bus, other: Callable[[], Awaitable[object]]) -> None:
        super().__init__(bus)
        self._other = other

    async def api(self, subject: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        if not self.changes and subject.split(".")[1] in ("CREATE", "UPDATE"):
            await self._other()
        return await super().api(subject, body, timeout=timeout)


class Old(Asked):
    """Does to a request what an older server does: takes fields that it does not know off, without a word."""

    def __init__(self, bus: Bus, *unknown: str, level: int | None = None) -> None:
        super().__init__(bus)
        self._unknown, self._level = unknown, level

    async def api(self, subject: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        if body and "config" in body:
            body = {**body, "config": self._known(body["config"])}
        elif body:
            body = self._known(body)
        answer = await super().api(subject, body, timeout=timeout)
        if subject == "INFO":
            answer["api"] = {} if self._level is None else {"level": self._level}
        return answer

    def _known(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in config.items() if key not in self._unknown}


class Electing(Asked):
    """Leaves the first `silences` questions about an object without an answer, as a group does while it elects."""

    def __init__(self, bus: Bus, silences: int) -> None:
        super().__init__(bus)
        self._silences = silences

    async def api(self, subject: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        if ".INFO." in subject and self._silences:
            self._silences -= 1
            await asyncio.sleep(timeout)
            raise BusUnavailableError(f"no answer within {timeout:g} s")
        return await super().api(subject, body, timeout=timeout)


class Unavailable(Asked):
    """Refuses the first `times` creations by `error`, as a cluster does that is not complete."""

    def __init__(self, bus: Bus, error: BusError, times: int = 1) -> None:
        super().__init__(bus)
        self._error, self._times = error, times

    async def api(self, subject: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        if ".CREATE." in subject and self._times:
            self._times -= 1
            raise self._error
        return await super().api(subject, body, timeout=timeout)


class Crossed(Asked):
    """Gives the first change the answer to the one that another process sends right after it, as a cluster does."""

    def __init__(self, bus: Bus, other: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        super().__init__(bus)
        self._other = other

    async def api(self, subject: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        is_first = not self.changes
        answer = await super().api(subject, body, timeout=timeout)
        return await self._other() if is_first and self.changes else answer


class Unheard(Asked):
    """Loses the answer to the first change, as a leader that dies behind it does."""

    async def api(self, subject: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        is_first = not self.changes
        answer = await super().api(subject, body, timeout=timeout)
        if is_first and self.changes:
            raise BusUnavailableError("no answer")
        return answer
