"""self_hosted: NATS and its worker on one machine, by Docker Compose (PROVISIONING.md section 8)."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from eventbus_runtime.provisioning.documents import to_yaml
from eventbus_runtime.provisioning.findings import Finding, error, warning
from eventbus_runtime.provisioning.inputs import Inputs, Worker
from eventbus_runtime.provisioning.nats import conf
from eventbus_runtime.provisioning.nats.worker_rules import worker_findings
from eventbus_runtime.provisioning.renderer import Manifest, Renderer
from eventbus_runtime.provisioning.rules import common
from eventbus_runtime.provisioning.worker import CONFIG, config_path, variables

COMPOSE, CONF = "compose.yaml", "nats.conf"

_CONF_PATH = "/etc/nats/nats.conf"
_RUN = "/run/nats"  # on a tmpfs: the rest of the container is read-only
_SECRETS = "/run/secrets"
_AUTH, _CREDS = "auth", "nats-creds"
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")


class _Compose:
    """One service for each server, and one for the worker."""

    def findings(self, inputs: Inputs) -> Iterable[Finding]:
        """What can't work in Compose, and what to know."""
        yield from common(inputs)
        yield from worker_findings(inputs, authenticates=bool(inputs.auth))
        yield from _names(inputs)
        yield from _ports(inputs)
        if inputs.replicas > 1:
            yield warning(
                f"buses.{inputs.bus}.replicas",
                f"compose runs all replicas on one host: {inputs.replicas} servers protect against a crash, "
                "not against losing the host",
            )
        if not inputs.auth:
            yield warning("deploy.compose.auth_secret", "is empty: whatever runs on this host can use the bus")

    def manifests(self, inputs: Inputs) -> Sequence[Manifest]:
        """Files and services."""
        files = [Manifest("infra.file", name, {"content": text}) for name, text in _mounted(inputs).items()]
        services = [Manifest("infra.compose.service", name, body) for name, body in _services(inputs).items()]
        return [*files, *services]

    def files(self, inputs: Inputs) -> Mapping[str, str]:
        """compose.yaml, and what it mounts; the secrets' files are the operator's."""
        written = {COMPOSE: to_yaml([_escaped(_document(inputs))]), **_mounted(inputs)}
        if ignored := [path for path in map(_ignored, _secrets(inputs).values()) if path]:
            written[".gitignore"] = "".join(f"{path}\n" for path in ignored)
        return written


RENDERER: Renderer = _Compose()


def server_names(inputs: Inputs) -> list[str]:
    """The servers: services, host names and server names are the same."""
    return [f"{inputs.bus}-{number}" for number in range(inputs.replicas)]


def _names(inputs: Inputs) -> Iterator[Finding]:
    project = inputs.deploy.compose.project
    if project is not None and not _PROJECT.fullmatch(project):
        allowed = "lower case, digits, '-' and '_', the first a letter or digit"
        yield error("deploy.compose.project", f'"{project}" is no name of a Compose project ({allowed})')
    if inputs.worker and inputs.worker.name in server_names(inputs):
        yield error("deploy.worker.name", f'"{inputs.worker.name}" is the name of a server; choose another')


def _ports(inputs: Inputs) -> Iterator[Finding]:
    first = inputs.deploy.compose.host_port_base
    last = first + inputs.replicas - 1
    if last > 65535:
        yield error(
            "deploy.compose.host_port_base", f"{first} leaves no port for server {inputs.replicas}: {last} is none"
        )
    if first <= conf.MONITOR <= last:
        yield error(
            "deploy.compose.host_port_base",
            f"{first} would publish {conf.MONITOR}, where everybody expects the monitor: that has no authentication, "
            "and is never published; choose another base",
        )


def _document(inputs: Inputs) -> dict[str, Any]:
    return {
        "name": _project(inputs),
        "services": _services(inputs),
        "configs": {_config_name(name): {"file": f"./{name}"} for name in _mounted(inputs)},
        **_section("secrets", {name: {"file": path} for name, path in _secrets(inputs).items()}),
        **_section("volumes", {_volume(number): {} for number in range(inputs.replicas) if inputs.jetstream}),
    }


