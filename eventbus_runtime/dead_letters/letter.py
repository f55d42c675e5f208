"""A dead letter as its stream stores it, whose it is, and the message that it becomes again."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

from eventbus_runtime.buses.stored import StoredMessage
from eventbus_runtime.config.dead_letters import DeadLetterRoute
from eventbus_runtime.triggers.dead_letter import OURS, REPLAYED

# What a stream's `republish` and services say of a message (nats-server, server/stream.go; NATS ADR-32). All else that
# begins with Nats- asks the server for something: it did so once, for the first publish.
_TELLS_ONLY = frozenset(
    ("stream", "subject", "sequence", "time-stamp", "last-sequence", "service-error", "service-error-code")
)
_ORIGINAL = "eventbus-original-"


class Origin(NamedTuple):
    """Where a dead letter's message came from; empty or None where its headers do not say."""

    stream: str
    consumer: str
    sequence: int | None
    subject: str


class Letter(NamedTuple):
    """One dead letter, with the names of the triggers that may have sent it."""

    message: StoredMessage
    triggers: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Why it is here, in one word; empty where it does not say."""
        return self._said("Reason")

    @property
    def error(self) -> str:
        """The error's text; empty where it does not say."""
        return self._said("Error")

    @property
    def failed_at(self) -> str:
        """When it was given up, as RFC 3339 by the worker's clock."""
        return self._said("Failed-At")

    @property
    def delivery_count(self) -> int | None:
        """How often the original was delivered."""
        return _number(self._said("Delivery-Count"))

    @property
    def origin(self) -> Origin:
        """Where its message came from."""
        return Origin(
            self._said("Stream"), self._said("Consumer"), _number(self._said("Sequence")), self._said("Subject")
        )

    @property
    def replays(self) -> int:
        """How often its message had been replayed before it came back."""
        return _number(self.message.headers.get(REPLAYED, "")) or 0

    @property
    def left_out(self) -> int | None:
        """How many bytes of payload stayed with the original: it was too large, or its consumer is `headers_only`."""
        size = _number(self._said("Payload-Left-Out"))
        if size is None and not self.message.payload:
            size = _number(self._said("Original-Msg-Size")) or None
        return size

    @property
    def replay_id(self) -> str:
        """The `Nats-Msg-Id` of its replay: always the same, and no other letter's, even in a stream made anew."""
        return f"{self.message.stream}.{self.message.sequence}.{self.message.timestamp_ns}.replay"

    def original_headers(self) -> list[tuple[str, str]]:
        """The headers of its message, to be published again, and how often it was replayed with this time.

        The origin's `Nats-*` headers stay `Eventbus-Original-*`, but for those that only tell something.
        """
        pairs = []
        for name, value in self.message.headers.pairs():
            lower = name.casefold()
            if lower in OURS or lower.startswith("nats-") or name == REPLAYED:
                continue
            tells = lower.startswith(_ORIGINAL) and lower[len(_ORIGINAL) :] in _TELLS_ONLY
            pairs.append((f"Nats-{name[len(_ORIGINAL) :]}" if tells else name, value))
        return [*pairs, (REPLAYED, str(self.replays + 1))]

    def as_dict(self, bus: str) -> dict[str, Any]:
        """All of it, for JSON. `bus` is the name of the bus that it is on."""
        message, origin = self.message, self.origin
        payload, encoding = as_text(message.payload)
        return {
            "bus": bus,
            "stream": message.stream,
            "sequence": message.sequence,
            "time": message.time,
            "subject": message.subject,
            "triggers": list(self.triggers),
            "reason": self.reason,
            "error": self.error,
            "failed_at": self.failed_at,
            "delivery_count": self.delivery_count,
            "origin": origin._asdict(),
            "replays": self.replays,
            "payload_left_out": self.left_out,
            "headers": {name: message.headers.getall(name) for name in message.headers},
            "payload": payload,
            "payload_encoding": encoding,
        }

    def _said(self, what: str) -> str:
        return self.message.headers.get(f"Eventbus-{what}", "")


class Place(NamedTuple):
    """One subject of dead letters on one bus, and the triggers that send there."""

    bus: str
    subject: str
    routes: tuple[DeadLetterRoute, ...]

    def letter(self, message: StoredMessage) -> Letter:
        """The dead letter that is stored here as this message."""
        letter = Letter(message, ())
        origin = letter.origin
        return letter._replace(
            triggers=tuple(
                route.trigger
                for route in self.routes
                if route.stream in ("", origin.stream) and route.consumer in ("", origin.consumer)
            )
        )


def places(routes: Sequence[DeadLetterRoute]) -> tuple[Place, ...]:
    """The places of these triggers' dead letters, in order; several triggers may share one."""
    found: dict[tuple[str, str], list[DeadLetterRoute]] = {}
    for route in routes:
        found.setdefault((route.bus, route.subject), []).append(route)
    return tuple(Place(bus, subject, tuple(group)) for (bus, subject), group in found.items())


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def as_text(payload: bytes) -> tuple[str, str]:
    """A payload as JSON can hold it, and its encoding: `utf-8`, or `base64` where it is no text."""
    try:
        return payload.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(payload).decode(), "base64"
