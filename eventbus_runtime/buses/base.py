"""The seam between triggers and a broker. Raw deliveries come in lists, settlements and pulls leave in lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from eventbus_runtime.errors import EventbusError
from eventbus_runtime.events import State
from eventbus_runtime.message import Raw

Sink: TypeAlias = Callable[[list[Raw]], None]
"""Takes what one read brought for one inbox, in order; called on the event loop; must neither block nor raise."""

HeaderPairs: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


class Frame(NamedTuple):
    """One publish without confirmation: a nak or a pull request.

    Args:
        subject: where to.
        body: payload.
        reply: reply subject, or empty.
        keep_until: monotonic time (the event loop's clock, seconds) until which it may still be written after a
            lost connection came back, or a full one took more. 0: it belongs to the present connection, waits for it as
            long as need be, and is dropped with it.
    """

    subject: str
    body: bytes = b""
    reply: str = ""
    keep_until: float = 0.0


class PubAck(NamedTuple):
    """A stream's confirmation of a publish."""

    stream: str
    sequence: int
    duplicate: bool


Done: TypeAlias = Callable[[PubAck | EventbusError], None]
"""Takes what became of a publish."""


class Inbox(Protocol):
    """An open subscription of ours; its sink gets all that comes to `subject`, or to `subject.*`."""

    subject: str

    async def unsubscribe(self) -> None:
        """Tell the server to send no more. The sink still gets what is under way, until `close`."""

    def close(self) -> None:
        """Forget the sink. Idempotent, and safe when the connection is gone."""


class ConnectionListener(Protocol):
    """Told of breaks and refusals. All are called on the event loop and must not block."""

    def disconnected(self) -> None:
        """The connection is gone; nothing that it owed us will come."""

    def connected(self) -> None:
        """There is a connection again. Inboxes of the old one are dead."""

    def denied(self, subject: str) -> str | None:
        """The server does not permit a publish; the connection stands.

        Args:
            subject: to which one, in lower case: nats-py tells it so.

        Returns:
            What that subject, or all of its kind, is called, where this listener publishes there; else None.
        """


class Bus(Protocol):
    """One broker connection, shared by all that use it. Handlers may take it as a parameter."""

    name: str

    @property
    def state(self) -> State:
        """What the bus is doing."""

    @property
    def max_payload(self) -> int:
        """Most bytes of a message with its headers."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a live connection at this moment."""

    @property
    def congested(self) -> bool:
        """Whether the connection takes nothing more for now, so that what is sent gathers in memory."""

    async def wait_connected(self) -> None:
        """Return once there is a connection.

        Raises:
            AuthenticationError: the server refused the credentials before any connection stood.
        """

    async def publish(
        self,
        subject: str,
        payload: bytes | str = b"",
        headers: HeaderPairs = (),
        *,
        id: str | None = None,  # noqa: A002 - the header's own word
        expect_stream: str | None = None,
        timeout: float = 5.0,
    ) -> PubAck:
        """Publish, and wait until a stream has stored it.

        Args:
            subject: where to.
            payload: the body; text is encoded as UTF-8.
            headers: a mapping, or pairs where a name has several values.
            id: `Nats-Msg-Id`, for the stream's duplicate window.
            expect_stream: refuse any other stream (`Nats-Expected-Stream`).
            timeout: seconds to wait for the confirmation, with the wait for room among 4096 unconfirmed ones and with
                what is tried again where no stream listens. It is over at most 0.1 s late.

        Raises:
            PayloadTooLargeError: with its headers it is above `max_payload`; nothing was sent.
            NotPermittedError: the server does not permit this subject.
            NoStreamError: no stream listens there, nor did half a second later (NATS ADR-22).
            StreamFullError, WrongSequenceError, MessageTooLargeError: the stream refused it for this reason.
            PublishError: it was refused for another reason, or no confirmation came in time; then it may have been
                stored all the same, and only the same `id` keeps the next try from storing it twice.
            BusUnavailableError: there is no connection, or it was lost meanwhile; the text says whether it was sent.
            ValueError: subject or headers can't go on the wire.
        """

    def publish_nowait(
        self,
        subject: str,
        payload: bytes | str,
        headers: HeaderPairs,
        done: Done,
        *,
        id: str | None = None,  # noqa: A002 - as above
        timeout: float = 5.0,
    ) -> None:
        """As `publish`, for who has no task to spare: returns at once, and `done` is called on the event loop, once,
        with the confirmation, or with what `publish` would raise. It must not raise.

        Raises:
            PayloadTooLargeError, BusUnavailableError, ValueError: nothing was sent, and `done` is not called.
        """

    async def request(self, subject: str, payload: bytes = b"", *, timeout: float = 5.0) -> bytes:
        """Ask, and return the answer's payload.

        Raises:
            NotPermittedError: the server does not permit this subject.
            BusUnavailableError: no connection, nobody listens (503), or no answer within `timeout` seconds.
        """

    async def api(self, subject: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        """Ask the JetStream API. `subject` is what follows the API prefix, as `STREAM.INFO.ORDERS`.

        Raises:
            NotFoundError, ApiError: the API's own error.
            JetStreamDisabledError: JetStream is off on this server or account.
            NotPermittedError: the server does not permit this subject.
            BusUnavailableError: no answer.
        """

    def api_subject(self, subject: str) -> str:
        """`subject` behind this bus's API prefix (`$JS.API`, or a domain's)."""

    async def open_inbox(self, sink: Sink, *, wildcard: bool = False) -> Inbox:
        """Subscribe a new inbox of this connection; with `wildcard`, to everything one token below it.

        Raises:
            BusUnavailableError: there is no connection.
        """

    def send(self, frames: Sequence[Frame]) -> None:
        """Write frames, in order, with what else this turn of the loop has to say. Never blocks."""

    def answer_all(self, subjects: Sequence[bytes], body: bytes = b"", reply: str = "") -> None:
        """Write `body` to each of these reply subjects; the last one asks for an answer at `reply`. Never blocks;
        without a connection nothing is written, then or later.

        Args:
            subjects: as they came off the wire; at least one.
            body: what to write to each.
            reply: reply subject of the last, or empty.
        """

    async def ping(self, timeout: float = 5.0) -> bool:
        """Whether the server answered a PING that was sent behind all frames so far, within `timeout` seconds.
        All that it had sent us before has reached its sink by then."""

    def listen(self, listener: ConnectionListener) -> Callable[[], None]:
        """Tell `listener` of breaks from now on; call what is returned to end it."""
