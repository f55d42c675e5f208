"""`NatsBus`: the `Bus` protocol over nats-py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import anyio
from nats.aio.client import Client

from eventbus_runtime.buses.base import ConnectionListener, Done, Frame, HeaderPairs, Inbox, PubAck, Sink
from eventbus_runtime.buses.nats.adopt import Adoption
from eventbus_runtime.buses.nats.dial import keep_dialled
from eventbus_runtime.buses.nats.errors import api_error
from eventbus_runtime.buses.nats.lifecycle import Lifecycle
from eventbus_runtime.buses.nats.link import Link
from eventbus_runtime.buses.nats.options import check_names, endpoints
from eventbus_runtime.buses.nats.publisher import Publisher
from eventbus_runtime.buses.nats.requests import json_object, nobody_listens, too_large
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.counters import BusCounters
from eventbus_runtime.errors import BusError, BusUnavailableError, JetStreamDisabledError
from eventbus_runtime.events import Fact, State, Tell
from eventbus_runtime.message import Raw

# What a stop may take, in seconds, and the share of it that the last PING gets; the rest is for closing the socket.
_CLOSE_WITHIN, _FLUSH = 5.0, 0.4


def _silent(fact: Fact) -> None:
    pass


class NatsBus:
    """One connection to NATS, kept for ever while entered (`async with`); see `buses.base.Bus` for the verbs.

    Entering starts connecting and returns at once. Leaving writes what is pending and closes; it may come twice.

    Args:
        name: the bus's name in the configuration.
        config: its section.
        urls: addresses, with `embedded` and the variables of S-23 resolved.
        tell: gets one fact per change of state, and warnings.

    Raises:
        ConfigError: no address, or an address or name that can't be used.
    """

    def __init__(self, name: str, config: BusConfig, *, urls: Sequence[str], tell: Tell = _silent) -> None:
        self._places = endpoints(name, urls)
        self._prepare(name, config, None, tell)

    @classmethod
    def adopt(cls, name: str, client: Client, *, config: BusConfig | None = None, tell: Tell = _silent) -> Self:
        """A bus on an open nats-py connection, which is used and never closed (S-24). Its owner's settings for
        reconnecting count; of `config`, only `inbox_prefix`, `domain` and `api_prefix` do.

        Args:
            name: the bus's name.
            client: the connection; its callbacks stay in force.
            config: settings of the bus.
            tell: gets the facts.
        """
        bus = cls.__new__(cls)
        bus._places = []
        bus._prepare(name, config or BusConfig(), client, tell)
        return bus

    def _prepare(self, name: str, config: BusConfig, adopted: Client | None, tell: Tell) -> None:
        check_names(name, config)
        self.name = name
        self._config = config
        self._life = Lifecycle(name, config.inbox_prefix, tell)
        self._publisher = Publisher(self._life)
        self._adoption = Adoption(self._life, adopted) if adopted is not None else None
        self._keeper: asyncio.Task[None] | None = None
        self._entered = False

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError(f"bus {self.name!r} was entered before; make a new one")
        self._entered = True
        if self._adoption is not None:
            self._adoption.begin()
        else:
            keeping = keep_dialled(self._life, self._config, self._places)
            self._keeper = asyncio.create_task(keeping, name=f"eventbus bus {self.name}")
            self._keeper.add_done_callback(self._keeper_ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, within: float = _CLOSE_WITHIN) -> None:
        """Write what is pending, and end. Idempotent.

        Args:
            within: seconds that it may take.
        """
        # Shielded: closing a connection in a cancelled scope would leave tasks behind.
        with anyio.move_on_after(within, shield=True):
            link = self._life.link
            if link is not None and self.state is State.RUNNING:
                # The PONG says that the server has all of it; a socket closed before could take the last words along.
                await link.ping(within * _FLUSH)
            self._life.stop()
            if self._adoption is not None:
                self._adoption.end()
            ending = [task for task in (self._keeper, link.writing if link else None) if task is not None]
            for task in ending:
                task.cancel()
            if ending:
                await asyncio.wait(ending)

    @property
    def urls(self) -> tuple[str, ...]:
        """Its addresses, with the credentials given in them; none where somebody else owns the connection."""
        return tuple(place.address for place in self._places)

    @property
    def state(self) -> State:
        """What the bus is doing."""
        return self._life.state

    @property
    def reason(self) -> str:
        """Why it is in this state, in a sentence; empty where the state says all."""
        return self._life.reason

    @property
    def counters(self) -> BusCounters:
        """What it did since it began."""
        return self._life.counters

    @property
    def is_connected(self) -> bool:
        """Whether there is a live connection at this moment."""
        return self._life.link is not None

    @property
    def congested(self) -> bool:
        """Whether the connection takes nothing more for now, so that what is sent gathers in memory."""
        return self._life.writer.congested

    @property
    def max_payload(self) -> int:
        """Most bytes of a message with its headers, as the server said; its default before the first connection."""
        return self._life.max_payload

    @property
    def url(self) -> str:
        """Address of the present connection, without credentials; empty when there is none."""
        link = self._life.link
        where = link.client.connected_url if link else None
        return f"{where.scheme}://{where.netloc.rpartition('@')[2]}" if where else ""

    @property
    def server_version(self) -> str:
        """Version of the connected server; empty when there is none."""
        return str(self.server_info.get("version", ""))

    @property
    def server_info(self) -> Mapping[str, Any]:
        """What the connected server said of itself in its greeting (INFO); empty when there is none."""
        link: Link | None = self._life.link
        return link.client._server_info if link else {}

    @property
    def serves_jetstream(self) -> bool:
        """Whether the connected server's own JetStream answers, and no other's behind a domain or a prefix."""
        own = not (self._config.domain or self._config.api_prefix)
        return own and bool(self.server_info.get("jetstream"))

    @property
    def is_alone(self) -> bool:
        """Whether what serves our JetStream is known to be a single server, so that nothing can be replicated."""
        return self.serves_jetstream and not self.server_info.get("cluster")

    async def wait_connected(self) -> None:
        """Return once there is a connection.

        Raises:
            AuthenticationError: the server refused the credentials before any connection stood.
            ConfigError: a file that the configuration names can't be used.
            BusUnavailableError: the bus was stopped, or its owner closed the connection.
        """
        await self._life.wait()

    def publish(
        self,
        subject: str,
        payload: bytes | str = b"",
        headers: HeaderPairs = (),
        *,
        id: str | None = None,  # noqa: A002 - the header's own word
        expect_stream: str | None = None,
        timeout: float = 5.0,
    ) -> Coroutine[Any, Any, PubAck]:
        """Publish, and wait until a stream has stored it; see `buses.base.Bus.publish`. A `Nats-Msg-Id` among the
        headers wins over `id`."""
        # Not `async def`: a coroutine around the publisher's own would cost every publish.
        return self._publisher.publish(subject, payload, headers, id, expect_stream, timeout)

    def publish_nowait(
        self,
        subject: str,
        payload: bytes | str,
        headers: HeaderPairs,
        done: Done,
        *,
        id: str | None = None,  # noqa: A002 - the header's own word
        timeout: float = 5.0,
    ) -> None:
        """Publish, and have `done` called with what becomes of it; see `buses.base.Bus.publish_nowait`."""
        self._publisher.submit(subject, payload, headers, id, None, timeout, done)

    async def request(self, subject: str, payload: bytes = b"", *, timeout: float = 5.0) -> bytes:
        """Ask, and return the answer's payload; see `buses.base.Bus.request`."""
        try:
            raw = await self._ask(subject, payload, timeout)
        except TimeoutError:
            raise BusUnavailableError(f"no answer from {subject!r} within {timeout:g} s") from None
        if nobody_listens(raw):
            raise BusUnavailableError(f"nobody answers on {subject!r}")
        return raw[2]

    async def api(self, subject: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        """Ask the JetStream API; see `buses.base.Bus.api`."""
        asked = self.api_subject(subject)
        try:
            raw = await self._ask(asked, json.dumps(body).encode() if body is not None else b"", timeout)
        except TimeoutError:
            raise BusUnavailableError(f"JetStream did not answer {asked!r} within {timeout:g} s") from None
        if nobody_listens(raw):
            raise self._no_jetstream(asked)
        answer = json_object(raw[2])
        error = answer.get("error")
        if isinstance(error, dict):
            raise api_error(error, asked)
        if not answer:
            raise BusUnavailableError(f"something other than JetStream answered on {asked!r}: {raw[2][:80]!r}")
        return answer

    def api_subject(self, subject: str) -> str:
        """`subject` behind this bus's API prefix (`$JS.API`, or a domain's)."""
        config = self._config
        prefix = config.api_prefix or (f"$JS.{config.domain}.API" if config.domain else "$JS.API")
        return f"{prefix.rstrip('.')}.{subject}"

    async def open_inbox(self, sink: Sink, *, wildcard: bool = False) -> Inbox:
        """Subscribe a new inbox of this connection; see `buses.base.Bus.open_inbox`."""
        return self._life.live().open_inbox(sink, wildcard)

    def send(self, frames: Sequence[Frame]) -> None:
        """Write frames, in order, with what else this turn of the loop has to say. Never blocks.

        Raises:
            ValueError: a subject can't go on the wire; nothing of this call is written then.
        """
        self._life.writer.send(frames)

    def answer_all(self, subjects: Sequence[bytes], body: bytes = b"", reply: str = "") -> None:
        """Write `body` to each of these reply subjects; see `buses.base.Bus.answer_all`."""
        self._life.writer.answer_all(subjects, body, reply)

    async def ping(self, timeout: float = 5.0) -> bool:
        """Whether the server answered a PING behind all frames so far; see `buses.base.Bus.ping`."""
        link = self._life.link
        return await link.ping(timeout) if link else False

    def listen(self, listener: ConnectionListener) -> Callable[[], None]:
        """Tell `listener` of breaks from now on; call what is returned to end it."""
        return self._life.listen(listener)

    async def _ask(self, subject: str, payload: bytes, timeout: float) -> Raw:
        link = self._life.live()
        if len(payload) > self.max_payload:
            raise too_large(subject, len(payload), self.max_payload)
        return await link.requests.ask(subject, payload, timeout=timeout)

    def _no_jetstream(self, asked: str) -> BusError:
        if self._config.domain or self._config.api_prefix:
            return BusUnavailableError(f"no JetStream answers on {asked!r}: check domain and api_prefix")
        if not self.server_info.get("jetstream"):
            return JetStreamDisabledError(
                f"JetStream is off on {self.url}, the server of bus {self.name!r}: start it with -js, "
                "or with jetstream {} in its configuration"
            )
        return BusUnavailableError(f"JetStream does not answer on {asked!r} now")

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        error = None if keeper.cancelled() else keeper.exception()
        if error is not None:
            self._life.detach("its keeper failed")
            self._life.fail(BusError(f"bus {self.name!r} broke down: {type(error).__name__}: {error}"))
