"""NATS as a provider: abstract resources for each deploy target (S-6 to S-13).

Where this differs from the origin, and why (all of it tried with nats-server 2.15):

- S-9, `-mm`: the server has no such flag, and does not start. `-ms` is the port of its HTTPS monitor, not a size. There
  is no flag for a limit: nats-server takes them from its configuration, which `eventbus render` writes.
- S-9, `--cluster` with JetStream: it does not start without a server name, a cluster name and routes; with a route to
  itself it never gets healthy. App Platform gives its instances no names that routes could hold. So `--cluster` is
  given without JetStream alone.
- S-10: a bucket can't be a `store_dir`, which must be a file system. The resource stays, labelled `unsupported`, with a
  warning: what JetStream stores on App Platform is gone with the container.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from eventbus_runtime.config.targets import MATRIX, NATS, target_problem, version_problem
from eventbus_runtime.errors import ConfigError, Problem
from eventbus_runtime.provisioning.findings import Finding, Level, warning
from eventbus_runtime.provisioning.inputs import Inputs, parse_quantity, resolve
from eventbus_runtime.provisioning.nats.conf import CLIENTS, MONITOR, ROUTES, STORE
from eventbus_runtime.provisioning.objects import ConsumerSpec, StreamSpec, stream_resources
from eventbus_runtime.provisioning.probe import Probed, probe
from eventbus_runtime.provisioning.providers import DeclaredBus, not_implemented
from eventbus_runtime.provisioning.render import renderer
from eventbus_runtime.provisioning.renderer import Manifest, Renderer
from eventbus_runtime.provisioning.resources import Resource, State

APP_PLATFORM = "digitalocean.app_platform"
_CONTAINER, _STORAGE = "nats", "nats-jetstream"

# What of an object matters to who reads a plan, by the words of Kubernetes, Compose and CloudFormation.
_TEXTS = {
    "image": "image",
    "replicas": "replicas",
    "clusterIP": "cluster_ip",
    "serviceName": "service",
    "storageClassName": "storage_class",
    "provisioner": "provisioner",
    "maxUnavailable": "max_unavailable",
    "cpu": "cpu",
    "cpus": "cpu",
}
_SIZES = {"storage": "storage_bytes", "memory": "memory_bytes"}
_PORTS = ("port", "containerPort", "ports", "expose")


class NatsProvider:
    """See `providers.Provider`."""

    name = NATS
    targets = MATRIX[NATS]

    def resources(self, bus: DeclaredBus, target: str) -> Sequence[Resource]:
        """On App Platform a container, and with JetStream a storage; elsewhere one for each object that is rendered."""
        inputs = _inputs(bus, target)
        if target == APP_PLATFORM:
            return tuple(_app_platform(inputs, bus))
        return tuple(abstract(manifest, target) for manifest in _renderer(target).manifests(inputs))

    def warnings(self, bus: DeclaredBus, target: str) -> Sequence[Finding]:
        """What `eventbus render` says, its refusals too, and what an abstract resource can't hold."""
        inputs = _inputs(bus, target)
        more = _lost_on_app_platform(inputs, bus) if target == APP_PLATFORM else ()
        found = _renderer(target).findings(inputs)
        return tuple([one._replace(level=_no_error(one.level)) for one in found] + list(more))

    def connection_string(self, state: State, env: str = "") -> str:
        """See `Provider.connection_string`."""
        names = [f"uri.{env}", "uri"] if env else ["uri"]
        for name in names:
            if found := state.value(name):
                return found
        wanted = " or ".join(f'"{name}"' for name in names)
        raise ConfigError(f"the nats cluster has not been provisioned: its state has no output {wanted}; provision it")

    def stream_resources(
        self, streams: Iterable[StreamSpec | None], state: State, consumers: Iterable[ConsumerSpec | None] = ()
    ) -> Sequence[Resource]:
        """See `objects.stream_resources`."""
        return stream_resources(streams, state, consumers)

    async def probe(self, uri: str, *, timeout: float = 5.0) -> Probed:
        """See `probe.probe`."""
        return await probe(uri, timeout=timeout)


