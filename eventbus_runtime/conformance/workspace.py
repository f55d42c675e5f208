"""The streams of one suite: made under names that nobody else has, and removed, whatever happens in between."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack

from eventbus_runtime.conformance.broker import Broker
from eventbus_runtime.conformance.candidate import Candidate
from eventbus_runtime.conformance.phases import NotApplicableError, eventually, expect
from eventbus_runtime.errors import BusUnavailableError, EventbusError, NotPermittedError
from eventbus_runtime.provisioning.objects import StreamSpec
from eventbus_runtime.provisioning.resources import Resource, State

# Some accounts take no stream without a bound, and some have little room.
_ROOM = 4 * 2**20


class Workspace:
    """Where a suite works: one stream, and a connection of a bystander who makes, counts and removes it.

    Nothing is opened before it is asked for. What is not this suite's is neither read nor changed.

    Args:
        candidate: what is held to the suite.
        uri: the broker's address.
        replicas: copies of the stream.
        word: what the stream's name says of the suite.
    """

    def __init__(self, candidate: Candidate, uri: str, replicas: int, word: str) -> None:
        unique = secrets.token_hex(8)
        self.candidate, self.uri = candidate, uri
        self.stream = f"EVENTBUS_CONFORMANCE_{word}_{unique}".upper()
        self.subject = f"eventbus.conformance.{word}.{unique}"
        """What the stream stores is below it."""
        self.spec = StreamSpec(self.stream, (f"{self.subject}.>",), num_replicas=replicas, max_bytes=_ROOM)
        self._opened = AsyncExitStack()
        self._broker: Broker | None = None
        self._asked_for = False

    async def broker(self) -> Broker:
        """The bystander's view; connects when it is first asked for.

        Raises:
            EventbusError: it can't be reached.
        """
        if self._broker is None:
            bus = await self._opened.enter_async_context(self.candidate.open_bus(self.uri))
            self._broker = self.candidate.broker(bus)
        return self._broker

    def resource(self, state: State) -> Resource:
        """The stream as the provider's resource, found by its kind and name among others.

        Args:
            state: of the provisioned bus.

        Raises:
            UnmetError: there is none, or several.
        """
        other, kind = self.spec._replace(name="OTHER", subjects=("other",)), self.candidate.stream_kind
        made = self.candidate.provider.stream_resources((other, self.spec), state)
        found = [one for one in made if one.kind == kind and one.name == self.stream]
        expect(len(found) == 1, f"one resource {kind} {self.stream}", [f"{one.kind} {one.name}" for one in made])
        return found[0]

    def claim(self) -> None:
        """Count the stream as this suite's from now on: somebody makes it for us under the name that it has here."""
        self._asked_for = True

    async def make_stream(self, resource: Resource) -> None:
        """Make the stream.

        Raises:
            EventbusError: the broker does not; says why.
        """
        broker = await self.broker()
        self._asked_for = True
        try:
            await broker.make_stream(resource)
        except EventbusError as error:
            # Without an answer it may be there all the same.
            is_unknown = isinstance(error, BusUnavailableError) and not isinstance(error, NotPermittedError)
            self._asked_for = is_unknown
            raise

    async def stored(self) -> int | None:
        """How many messages the stream holds."""
        return await (await self.broker()).stored(self.stream)

    async def teardown(self) -> str:
        """Remove the stream, and see that it is gone: the last phase of a suite.

        Raises:
            NotApplicableError: none was made.
            UnmetError: it is still there.
        """
        if not self._asked_for:
            raise NotApplicableError("no stream was made, so that none is to be removed")
        await (await self.broker()).remove_stream(self.stream)
        what = f"messages in stream {self.stream} (None: it is gone)"
        await eventually(self.stored, None, what, self.candidate.patience)
        self._asked_for = False
        return f"stream {self.stream} is gone"

    async def clean(self) -> None:
        """Remove what is left, and close the connection. Idempotent.

        Raises:
            UnmetError, EventbusError: it could not be removed.
        """
        try:
            if self._asked_for:
                await self._remove()
        finally:
            self._broker = None
            await self._opened.aclose()

    async def _remove(self) -> None:
        # By a connection of its own: that of the phases may be what is broken.
        async with self.candidate.open_bus(self.uri) as bus:
            broker = self.candidate.broker(bus)
            await broker.remove_stream(self.stream)
            expect(await broker.stored(self.stream) is None, f"no stream {self.stream} any more", "it is still there")
        self._asked_for = False
