"""A connection that somebody else owns: used, never closed (S-24)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.client import Client

from eventbus_runtime.buses.nats.errors import PERMISSIONS_VIOLATION, sentence
from eventbus_runtime.buses.nats.lifecycle import Lifecycle
from eventbus_runtime.buses.nats.reader import check_client
from eventbus_runtime.errors import BusUnavailableError

_HOOKS = ("_disconnected_cb", "_reconnected_cb", "_closed_cb", "_error_cb")


class Adoption:
    """Follows the connections of a nats-py client by its callbacks; the owner's own callbacks are called too."""

    def __init__(self, life: Lifecycle, client: Client) -> None:
        self._life, self._client = life, client
        self._owners: dict[str, Callable[..., Awaitable[None]] | None] = {}

    def begin(self) -> None:
        """Hook in, and use the connection if there is one.

        Raises:
            BusError: this nats-py is not one that we know.
        """
        client = self._client
        check_client(client)
        self._owners = {hook: getattr(client, hook) for hook in _HOOKS}
        for hook in _HOOKS:
            setattr(client, hook, self._hook(hook))
        if client.is_connected:
            self._connected()
        elif client.is_closed:
            self._lost(None)
        else:
            self._life.away("its owner is connecting")

    def end(self) -> None:
        """Give everything back as it was."""
        for hook, owners in self._owners.items():
            setattr(self._client, hook, owners)

    def _hook(self, name: str) -> Callable[..., Awaitable[None]]:
        owners = self._owners[name]
        ours: dict[str, Callable[..., None]] = {
            "_disconnected_cb": lambda: self._lost(self._client.last_error),
            "_reconnected_cb": self._connected,
            "_closed_cb": lambda: self._lost(self._client.last_error),
            "_error_cb": self._error,
        }

        async def both(*arguments: Any) -> None:
            ours[name](*arguments)
            if owners is not None:
                await owners(*arguments)

        return both

    def _connected(self) -> None:
        self._life.detach("it was replaced")
        link = self._life.attach(self._client, self._lost)
        # Of the oldest nats-py that we allow, the callbacks are not called at every loss; its reader always ends.
        reading = self._client._reading_task
        assert reading is not None, "a connected client reads"

        def ended(_: asyncio.Task[Any]) -> None:
            if self._life.link is link:
                self._lost(self._client.last_error)

        reading.add_done_callback(ended)

    def _lost(self, error: BaseException | None) -> None:
        self._life.detach(sentence(error))
        if self._client.is_closed:
            self._life.fail(BusUnavailableError(f"the owner of bus {self._life.name!r} closed its connection"))

    def _error(self, error: Exception) -> None:
        text = sentence(error)
        if PERMISSIONS_VIOLATION in text:
            self._life.denied(text)