def abstract(manifest: Manifest, target: str) -> Resource:
    """An object of a target as an abstract resource: the few things of it that matter to who reads a plan.

    Only what stands under known words is taken, so that nothing else of an object, as a file's text, gets into a plan.

    Args:
        manifest: the object.
        target: the deploy target.
    """
    found: dict[str, list[str]] = {}
    for key, value in _leaves(manifest.body):
        if key in _TEXTS:
            found.setdefault(_TEXTS[key], []).append(str(value))
        elif key in _SIZES and (size := _bytes(value)):
            found.setdefault(_SIZES[key], []).append(size)
        elif key in _PORTS and (port := str(value).rpartition(":")[2]).isdecimal():
            found.setdefault("ports", []).append(port)
    properties = {name: ",".join(dict.fromkeys(values)) for name, values in found.items()}
    return Resource(manifest.kind, manifest.name, properties, _labels(target))


def _leaves(body: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each plain value with the nearest key above it."""
    if isinstance(body, Mapping):
        for name, value in body.items():
            yield from _leaves(value, name)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _leaves(value, key)
    else:
        yield key, body


def _bytes(value: object) -> str:
    try:
        return str(int(parse_quantity(str(value))))
    except ValueError:
        return ""


def _labels(target: str) -> dict[str, str]:
    return {"provider": NATS, "deploy_target": target}


def _inputs(bus: DeclaredBus, target: str) -> Inputs:
    at = f"buses.{bus.name}"
    if why := target_problem(NATS, target, MATRIX[NATS]):
        raise ConfigError([Problem(bus.where, f"{at}.deploy_target", why)])
    if why := version_problem(bus.section.version):
        raise ConfigError([Problem(bus.where, f"{at}.version", why)])
    return resolve(bus.config, bus.name, target, text=bus.text, where=bus.where)


def _renderer(target: str) -> Renderer:
    try:
        return renderer(target)
    except ConfigError:
        others = ", ".join(other for other in MATRIX[NATS] if other != target)
        raise not_implemented(
            NATS, target, f"nothing renders its objects (provisioning.renderer.Renderer); take one of {others}"
        ) from None


def _no_error(level: Level) -> Level:
    return Level.WARNING if level is Level.ERROR else level


def _app_platform(inputs: Inputs, bus: DeclaredBus) -> Iterator[Resource]:
    container = {
        "image": f"docker.io/library/nats:{inputs.version}",
        "instance_count": str(inputs.replicas),
        "run_command": _run_command(inputs),
        "internal_ports": f"{CLIENTS},{MONITOR},{ROUTES}",
    }
    if not inputs.jetstream:
        yield Resource("infra.container_service", _CONTAINER, container, _labels(inputs.target))
        return
    yield Resource(
        "infra.container_service", _CONTAINER, {**container, "storage_ref": _STORAGE}, _labels(inputs.target)
    )
    most = bus.section.jetstream.max_storage_bytes
    size = {"storage_size_bytes": str(most)} if most > 0 else {}
    labels = {"provider": NATS, "purpose": "jetstream", "unsupported": "true"}
    yield Resource("infra.storage", _STORAGE, size, labels)


def _run_command(inputs: Inputs) -> str:
    """One that starts a server (S-9); what of the origin's is left out is said above."""
    jetstream = ("-js", "-sd", STORE) if inputs.jetstream else ("--cluster", f"nats://0.0.0.0:{ROUTES}")
    return " ".join(("nats-server", "-m", str(MONITOR), *jetstream))


def _lost_on_app_platform(inputs: Inputs, bus: DeclaredBus) -> Iterator[Finding]:
    if not inputs.jetstream:
        return
    at, limits = f"buses.{bus.name}.jetstream", bus.section.jetstream
    yield warning(at, "a Spaces bucket cannot be a NATS store_dir: its data is gone with each container")
    for key in ("max_storage_bytes", "max_memory_bytes"):
        if getattr(limits, key) > 0:
            yield warning(
                f"{at}.{key}", "is no part of run_command: nats-server has no flag for it; use eventbus render"
            )
