"""What every target refuses or warns about (E1 to E9): what the server would refuse once all is running."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from eventbus_runtime.config.model import EMBEDDED, uri_variable
from eventbus_runtime.config.targets import NATS, cannot_run, not_pinned
from eventbus_runtime.provisioning.findings import Finding, error, warning
from eventbus_runtime.provisioning.inputs import Inputs

MiB, GiB = 1 << 20, 1 << 30
_CURE = "name a secret instead (deploy.worker.creds_secret), and give the address without it"
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_FULL = re.compile(r"\d+\.\d+\.\d+(-(RC|rc|beta|preview)[A-Za-z0-9.]*)?")
_MINOR = re.compile(r"\d+\.\d+")
_SERVERS = (1, 3, 5)
_SECRETS = (
    (re.compile(r"\b(?:nats|tls|wss?)://[^/\s\"']*@", re.IGNORECASE), "the NATS URL carries a user or password"),
    (re.compile(r"\bS[UAOXCN][A-Z2-7]{56}\b"), "an nkey seed stands in the file"),
    (re.compile(r"BEGIN (?:NATS USER JWT|USER NKEY SEED)"), "credentials stand in the file"),
)
_SECRET_KEYS = (("auth", "password"), ("auth", "token"), ("runtime", "http_token"))
_OTHER_AUTH = ("user", "password", "token", "nkey_seed_file")


def common(inputs: Inputs, longest_name: int = 52) -> Iterator[Finding]:
    """What is wrong for whatever target.

    Args:
        inputs: the bus.
        longest_name: characters that the bus's name may have.
    """
    at = f"buses.{inputs.bus}"
    yield from version(inputs)
    if inputs.replicas not in _SERVERS:
        yield error(f"{at}.replicas", f"{inputs.replicas} {_too_many(inputs.replicas)}; use 1, 3 or 5")
    if len(inputs.bus) > longest_name or not DNS_LABEL.fullmatch(inputs.bus):
        yield error(
            at,
            f'bus name "{inputs.bus}" is not a DNS label '
            f"(lower case, digits, '-', at most {longest_name} characters)",
        )
    yield from _streams(inputs)
    if inputs.jetstream:
        yield from _sizes(inputs)
    yield from _limits(inputs)
    yield from secrets(inputs)
    if inputs.worker:
        yield from worker_file(inputs)
    if inputs.replicas >= 3 and (inputs.cpu < 2000 or inputs.memory < 8 * GiB):
        yield warning(f"{at}.limits", "a cluster in production wants 2 processors and 8 GiB for each server")


def _too_many(replicas: int) -> str:
    if replicas % 2:
        return "servers all vote on what JetStream's meta leader decides, and 5 lose two of them without harm"
    down = "one server" if replicas == 2 else f"{replicas // 2} servers"
    return f"loses its quorum with {down} down, like {replicas - 1} but with more to fail"


def version(inputs: Inputs) -> Iterator[Finding]:
    """S-7, E1."""
    key, text = f"buses.{inputs.bus}.version", inputs.version
    if _MINOR.fullmatch(text):
        yield warning(key, f'"{text}" is a tag that moves; give a full version such as "2.14.6"')
    elif not _FULL.fullmatch(text):
        yield error(key, not_pinned(text))


def secrets(inputs: Inputs) -> Iterator[Finding]:
    """E8: nothing that is written may hold one."""
    values = list(_texts(_tables(inputs), ()))
    for pattern, what in _SECRETS:
        # In the values, too: an escape hides what it stands for from who reads the file alone.
        if any(pattern.search(text) for text in (inputs.text, *(value for _, value in values))):
            yield error("", f"{what}, and would be written into the output; {_CURE}")
    for keys, value in values:
        is_bare = keys[:1] == ("buses",) and keys[2:3] == ("url",) and "@" in value and "//" not in value
        if is_bare or (keys[-2:] in _SECRET_KEYS and value.strip()):
            what = "carries a user or password" if is_bare else "is a secret"
            yield error(".".join(keys), f"{what}, and would be written into the output; {_CURE}")


def _tables(inputs: Inputs) -> dict[str, Any]:
    with suppress(tomllib.TOMLDecodeError):  # the loader has read it, or ended with that error
        return tomllib.loads(inputs.text)
    return {}


def _texts(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """All texts of a file, with their keys; those of a list have the list's."""
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, keys)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, (*keys, key))


def worker_file(inputs: Inputs) -> Iterator[Finding]:
    """What the file says that the worker, who gets address and credentials by variables, would not start with."""
    buses = _tables(inputs).get("buses")
    buses = buses if isinstance(buses, dict) else {}
    yield from _other_buses(inputs, buses)
    bus = buses.get(inputs.bus)
    for key in ("store", "server"):
        if isinstance(bus, dict) and key in bus:
            cure = "take it out of the file that is deployed"
            yield error(f"buses.{inputs.bus}.{key}", f"is for an embedded server, and the worker gets another; {cure}")
    auth = bus.get("auth") if isinstance(bus, dict) else None
    given = [key for key in _OTHER_AUTH if isinstance(auth, dict) and key in auth]
    if given and inputs.worker and inputs.worker.creds:
        cure = 'leave it out, or set deploy.worker.creds_secret = ""'
        yield error(f"buses.{inputs.bus}.auth.{given[0]}", f"and nats.creds are two kinds of credentials; {cure}")


