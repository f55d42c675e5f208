"""What every target refuses or warns about (E1 to E9): what the server would refuse once all is running."""

from __future__ import annotations

import re
from collections.abc import Iterator

from eventbus_runtime.provisioning.findings import Finding, error, warning
from eventbus_runtime.provisioning.inputs import Inputs

MiB, GiB = 1 << 20, 1 << 30
_CURE = "name a secret instead (deploy.worker.creds_secret), and give the address without it"
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_FULL = re.compile(r"\d+\.\d+\.\d+(-[A-Za-z0-9.]+)?")
_MINOR = re.compile(r"\d+\.\d+")
_SERVERS = (1, 3, 5)
_SECRETS = (
    (re.compile(r"\b(?:nats|tls|wss?)://[^/\s\"']*@"), "the NATS URL carries a user or password"),
    (re.compile(r"\bS[UAOXCN][A-Z2-7]{56}\b"), "an nkey seed stands in the file"),
    (re.compile(r"BEGIN (?:NATS USER JWT|USER NKEY SEED)"), "credentials stand in the file"),
    (re.compile(r"(?m)^\s*(?:password|token)\s*=\s*[\"'](?!\s*[\"'])"), "a password or token stands in the file"),
)


def common(inputs: Inputs, longest_name: int = 52) -> Iterator[Finding]:
    """What is wrong for whatever target.

    Args:
        inputs: the bus.
        longest_name: characters that the bus's name may have.
    """
    at = f"buses.{inputs.bus}"
    yield from version(inputs)
    if inputs.replicas not in _SERVERS:
        yield error(
            f"{at}.replicas",
            f"{inputs.replicas} loses its quorum with {'one server' if inputs.replicas == 2 else 'half of them'} down, "
            f"like {inputs.replicas - 1} but with more to fail; use 1, 3 or 5",
        )
    if len(inputs.bus) > longest_name or not DNS_LABEL.fullmatch(inputs.bus):
        yield error(
            at,
            f'bus name "{inputs.bus}" is not a DNS label '
            f"(lower case, digits, '-', at most {longest_name} characters)",
        )
    yield from _streams(inputs)
    if inputs.jetstream:
        yield from _sizes(inputs)
    yield from secrets(inputs)
    if inputs.replicas >= 3 and (inputs.cpu < 2000 or inputs.memory < 8 * GiB):
        yield warning(f"{at}.limits", "a cluster in production wants 2 processors and 8 GiB for each server")


def version(inputs: Inputs) -> Iterator[Finding]:
    """S-7, E1."""
    key, text = f"buses.{inputs.bus}.version", inputs.version
    if _MINOR.fullmatch(text):
        yield warning(key, f'"{text}" is a tag that moves; give a full version such as "2.14.6"')
    elif not _FULL.fullmatch(text):
        yield error(
            key,
            f'"{text}" is not pinned, so that no deployment can be repeated; give a full version such as "2.14.6"',
        )


def secrets(inputs: Inputs) -> Iterator[Finding]:
    """E8: nothing that is written may hold one."""
    for pattern, what in _SECRETS:
        if pattern.search(inputs.text):
            yield error("", f"{what}, and would be written into the output; {_CURE}")


def _streams(inputs: Inputs) -> Iterator[Finding]:
    reserved, servers = 0, f"{inputs.replicas} server{'s' if inputs.replicas > 1 else ''}"
    for name, stream in inputs.streams.items():
        at, copies = f"streams.{name}", max(1, stream.num_replicas)
        if copies > inputs.replicas:
            cure = f"raise buses.{inputs.bus}.replicas, or lower it"
            yield error(f"{at}.num_replicas", f"{copies} but the bus has {servers}; {cure}")
        if not inputs.jetstream:
            yield error(at, f"a stream needs JetStream, and buses.{inputs.bus}.jetstream.enabled is false")
        elif stream.storage == "memory" and not inputs.max_memory:
            cure = "set it, or use file"
            yield error(f"{at}.storage", f"memory, but buses.{inputs.bus}.jetstream.max_memory_bytes is 0; {cure}")
        if stream.storage == "file" and stream.max_bytes > 0:
            reserved += stream.max_bytes * copies
    offered = inputs.max_storage * inputs.replicas
    if reserved > offered:
        yield error(
            "streams",
            f"reserve {in_units(reserved)} (sum of max_bytes x num_replicas) but {servers} can offer "
            f"{in_units(offered)}; raise buses.{inputs.bus}.limits.storage, or lower max_bytes",
        )


def _sizes(inputs: Inputs) -> Iterator[Finding]:
    at = f"buses.{inputs.bus}.jetstream"
    if inputs.max_storage > inputs.storage * 0.95:
        storage, most = in_units(inputs.storage), in_units(inputs.max_storage)
        yield error(f"{at}.max_storage_bytes", f"{most} must stay below 95 % of limits.storage ({storage})")
    if inputs.max_memory + 256 * MiB > inputs.memory * 0.8:
        memory, most = in_units(inputs.memory), in_units(inputs.max_memory)
        yield error(f"{at}.max_memory_bytes", f"{most} + 256 MiB must fit in 80 % of limits.memory ({memory})")


def in_units(size: int) -> str:
    """Bytes for people: "27 GiB"."""
    for unit, scale in (("GiB", GiB), ("MiB", MiB)):
        if size >= scale:
            return f"{round(size / scale, 1):g} {unit}"
    return f"{size} B"
