"""What a server has, as the tables of a file: only what differs from the defaults, in a file's units. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from eventbus_runtime.config.objects import ConsumerConfig, Source, StreamConfig, check_name
from eventbus_runtime.config.toml import toml_key, toml_value
from eventbus_runtime.provisioning.advisories import is_advisory_consumer
from eventbus_runtime.provisioning.diff import one_filter_field, own_metadata
from eventbus_runtime.provisioning.server import Server, Stored, is_internal
from eventbus_runtime.provisioning.shown import file_value

_WINDOW: Final = 120 * 10**9  # the server's own choices
_PIN: Final = 120 * 10**9
# What is said by the table's name, or is no longer anybody's (templates, gone with 2.11).
_UNSAID: Final = frozenset({"name", "durable_name", "template_owner"})


@dataclass
class Imported:
    """The tables, and what could not become one.

    Args:
        streams, consumers: tables by name, as a file would hold them.
        left_out: what it is, and why.
    """

    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    consumers: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def attach_only(self, stream: str, why: str) -> None:
        """Declare a stream by its name alone."""
        self.streams[stream] = {"declare": False}
        self.left_out.append((f"the configuration of stream {stream}", why))

    def leave_out(self, consumer: str, why: str) -> None:
        """Take the table of a consumer away."""
        stream = self.consumers.pop(consumer)["stream"]
        self.left_out.append((f"consumer {consumer} of stream {stream}", why))

    def text(self, head: str) -> str:
        """All of it as TOML.

        Args:
            head: the tables of the buses.
        """
        tables = [("streams", self.streams), ("consumers", self.consumers)]
        parts = [head.rstrip()]
        for section, objects in tables:
            for name, table in objects.items():
                keys = [f"{toml_key(key)} = {toml_value(value)}" for key, value in table.items()]
                parts.append("\n".join([f"[{section}.{toml_key(name)}]", *keys]))
        if self.left_out:
            parts.append("\n".join(["# Left out:", *(comment(f"{what}: {why}") for what, why in self.left_out)]))
        return "\n\n".join(parts) + "\n"


def comment(text: str) -> str:
    """One line that TOML passes over."""
    return "# " + "".join(character if character.isprintable() else " " for character in text)


def import_server(server: Server) -> Imported:
    """The tables for all that a server has, as far as each by itself can be declared."""
    found = Imported()
    for name, stored in sorted(server.streams.items()):
        if is_internal(name):
            found.left_out.append((f"stream {name}", "a key-value bucket, an object store, or the server's own"))
            continue
        try:
            check_name(name)
        except ValueError as error:
            found.left_out.append((f"stream {name}", str(error)))
            continue
        _stream(found, name, stored)
        for consumer, info in sorted(stored.consumers.items()):
            label = f"consumer {consumer} of stream {name}"
            if why := _why_not(found, consumer, info) or _consumer(found, name, stored, consumer, info):
                found.left_out.append((label, why))
    return found


def _stream(found: Imported, name: str, stored: Stored) -> None:
    config = dict(stored.config)
    age, window = config.get("max_age", 0), config.get("duplicate_window", 0)
    if window == (min(_WINDOW, age) if age else _WINDOW) and not (config.get("mirror") or config.get("sources")):
        del config["duplicate_window"]
    table = dict(_fields(config, StreamConfig))
    if why := _refused(StreamConfig, table) or _unknown(config, StreamConfig):
        found.attach_only(name, why)
    else:
        found.streams[name] = table


def _why_not(found: Imported, name: str, info: Mapping[str, Any]) -> str:
    """Why a consumer is none that a file declares; empty where it is."""
    config = info.get("config") or {}
    if config.get("direct") or config.get("sourcing"):
        return "the server's own, for a mirror or a source"
    if config.get("deliver_subject"):
        return f"a push consumer (to {config['deliver_subject']}); triggers use pull consumers"
    if not config.get("durable_name"):
        return "ephemeral, so that it goes by itself"
    if is_advisory_consumer(name):
        return "the runtime's own, made when it starts"
    if name in found.consumers:
        return f"a file has one consumer of a name, and this one is declared for {found.consumers[name]['stream']}"
    return ""


def _consumer(found: Imported, stream: str, stored: Stored, name: str, info: Mapping[str, Any]) -> str:
    """Declare it; else say why that can't be."""
    config = one_filter_field(info["config"])
    if config.get("backoff"):
        config.pop("ack_wait", None)  # the server repeats the first step there
    if config.get("priority_timeout") == _PIN:
        del config["priority_timeout"]
    table = {"stream": stream, **dict(_fields(config, ConsumerConfig))}
    # Under consumer_limits the default is another one.
    if (stored.config.get("consumer_limits") or {}).get("max_ack_pending") and config.get("max_ack_pending"):
        table["max_ack_pending"] = config["max_ack_pending"]
    why = _refused(ConsumerConfig, table) or _unknown(config, ConsumerConfig)
    if not why:
        found.consumers[name] = table
    return why


def _fields(config: Mapping[str, Any], model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """In the order of the model."""
    known = {**config, "metadata": own_metadata(config)}
    for name, about in model.model_fields.items():
        value = _without_empty(known.get(name))
        if name not in _UNSAID and value and value != about.default:
            yield name, file_value(name, value)


def _without_empty(value: Any) -> Any:
    match value:
        case Mapping():
            members = {key: _without_empty(item) for key, item in value.items()}
            return {key: item for key, item in members.items() if item}
        case list():
            return [_without_empty(item) for item in value]
    return value


def _refused(model: type[BaseModel], table: Mapping[str, Any]) -> str:
    try:
        model.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    return ""


def _unknown(config: Mapping[str, Any], model: type[BaseModel]) -> str:
    known = {*model.model_fields, *_UNSAID}
    names = [name for name, value in config.items() if value and name not in known]
    names += [
        f"{name} of a source"
        for source in (*(config.get("sources") or ()), config.get("mirror") or {})
        for name in source
        if name not in Source.model_fields
    ]
    return f"this version of eventbus-runtime does not know its {', '.join(names)}" if names else ""
