"""What all renderers of a NATS bus start from: the configuration's inputs, complete, each with where it came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

from eventbus_runtime.config.deploy import DeployConfig
from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.config.section import Section
from eventbus_runtime.errors import ConfigError, Problem

DEFAULT_VERSION = "2.14.6"
"""The nats-server that is deployed where the configuration names none (S-7): one that `make matrix` tests with."""

_STORAGE, _CPU, _MEMORY = 10 << 30, 1000, 2 << 30
_HTTP = 8080
_SHARE = Fraction(9, 10)  # of a volume that JetStream may fill
_SCALES: dict[str, int] = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T"), 1)},
    **{f"{unit}B": 1000**power for power, unit in enumerate(("K", "M", "G", "T"), 1)},
    **{f"{unit}i": 1024**power for power, unit in enumerate(("K", "M", "G", "T"), 1)},
    **{f"{unit}iB": 1024**power for power, unit in enumerate(("K", "M", "G", "T"), 1)},
}


@dataclass(frozen=True)
class Worker:
    """The service that runs the configuration.

    Args:
        name: of its objects.
        image: with tag.
        folder: where its handlers are, and the configuration is put.
        replicas: how many.
        cpu: thousandths of a processor.
        memory: bytes.
        creds: secret, or file, with nats.creds; empty: none is needed.
        http: port of /livez, /readyz and /metrics.
        drain: seconds that running handlers get at a stop; the target gives ten more.
        scraped: whether the file asks for that port, so that other machines are to reach it.
    """

    name: str
    image: str
    folder: str
    replicas: int
    cpu: int
    memory: int
    creds: str
    http: int
    drain: int
    scraped: bool = False


@dataclass(frozen=True)
class Inputs:
    """A bus, the worker beside it, and what both hold; sizes in bytes.

    Args:
        target: the deploy target.
        bus: the bus's name; objects are named after it.
        version: of nats-server.
        replicas: servers.
        jetstream: whether they have it.
        storage: the volume of each.
        max_storage: what of it JetStream may fill.
        max_memory: what JetStream may keep in memory, of each.
        cpu: thousandths of a processor, of each.
        memory: of each.
        auth: secret, or file, with the auth block; empty: no authentication.
        worker: None: `[deploy.worker]` names no image.
        streams, consumers: those of the bus that are declared, by name.
        deploy: what is for one target alone.
        text: the file, as the worker gets it.
    """

    target: str
    bus: str
    version: str
    replicas: int
    jetstream: bool
    storage: int
    max_storage: int
    max_memory: int
    cpu: int
    memory: int
    auth: str
    worker: Worker | None
    streams: Mapping[str, StreamConfig]
    consumers: Mapping[str, ConsumerConfig]
    deploy: DeployConfig
    text: str = field(repr=False)


def resolve(config: RuntimeConfig, bus: str, target: str, *, text: str, where: str) -> Inputs:
    """The inputs of one bus for one target.

    Args:
        config: complete.
        bus: which one.
        target: the deploy target.
        text: the file.
        where: the file's name, for errors.

    Raises:
        ConfigError: a limit is no quantity.
    """
    section, problems = config.buses[bus], list[Problem]()

    def quantity(key: str, text: str, default: int, parse: Callable[[str], int] = parse_size) -> int:
        try:
            return parse(text) if text else default
        except ValueError as error:
            problems.append(Problem(where, key, str(error)))
            return default

    at, limits, jetstream = f"buses.{bus}", section.limits, section.jetstream
    filled = ceil(jetstream.max_storage_bytes / _SHARE)
    storage = quantity(f"{at}.limits.storage", limits.storage, filled if filled > 0 else _STORAGE)
    cpu = quantity(f"{at}.limits.cpu", limits.cpu, _CPU, parse_cpu)
    memory = quantity(f"{at}.limits.memory", limits.memory, _MEMORY)
    auth = _auth(config.deploy, bus, target)
    worker = _worker(config, bus, quantity, has_auth=bool(auth))
    if problems:
        raise ConfigError(problems)
    streams = {name: one for name, one in config.streams.items() if one.bus == bus}
    return Inputs(
        target=target,
        bus=bus,
        version=section.version or DEFAULT_VERSION,
        replicas=max(1, section.replicas),
        jetstream=jetstream.enabled,
        storage=storage,
        max_storage=jetstream.max_storage_bytes if filled > 0 else int(storage * _SHARE),
        max_memory=max(0, jetstream.max_memory_bytes),
        cpu=cpu,
        memory=memory,
        auth=auth,
        worker=worker,
        streams=streams,
        consumers={name: one for name, one in config.consumers.items() if one.stream in streams},
        deploy=config.deploy,
        text=text,
    )


def given(config: RuntimeConfig, bus: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of each input that is set, by whatever source."""
    section = config.buses[bus]
    for key in ("version", "replicas"):
        if key in section.model_fields_set:
            yield f"buses.{bus}.{key}", getattr(section, key)
    yield from _given(f"buses.{bus}.jetstream", section.jetstream)
    yield from _given(f"buses.{bus}.limits", section.limits)
    for key in ("http", "shutdown_timeout"):
        if key in config.runtime.model_fields_set:
            yield f"runtime.{key}", config.runtime.model_dump(mode="json")[key]
    for table in DeployConfig.model_fields:
        yield from _given(f"deploy.{table}", getattr(config.deploy, table))