def _section(name: str, entries: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    return {name: entries} if entries else {}


def _services(inputs: Inputs) -> dict[str, dict[str, Any]]:
    servers = {name: _server(inputs, number) for number, name in enumerate(server_names(inputs))}
    return servers | ({inputs.worker.name: _worker(inputs, inputs.worker)} if inputs.worker else {})


def _server(inputs: Inputs, number: int) -> dict[str, Any]:
    name = server_names(inputs)[number]
    return {
        "image": f"nats:{inputs.version}-alpine",
        "hostname": name,
        "command": ["--config", _CONF_PATH],
        "environment": {"SERVER_NAME": name, "GOMEMLIMIT": conf.go_memory_limit(inputs)},
        "configs": [{"source": _config_name(CONF), "target": _CONF_PATH}],
        **_section("secrets", [{"source": _AUTH, "target": "auth.conf"}] if inputs.auth else []),
        **_section("volumes", [f"{_volume(number)}:{conf.STORE}"] if inputs.jetstream else []),
        "tmpfs": [_RUN],
        "expose": [str(port) for port in (conf.CLIENTS, conf.ROUTES, conf.MONITOR)],
        "ports": [f"127.0.0.1:{inputs.deploy.compose.host_port_base + number}:{conf.CLIENTS}"],
        "healthcheck": {
            "test": [
                "CMD",
                "wget",
                "-q",
                "-O",
                "/dev/null",
                f"http://127.0.0.1:{conf.MONITOR}/healthz?js-server-only=true",
            ],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "60s",
        },
        "stop_signal": "SIGUSR2",  # lame duck mode
        "stop_grace_period": f"{conf.STOP}s",
        "restart": "unless-stopped",
        "read_only": True,
        **_restrained(inputs.cpu, inputs.memory),
        "ulimits": {"nofile": 65536},
        "labels": {"eventbus.config.sha256": _digest(_mounted(inputs)[CONF])},
    }


def _worker(inputs: Inputs, found: Worker) -> dict[str, Any]:
    creds = f"{_SECRETS}/nats.creds" if found.creds else ""
    limits = _restrained(found.cpu, found.memory)
    return {
        "image": found.image,
        "entrypoint": ["eventbus-run"],
        "command": [config_path(found)],
        "working_dir": found.folder or "/",
        "environment": variables(inputs, found, address=_address(inputs), creds=creds),
        "configs": [{"source": _config_name(CONFIG), "target": config_path(found)}],
        **_section("secrets", [{"source": _CREDS, "target": "nats.creds"}] if creds else []),
        "depends_on": {name: {"condition": "service_healthy"} for name in server_names(inputs)},
        "healthcheck": {
            "test": ["CMD", "python3", "-c", _probe(found.http)],
            "interval": "30s",
            "timeout": "10s",
            "retries": 3,
            "start_period": "60s",
        },
        "stop_grace_period": f"{found.drain + 10}s",
        "restart": "unless-stopped",
        **limits,
        "deploy": {"replicas": found.replicas, **limits["deploy"]},
        "labels": {"eventbus.config.sha256": _digest(inputs.text)},
    }


def _address(inputs: Inputs) -> str:
    return ",".join(f"nats://{name}:{conf.CLIENTS}" for name in server_names(inputs))


def _probe(port: int) -> str:
    return f"from urllib.request import urlopen; urlopen('http://127.0.0.1:{port}/livez', timeout=5)"


def _restrained(cpu: int, memory: int) -> dict[str, Any]:
    """What a container may have; 0 is no limit."""
    limits = {"cpus": f"{cpu / 1000:g}"} if cpu else {}
    limits |= {"memory": str(memory)} if memory else {}
    return {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "deploy": _section("resources", {"limits": limits} if limits else {}),
    }


def _mounted(inputs: Inputs) -> dict[str, str]:
    """The files that the containers read."""
    # Includes are relative to the configuration's folder, whatever they look like.
    include = posixpath.relpath(f"{_SECRETS}/auth.conf", posixpath.dirname(_CONF_PATH)) if inputs.auth else ""
    servers = conf.nats_conf(inputs, hosts=server_names(inputs), include=include, pid_file=f"{_RUN}/nats.pid")
    return {CONF: servers, **({CONFIG: inputs.text} if inputs.worker else {})}


def _secrets(inputs: Inputs) -> dict[str, str]:
    """Where the operator puts them, by the name that services know them by."""
    found = {_AUTH: inputs.auth} if inputs.auth else {}
    if inputs.worker and inputs.worker.creds:
        creds = inputs.worker.creds
        found[_CREDS] = creds if "/" in creds else f"./secrets/{creds}.creds"
    return found


def _ignored(path: str) -> str:
    """How .gitignore names a file below the output folder; empty: it lies elsewhere."""
    normal = posixpath.normpath(path)
    return "" if normal.startswith(("/", "..", "~")) else f"/{normal}"


def _escaped(value: Any) -> Any:
    """Texts as Compose reads them: it replaces `$NAME`."""
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _project(inputs: Inputs) -> str:
    return inputs.bus if inputs.deploy.compose.project is None else inputs.deploy.compose.project


def _volume(number: int) -> str:
    return f"js-{number}"


def _config_name(file: str) -> str:
    return file.replace(".", "-")


def _digest(text: str) -> str:
    """What makes Compose replace a container whose file has changed."""
    return hashlib.sha256(text.encode()).hexdigest()