def _other_buses(inputs: Inputs, buses: dict[str, Any]) -> Iterator[Finding]:
    for name, bus in buses.items():
        if name == inputs.bus or not isinstance(bus, dict):
            continue
        key, url = f"buses.{name}.url", bus.get("url")
        if why := cannot_run(bus.get("provider", NATS)):
            yield error(f"buses.{name}.provider", why)
        elif not url:
            text = f"missing, and the worker gets the address of {inputs.bus} alone"
            yield warning(key, f"{text}; write it, or set {uri_variable(name)} for the worker by other means")
        elif url in (EMBEDDED, [EMBEDDED]):
            yield warning(key, "embedded, so that each worker has a server of its own; give the address of one for all")


def _limits(inputs: Inputs) -> Iterator[Finding]:
    at = f"buses.{inputs.bus}.limits"
    amounts = {f"{at}.cpu": inputs.cpu, f"{at}.memory": inputs.memory, f"{at}.storage": inputs.storage}
    if inputs.worker:
        amounts |= {"deploy.worker.cpu": inputs.worker.cpu, "deploy.worker.memory": inputs.worker.memory}
    for key, amount in amounts.items():
        if amount <= 0:
            yield error(key, "leaves nothing; give an amount above 0, or leave it out for the default")


def _streams(inputs: Inputs) -> Iterator[Finding]:
    servers, cure = _so_many_servers(inputs), f"raise buses.{inputs.bus}.replicas, or lower it"
    for name, stream in inputs.streams.items():
        at, copies = f"streams.{name}", max(1, stream.num_replicas)
        if copies > inputs.replicas:
            yield error(f"{at}.num_replicas", f"{copies} but the bus has {servers}; {cure}")
        if not inputs.jetstream:
            yield error(at, f"a stream needs JetStream, and buses.{inputs.bus}.jetstream.enabled is false")
        elif stream.storage == "memory" and not inputs.max_memory:
            key = f"buses.{inputs.bus}.jetstream.max_memory_bytes"
            yield error(f"{at}.storage", f"memory, but {key} is 0; set it, or use file")
    for name, consumer in inputs.consumers.items():
        if consumer.num_replicas > inputs.replicas:
            yield error(f"consumers.{name}.num_replicas", f"{consumer.num_replicas} but the bus has {servers}; {cure}")
    yield from _reserved(inputs, "file", inputs.max_storage, "limits.storage")
    if inputs.max_memory:
        yield from _reserved(inputs, "memory", inputs.max_memory, "jetstream.max_memory_bytes")


def _reserved(inputs: Inputs, storage: str, each: int, key: str) -> Iterator[Finding]:
    """E4, and that a copy is on one server. `each`: bytes that a server offers; `key`: what raises them."""
    limited = {name: one for name, one in inputs.streams.items() if one.storage == storage and one.max_bytes > 0}
    reserved = sum(one.max_bytes * max(1, one.num_replicas) for one in limited.values())
    cure = f"raise buses.{inputs.bus}.{key}, or lower"
    if reserved > each * inputs.replicas:
        asked, there = _told_apart(reserved, each * inputs.replicas)
        text = f"(sum of max_bytes x num_replicas) but {_so_many_servers(inputs)} can offer {there}"
        yield error("streams", f"reserve {asked} {text}; {cure} max_bytes")
        return
    for name, one in limited.items():
        if one.max_bytes > each:
            asked, there = _told_apart(one.max_bytes, each)
            yield error(f"streams.{name}.max_bytes", f"{asked} but each server can offer {there}; {cure} it")


def _told_apart(asked: int, there: int) -> tuple[str, str]:
    """Two sizes for people, in bytes where they look the same otherwise."""
    if in_units(asked) == in_units(there):
        return f"{asked} B", f"{there} B"
    return in_units(asked), in_units(there)


def _so_many_servers(inputs: Inputs) -> str:
    return f"{inputs.replicas} server{'s' if inputs.replicas > 1 else ''}"


def _sizes(inputs: Inputs) -> Iterator[Finding]:
    at = f"buses.{inputs.bus}.jetstream"
    if inputs.max_storage * 100 >= inputs.storage * 95:
        storage, most = in_units(inputs.storage), in_units(inputs.max_storage)
        yield error(f"{at}.max_storage_bytes", f"{most} must stay below 95 % of limits.storage ({storage})")
    if (inputs.max_memory + 256 * MiB) * 10 > inputs.memory * 8:
        memory, most = in_units(inputs.memory), in_units(inputs.max_memory)
        yield error(f"{at}.max_memory_bytes", f"{most} + 256 MiB must fit in 80 % of limits.memory ({memory})")


def in_units(size: int) -> str:
    """Bytes for people: "27 GiB"."""
    for unit, scale in (("GiB", GiB), ("MiB", MiB)):
        if size >= scale:
            return f"{round(size / scale, 1):g} {unit}"
    return f"{size} B"
