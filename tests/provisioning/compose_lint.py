"""What the schema of Compose lets pass, and Compose, or the host, does not (PROVISIONING.md section 1)."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from eventbus_runtime.provisioning.nats.conf import MONITOR

_DURATION = re.compile(r"(\d+(\.\d+)?(us|ms|s|m|h))+")
_BYTES = re.compile(r"\d+(\.\d+)?([bkmg]|[kmg]b)?", re.IGNORECASE)
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:\d+)?")
_PORT = re.compile(r"(?:(?:\d+\.\d+\.\d+\.\d+|\[[^]]+\]):)?(?:(?P<host>\d+):)?(?P<container>\d+)(?:/(?:tcp|udp))?")
_TIMES = ("interval", "timeout", "start_period", "start_interval")
_SIGNALS = {name for number in signal.Signals for name in (number.name, number.name.removeprefix("SIG"))}


def lint(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with a Compose file, a line each, with its place.

    Args:
        document: the file, parsed; of the forms that Compose allows, those that our renderer writes.
    """
    services = document.get("services", {})
    found = [line for name, service in services.items() for line in _service(name, service, document)]
    return [*found, *_doubled_ports(services)]


def _service(name: str, service: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    at = f"services.{name}"
    if "image" not in service and "build" not in service:
        yield f"{at}: has no image"
    yield from _references(at, service, document)
    yield from _values(at, service)
    for port in service.get("ports", ()):
        yield from _port(f"{at}.ports", str(port))
    for key, limit in _limits(service):
        if "memory" in limit and not _BYTES.fullmatch(str(limit["memory"])):
            yield f'{at}.{key}.memory: "{limit["memory"]}" is no size; write bytes'
        if "cpus" in limit and not re.fullmatch(r"\d+(\.\d+)?", str(limit["cpus"])):
            yield f'{at}.{key}.cpus: "{limit["cpus"]}" is no number of processors'


def _references(at: str, service: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    """What a service names must be declared."""
    for kind in ("secrets", "configs"):
        for entry in service.get(kind, ()):
            named = entry["source"] if isinstance(entry, Mapping) else entry
            if named not in document.get(kind, {}):
                yield f'{at}.{kind}: "{named}" is not declared'
    for network in service.get("networks", ()):
        if network != "default" and network not in document.get("networks", {}):
            yield f'{at}.networks: "{network}" is not declared'
    for volume in service.get("volumes", ()):
        source = str(volume).partition(":")[0]
        if ":" in str(volume) and not source.startswith((".", "/", "~")) and source not in document.get("volumes", {}):
            yield f'{at}.volumes: "{source}" is not declared'
    for other in service.get("depends_on", ()):
        if other not in document.get("services", {}):
            yield f'{at}.depends_on: there is no service "{other}"'


def _values(at: str, service: Mapping[str, Any]) -> Iterator[str]:
    if not _RESTART.fullmatch(str(service.get("restart", "no"))):
        yield f'{at}.restart: "{service["restart"]}" is none of no, always, on-failure, unless-stopped'
    if str(service.get("stop_signal", "SIGTERM")) not in _SIGNALS:
        yield f'{at}.stop_signal: "{service["stop_signal"]}" is no signal'
    times = {"stop_grace_period": service.get("stop_grace_period", "10s")}
    times |= {
        f"healthcheck.{key}": service["healthcheck"][key] for key in _TIMES if key in service.get("healthcheck", {})
    }
    for key, value in times.items():
        if not isinstance(value, str) or not _DURATION.fullmatch(value):
            yield f'{at}.{key}: "{value}" is no duration; write it as "30s"'


def _port(at: str, text: str) -> Iterator[str]:
    found = _PORT.fullmatch(text)
    if not found:
        yield f'{at}: "{text}" is no port'
        return
    if any(not 1 <= int(number) <= 65535 for number in found.group("host", "container") if number):
        yield f'{at}: "{text}" is out of range'
    if int(found["container"]) == MONITOR:
        yield f"{at}: publishes {MONITOR}, the monitor, which has no authentication"


def _doubled_ports(services: Mapping[str, Any]) -> Iterator[str]:
    ports = [_PORT.fullmatch(str(port)) for service in services.values() for port in service.get("ports", ())]
    hosts = Counter(found["host"] for found in ports if found and found["host"])
    for port, count in hosts.items():
        if count > 1:
            yield f"services: {count} of them publish port {port} of the host"


def _limits(service: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    resources = service.get("deploy", {}).get("resources", {})
    for kind in ("limits", "reservations"):
        yield f"deploy.resources.{kind}", resources.get(kind, {})
