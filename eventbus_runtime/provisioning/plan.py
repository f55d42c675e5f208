"""What would be done so that a server has what a configuration declares, what can't be, and what it has besides. Pure.

It says of an object what `ensure_stream` and `ensure_consumer` would do with it, by the same differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.provisioning.dead_letters import fitted
from eventbus_runtime.provisioning.diff import Difference, diff_consumer, diff_start, diff_stream
from eventbus_runtime.provisioning.findings import Finding, note, warning
from eventbus_runtime.provisioning.gates import changes_since
from eventbus_runtime.provisioning.server import Server
from eventbus_runtime.provisioning.shown import said
from eventbus_runtime.provisioning.topology import refusal_of_fixed, refusal_of_overlap, refusal_of_unknown
from eventbus_runtime.subjects import any_covers, overlaps

Config = Mapping[str, Any]

_NAMES: Final = frozenset({"name", "durable_name"})


class Action(StrEnum):
    """What would be done about one object."""

    CREATE = "create"
    UPDATE = "update"
    REFUSE = "refuse"  # it can't be done, and so nothing is
    NOTHING = "nothing"


class Item(NamedTuple):
    """One declared object.

    Args:
        action: what would be done.
        name: its name.
        config: its declaration.
        differences: by field; of a creation, all that is declared.
        refusals: why it can't be done, and the way out.
        after: its configuration once that is done, in the server's JSON; None: it will not be there.
    """

    action: Action
    name: str
    config: StreamConfig | ConsumerConfig
    differences: tuple[Difference, ...] = ()
    refusals: tuple[str, ...] = ()
    after: Config | None = None

    @property
    def label(self) -> str:
        """What it is, as "stream ORDERS"."""
        return label_of(self.name, self.config)

    @property
    def key(self) -> str:
        """Where it is declared, as "streams.ORDERS"."""
        return f"{'streams' if isinstance(self.config, StreamConfig) else 'consumers'}.{self.name}"


@dataclass(frozen=True)
class BusPlan:
    """The plan of one bus.

    Args:
        bus: its name.
        server: what it has.
        streams, consumers: those that are declared for it, as they are declared.
        findings: what counts at creation only, and what is not there and not ours to make.
    """

    bus: str
    server: Server
    streams: tuple[Item, ...]
    consumers: tuple[Item, ...]
    findings: tuple[Finding, ...]

    @property
    def items(self) -> tuple[Item, ...]:
        """Streams, then consumers."""
        return self.streams + self.consumers

    def having(self, *actions: Action) -> list[Item]:
        """The items about which that would be done."""
        return [one for one in self.items if one.action in actions]

    def streams_after(self) -> dict[str, Config]:
        """The configuration of every stream once the plan is done, by name."""
        found = {name: one.config for name, one in self.server.streams.items()}
        return found | {one.name: one.after for one in self.streams if one.after is not None}


def label_of(name: str, config: StreamConfig | ConsumerConfig) -> str:
    """What an object is, as "consumer billing of stream ORDERS"."""
    return f"stream {name}" if isinstance(config, StreamConfig) else f"consumer {name} of stream {config.stream}"


def consumers_of(config: RuntimeConfig, bus: str) -> dict[str, ConsumerConfig]:
    """The declared consumers of a bus's streams, by name."""
    streams = {name for name, stream in config.streams.items() if stream.bus == bus}
    return {name: one for name, one in config.consumers.items() if one.stream in streams}


def make_plan(config: RuntimeConfig, bus: str, dead_letter_streams: Mapping[str, str], server: Server) -> BusPlan:
    """Compare what is declared for a bus with what its server has.

    Args:
        config: complete.
        bus: its name.
        dead_letter_streams: by trigger, the streams that are needed only if no other stores the subject.
        server: what it has; the consumers of every stream that is declared, too.
    """
    streams = {name: one for name, one in config.streams.items() if one.bus == bus}
    filled = {stream: trigger for trigger, stream in dead_letter_streams.items()}
    items = [_stream(name, one, server) for name, one in streams.items() if name not in filled]
    after = {name: one.config for name, one in server.streams.items()}
    after |= {item.name: item.after for item in items if item.after is not None}
    for name in (name for name in streams if name in filled):
        trigger = config.triggers[filled[name]]
        stored = any(any_covers(one.get("subjects") or (), trigger.dead_letter or "") for one in after.values())
        if trigger.enabled and not stored:
            declared = fitted(streams[name], after.get(name), after.get(trigger.stream))
            items.append(_stream(name, declared, server))
    items = _without_overlaps(items, server)
    there = {item.name for item in items if item.after is not None}
    consumers = [_consumer(name, one, server, there) for name, one in consumers_of(config, bus).items()]
    return BusPlan(bus, server, tuple(items), tuple(consumers), tuple(_findings(items, consumers, server)))


