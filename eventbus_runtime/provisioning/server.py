"""What a JetStream has: its streams and consumers, as it says them, and how much is in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.buses.questions import ELECTION, ask
from eventbus_runtime.config.objects import StreamConfig
from eventbus_runtime.errors import BusUnavailableError
from eventbus_runtime.provisioning.gates import ServerAge, age_of
from eventbus_runtime.provisioning.patience import unavailable

_INTERNAL: Final = ("KV_", "OBJ_", "$")


@dataclass(frozen=True)
class Stored:
    """One stream.

    Args:
        config: in the server's JSON.
        state: `messages`, `bytes`, `first_ts`, `consumer_count` and the like.
        consumers: what CONSUMER.INFO says of each, by name; empty where they were not asked for.
        per_subject: messages of each subject; None: not asked for.
    """

    config: Mapping[str, Any]
    state: Mapping[str, Any]
    consumers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    per_subject: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Server:
    """One JetStream.

    Args:
        version: of the connected server, as "2.15.1".
        age: how new the JetStream is.
        alone: whether it is known to be a single server.
        streams: by name.
    """

    version: str
    age: ServerAge
    alone: bool
    streams: Mapping[str, Stored]


def is_internal(stream: str) -> bool:
    """Whether a stream of this name belongs to something that makes its own: a key-value bucket, an object store, the
    server's MQTT."""
    return stream.startswith(_INTERNAL)


async def read_server(
    bus: NatsBus, *, consumers_of: Collection[str] | None = None, declared: Mapping[str, StreamConfig] | None = None
) -> Server:
    """Ask for all streams, and for the consumers of some.

    Args:
        bus: connected.
        consumers_of: the streams whose consumers are wanted; None: all.
        declared: what is declared, by name: where it lowers a limit for each subject, their messages are counted.

    Raises:
        BusUnavailableError: no answer, or a cluster that can't tell of all at present.
        BusError: the server refuses to tell.
    """
    with unavailable():
        info = await ask(bus, "INFO", patience=ELECTION)
    streams, clustered = {}, False
    for answer in await _pages(bus, "STREAM.LIST", "streams"):
        name = answer["config"]["name"]
        wanted = consumers_of is None or name in consumers_of
        consumers = await _pages(bus, f"CONSUMER.LIST.{name}", "consumers") if wanted else []
        clustered |= bool((answer.get("cluster") or {}).get("name"))
        streams[name] = Stored(
            answer["config"],
            answer.get("state") or {},
            {one["name"]: one for one in consumers},
            await _per_subject(bus, answer["config"], (declared or {}).get(name)),
        )
    version = bus.server_version
    level = (info.get("api") or {}).get("level", 0)
    return Server(
        version, age_of(level, version if bus.serves_jetstream else ""), bus.is_alone and not clustered, streams
    )


async def _pages(bus: NatsBus, subject: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        with unavailable():
            answer = await bus.api(subject, {"offset": len(found)}, timeout=ELECTION)
        if missing := answer.get("missing"):
            raise BusUnavailableError(f"the cluster can't tell of {', '.join(missing)} at present: try again")
        page = answer.get(key) or []
        found += page
        if not page or len(found) >= answer.get("total", 0):
            return found


async def _per_subject(
    bus: NatsBus, config: Mapping[str, Any], declared: StreamConfig | None
) -> Mapping[str, int] | None:
    """The first hundred thousand subjects: what the server tells at once."""
    wanted, present = declared.max_msgs_per_subject if declared else -1, config.get("max_msgs_per_subject", -1)
    if wanted <= 0 or 0 < present <= wanted:
        return None
    answer = await bus.api(f"STREAM.INFO.{config['name']}", {"subjects_filter": ">"}, timeout=30)
    counts: Mapping[str, int] = answer["state"].get("subjects") or {}
    return counts