def _given(at: str, section: Section) -> Iterator[tuple[str, Any]]:
    for key, value in section.model_dump(mode="json", exclude_unset=True).items():
        yield f"{at}.{key}", value


def parse_size(text: str) -> int:
    """Bytes.

    Raises:
        ValueError: it is no quantity of bytes.
    """
    found = parse_quantity(text)
    if text.endswith("m"):
        raise ValueError(f'"{text}" is thousandths of a byte; write "{text[:-1].strip()}Mi"')
    return ceil(found)


def parse_cpu(text: str) -> int:
    """Thousandths of a processor.

    Raises:
        ValueError: it is no quantity of processors.
    """
    found = parse_quantity(text)
    if text[-1].isalpha() and not text.endswith("m"):
        raise ValueError(f'"{text}" is no number of processors; write "500m" or "2"')
    return ceil(found * 1000)


def parse_quantity(text: str) -> Fraction:
    """A quantity as Kubernetes writes it ("500m", "2", "10Gi"), or as we do ("10GiB").

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)((?: ?[A-Za-z]+)?)", text, re.ASCII)
    unit = found[2].strip() if found else ""
    if found and unit == "m":
        return Fraction(found[1]) / 1000
    if not found or unit not in _SCALES:
        raise ValueError(f'"{text}" is no quantity; write "500m" or "2" for processors, "512Mi" or "10Gi" for bytes')
    return Fraction(found[1]) * _SCALES[unit]


def _worker(config: RuntimeConfig, bus: str, quantity: Callable[..., int], *, has_auth: bool) -> Worker | None:
    wanted = config.deploy.worker
    name = wanted.name or f"{bus}-worker"
    port = int((config.runtime.http or "").rpartition(":")[2] or 0)
    creds = f"{name}-nats-creds" if has_auth else ""  # a bus that asks for none needs none
    found = Worker(
        name=name,
        image=wanted.image or "",
        folder=wanted.folder.rstrip("/"),
        replicas=wanted.replicas,
        cpu=quantity("deploy.worker.cpu", wanted.cpu, 0, parse_cpu),
        memory=quantity("deploy.worker.memory", wanted.memory, 0),
        creds=creds if wanted.creds_secret is None else wanted.creds_secret,
        http=port or _HTTP,
        drain=ceil(config.runtime.shutdown_timeout),
        scraped=config.runtime.http is not None,
    )
    return found if found.image else None


def _auth(deploy: DeployConfig, bus: str, target: str) -> str:
    wanted = {
        "self_hosted": deploy.compose.auth_secret,
        "digitalocean.app_platform": deploy.app_platform.auth_secret,
    }.get(target, deploy.kubernetes.auth_secret)
    if wanted is not None:
        return wanted
    return "./secrets/auth.conf" if target == "self_hosted" else f"{bus}-nats-auth"