def _stream(name: str, config: StreamConfig, server: Server) -> Item:
    present = server.streams.get(name)
    if not config.declare:
        return Item(Action.NOTHING, name, config, after=present.config if present else None)
    declared, table = config.to_server(name), f"[streams.{name}]"
    refusals = [refusal_of_unknown(f"stream {name}", table, declared, server.age)]
    if declared.get("num_replicas", 1) > 1 and server.alone:
        refusals.append(
            f"stream {name}: num_replicas = {declared['num_replicas']} but the bus has 1 server: lower it, or "
            "make the bus a cluster"
        )
    if present is None and declared.get("sealed"):
        refusals.append(f"stream {name}: a stream can't be made sealed: leave sealed out until its messages are in it")
    if present is None:
        return _item(name, config, None, _creation(declared), declared, refusals)
    differences = [_as_old(one, server) for one in diff_stream(declared, present.config)]
    refusals += [refusal_of_fixed(f"stream {name}", table, differences), *_too_old(name, differences, server)]
    return _item(name, config, present.config, differences, declared, refusals)


def _consumer(name: str, config: ConsumerConfig, server: Server, streams: Iterable[str]) -> Item:
    stored = server.streams.get(config.stream)
    present = stored.consumers.get(name) if stored else None
    server_config: Config | None = present.get("config") if present else None
    if not config.declare:
        return Item(Action.NOTHING, name, config, after=server_config)
    label, table, declared = label_of(name, config), f"[consumers.{name}]", config.to_server(name)
    refusals = [refusal_of_unknown(label, table, declared, server.age)]
    if config.stream not in streams:
        refusals.append(
            f"{label}: that stream is not there, and with declare = false somebody else is to make it: have it made, "
            f"or declare it in [streams.{config.stream}]"
        )
    if server_config is None:
        return _item(name, config, None, _creation(declared), declared, refusals)
    differences = diff_consumer(declared, server_config)
    refusals.append(refusal_of_fixed(label, table, differences))
    return _item(name, config, server_config, differences, declared, refusals)


def _item(
    name: str,
    config: StreamConfig | ConsumerConfig,
    present: Config | None,
    differences: Iterable[Difference],
    declared: Config,
    refusals: Iterable[str],
) -> Item:
    found, refused = tuple(differences), tuple(filter(None, refusals))
    if refused:
        action = Action.REFUSE
    elif present is None:
        action = Action.CREATE
    else:
        action = Action.UPDATE if found else Action.NOTHING
    changed = {one.field: one.new for one in found}
    after = {**(present or {}), **(changed if present is not None else declared)}
    return Item(action, name, config, found, refused, after)


def _creation(declared: Config) -> list[Difference]:
    return [Difference(field, None, value, True) for field, value in declared.items() if field not in _NAMES]


def _as_old(one: Difference, server: Server) -> Difference:
    return one._replace(editable=one.editable and not changes_since(one.field, server.age))


def _too_old(name: str, differences: Iterable[Difference], server: Server) -> Iterator[str]:
    for one in differences:
        if version := changes_since(one.field, server.age):
            yield f"stream {name}: servers since {version} can change {one.field}, this one ({server.age}) can't"


def _without_overlaps(items: list[Item], server: Server) -> list[Item]:
    """Refuse what would store subjects that another stream stores."""
    after = {name: one.config.get("subjects") or () for name, one in server.streams.items()}
    after |= {item.name: item.after.get("subjects") or () for item in items if item.after is not None}
    checked = []
    for item in items:
        if item.action in (Action.CREATE, Action.UPDATE) and "subjects" in {one.field for one in item.differences}:
            refusals = tuple(
                refusal_of_overlap(item.label, other, theirs)
                for other, subjects in after.items()
                for theirs in subjects
                if other != item.name and any(overlaps(ours, theirs) for ours in after[item.name])
            )
            item = item._replace(action=Action.REFUSE, refusals=refusals) if refusals else item
        checked.append(item)
    return checked


def _findings(streams: Iterable[Item], consumers: Iterable[Item], server: Server) -> Iterator[Finding]:
    for item in (*streams, *consumers):
        if item.after is None:
            yield warning(item.key, f"{item.label} is not there, and with declare = false somebody else is to make it")
    for item in consumers:
        stored = server.streams.get(item.config.stream) if isinstance(item.config, ConsumerConfig) else None
        present = stored.consumers.get(item.name) if stored else None
        if not present or not item.config.declare:
            continue
        for one in diff_start(item.config.to_server(item.name), present.get("config") or {}):
            yield note(
                f"{item.key}.{one.field}",
                f"counts at creation only: {said(one.field, one.new)} is declared, and it was made with "
                f"{said(one.field, one.old)}; delete the consumer to have it start anew",
            )
