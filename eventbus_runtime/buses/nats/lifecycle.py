"""What a bus is doing, and who is told: the present link, the state with its reason, listeners and facts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from nats.aio.client import Client

from eventbus_runtime.buses.base import ConnectionListener
from eventbus_runtime.buses.nats.errors import PERMISSIONS_VIOLATION
from eventbus_runtime.buses.nats.link import Link
from eventbus_runtime.buses.nats.writer import Writer
from eventbus_runtime.counters import BusCounters
from eventbus_runtime.errors import BusUnavailableError, EventbusError
from eventbus_runtime.events import State, StateChanged, Tell, Warned

# A server that refuses a different subject each time must not fill the memory, nor the log.
_MAX_WARNINGS = 100
# The server's default, until its greeting says otherwise.
_MAX_PAYLOAD = 1 << 20
# As nats-py tells it (nats-server, server/client.go: pubPermissionViolation).
_DENIED = re.compile(f'{PERMISSIONS_VIOLATION} for publish to "(.+)"')


class Lifecycle:
    """State of one bus. Its keeper (`dial`, `adopt`) calls `attach`, `detach`, `away`, `fail`; the bus calls `stop`."""

    def __init__(self, name: str, inbox_prefix: str, tell: Tell) -> None:
        self.name = name
        self.state = State.STARTING
        self.reason = ""
        self.counters = BusCounters()
        self.writer = Writer()
        self.link: Link | None = None
        self.max_payload = _MAX_PAYLOAD
        self.stood = False  # whether there has ever been a connection
        self._inbox_prefix = inbox_prefix
        self._tell = tell
        self._failure: EventbusError | None = None
        self._listeners: list[ConnectionListener] = []
        self._settled = asyncio.Event()  # connected, failed or stopped
        self._warned: set[str] = set()

    async def wait(self) -> None:
        """Return once there is a connection.

        Raises:
            EventbusError: what made the bus fail.
            BusUnavailableError: the bus is stopped.
        """
        while self.link is None:
            if self._failure is not None:
                raise self._failure
            if self.state is State.STOPPED:
                raise BusUnavailableError(f"bus {self.name!r} is stopped")
            await self._settled.wait()

    def live(self) -> Link:
        """The present link.

        Raises:
            BusUnavailableError: there is none; the text says why.
        """
        if self.link is None:
            why = f": {self.reason}" if self.reason else ""
            raise BusUnavailableError(f"bus {self.name!r} is not connected ({self.state.value}{why})")
        return self.link

    def listen(self, listener: ConnectionListener) -> Callable[[], None]:
        """Tell `listener` of breaks, until what is returned is called."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def attach(self, client: Client, lost: Callable[[BaseException], None]) -> Link:
        """`client` is connected."""
        self.link = Link(client, self.writer, self._inbox_prefix, lost, self.warn)
        self.max_payload = client.max_payload
        if self.stood:
            self.counters.reconnects += 1
        self.stood = True
        self._become(State.RUNNING, "")
        self._settled.set()
        for listener in tuple(self._listeners):
            listener.connected()
        return self.link

    def detach(self, reason: str) -> None:
        """The connection is lost. Idempotent."""
        link, self.link = self.link, None
        if link is None:
            return
        self._settled.clear()
        self.away(reason)
        link.close(f"bus {self.name!r} lost its connection: {reason}")
        for listener in tuple(self._listeners):
            listener.disconnected()

    def away(self, reason: str) -> None:
        """There is no connection for now, and it is tried again."""
        if self.state not in (State.FAILED, State.STOPPED):
            self._become(State.BACKING_OFF, reason)

    def fail(self, error: EventbusError) -> None:
        """There will be no connection."""
        self._failure = error
        self._become(State.FAILED, str(error))
        self._settled.set()

    def stop(self) -> None:
        """The bus ends: nothing is written any more."""
        if self.state is not State.FAILED:
            self._become(State.STOPPED, "")
        self.detach("the bus was stopped")
        self.writer.close()
        self._settled.set()

    def denied(self, text: str) -> None:
        """The server refuses one thing, and the connection stands: fail what waits for it, and tell who did it.

        Args:
            text: the server's own, in lower case.
        """
        match = _DENIED.search(text)
        if match is not None:
            subject = match[1]
            names = [listener.denied(subject) for listener in tuple(self._listeners)]
            names.append(self.link.requests.denied(subject) if self.link is not None else None)
            text = text.replace(subject, next((name for name in names if name), subject))
        elif f'{PERMISSIONS_VIOLATION} for subscription to "{self._inbox_prefix.lower()}.' in text:
            text = (
                f'the server does not permit it to subscribe to "{self._inbox_prefix}.>", where answers come: give its '
                f"user that permission, or set buses.{self.name}.inbox_prefix to what it may subscribe to"
            )
        self.warn(text)

    def warn(self, text: str, **detail: object) -> None:
        """Tell an operator of something, once per text."""
        if text not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(text)
            self._tell(Warned(self.name, text, detail))

    def _become(self, state: State, reason: str) -> None:
        old, self.state, self.reason = self.state, state, reason
        if state is not old:
            self._tell(StateChanged("bus", self.name, old, state, reason))
