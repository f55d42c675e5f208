"""NATS as a provider: what it makes for each deploy target, and that the command it emits starts a server."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventbus_runtime.buses.embedded import find_server
from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.config.targets import MATRIX
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.findings import Finding, Level, error, note, warning
from eventbus_runtime.provisioning.inputs import DEFAULT_VERSION, Inputs, resolve
from eventbus_runtime.provisioning.nats import provider as module
from eventbus_runtime.provisioning.nats.provider import NatsProvider, abstract
from eventbus_runtime.provisioning.probe import Health, probe
from eventbus_runtime.provisioning.providers import DeclaredBus
from eventbus_runtime.provisioning.render import renderer
from eventbus_runtime.provisioning.renderer import Manifest
from eventbus_runtime.provisioning.resources import Output, Resource, State
from eventbus_runtime.testing.server import NatsServer, free_port
from tests.triggers.live import until

APP_PLATFORM = "digitalocean.app_platform"
NATS = NatsProvider()


def bus(**section: Any) -> DeclaredBus:
    """A bus with this section."""
    return DeclaredBus(RuntimeConfig.model_validate({"buses": {"orders": section}}), "orders", where="app.toml")


class SmallRenderer:
    """Renders one server as Kubernetes would have it, and has something to say."""

    def findings(self, inputs: Inputs) -> Iterable[Finding]:
        """One of each level."""
        return [error("buses.orders.replicas", "can't be"), warning("", "will hurt"), note("", "to know")]

    def manifests(self, inputs: Inputs) -> Sequence[Manifest]:
        """A config with a secret in it, as no real one has, and a stateful set."""
        container = {
            "image": f"nats:{inputs.version}-alpine",
            "ports": [{"name": "nats", "containerPort": 4222}, {"name": "monitor", "containerPort": 8222}],
            "env": [{"name": "PASSWORD", "value": "hunter2"}],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8222}},
            "resources": {
                "requests": {"cpu": "1", "memory": "2Gi"},
                "limits": {"cpu": "1", "memory": "2Gi"},
            },
        }
        claim = {"resources": {"requests": {"storage": "10Gi"}}, "storageClassName": "gp3"}
        body = {"spec": {"replicas": inputs.replicas, "containers": [container], "claims": [{"spec": claim}]}}
        return [
            Manifest("infra.k8s.config_map", "orders-config", {"data": {"nats.conf": "password: hunter2"}}),
            Manifest("infra.k8s.statefulset", inputs.bus, body),
        ]

    def files(self, inputs: Inputs) -> Mapping[str, str]:
        """Nothing asks for these."""
        raise AssertionError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every target is rendered by that."""
    monkeypatch.setattr(module, "renderer", lambda target: SmallRenderer())


def by_kind(resources: Iterable[Resource]) -> dict[str, Resource]:
    """Resources are found by kind, never by position (S-70)."""
    return {one.kind: one for one in resources}


@pytest.mark.seed("S-6", "S-10")
def test_app_platform_gets_a_container_to_the_letter() -> None:
    """S-6, S-10."""
    found = NATS.resources(bus(version="2.15.1", replicas=3, jetstream={"max_storage_bytes": "1GiB"}), APP_PLATFORM)
    assert by_kind(found) == {
        "infra.container_service": Resource(
            "infra.container_service",
            "nats",
            {
                "image": "docker.io/library/nats:2.15.1",
                "instance_count": "3",
                "run_command": "nats-server -m 8222 -js -sd /data",
                "internal_ports": "4222,8222,6222",
                "storage_ref": "nats-jetstream",
            },
            {"provider": "nats", "deploy_target": APP_PLATFORM},
        ),
        "infra.storage": Resource(
            "infra.storage",
            "nats-jetstream",
            {"storage_size_bytes": "1073741824"},
            {"provider": "nats", "purpose": "jetstream", "unsupported": "true"},
        ),
    }


@pytest.mark.seed("S-10")
def test_app_platform_without_jetstream_has_no_storage() -> None:
    """S-10."""
    (container,) = NATS.resources(bus(jetstream={"enabled": False}), APP_PLATFORM)
    assert container.properties == {
        "image": f"docker.io/library/nats:{DEFAULT_VERSION}",
        "instance_count": "1",
        "run_command": "nats-server -m 8222 --cluster nats://0.0.0.0:6222",
        "internal_ports": "4222,8222,6222",
    }


@pytest.mark.seed("S-10")
def test_the_size_of_the_storage_is_said_only_where_it_is_declared() -> None:
    """S-10: not the one that is worked out for a volume."""
    found = by_kind(NATS.resources(bus(limits={"storage": "10Gi"}), APP_PLATFORM))
    assert found["infra.storage"].properties == {}


@pytest.mark.seed("S-8")
@pytest.mark.parametrize("replicas", [-3, 0, 1])
def test_no_replicas_are_one(replicas: int) -> None:
    """S-8."""
    found = by_kind(NATS.resources(bus(replicas=replicas), APP_PLATFORM))
    assert found["infra.container_service"].properties["instance_count"] == "1"


@pytest.mark.seed("S-6")
def test_the_labels_are_those_of_the_target_asked_for(small: None) -> None:
    """S-6: not read from the configuration."""
    declared = bus(deploy_target="self_hosted")
    for target in MATRIX["nats"]:
        for one in NATS.resources(declared, target):
            if one.kind != "infra.storage":
                assert one.labels == {"provider": "nats", "deploy_target": target}


@pytest.mark.parametrize("target", ["kubernetes", "aws.eks", "self_hosted", "aws.ecs"])
def test_other_targets_get_one_resource_for_each_object(target: str, small: None) -> None:
    labels = {"provider": "nats", "deploy_target": target}
    assert NATS.resources(bus(replicas=3), target) == (
        Resource("infra.k8s.config_map", "orders-config", {}, labels),
        Resource(
            "infra.k8s.statefulset",
            "orders",
            {
                "replicas": "3",
                "image": f"nats:{DEFAULT_VERSION}-alpine",
                "ports": "4222,8222",
                "cpu": "1",
                "memory_bytes": "2147483648",
                "storage_bytes": "10737418240",
                "storage_class": "gp3",
            },
            labels,
        ),
    )


@pytest.mark.parametrize("target", ["kubernetes", "aws.eks"])
def test_what_is_rendered_is_what_is_listed(target: str) -> None:
    """One resource for each object of the real renderers, and nothing of a configuration's text among them."""
    sections = {
        "buses": {"orders": {"replicas": 3}},
        "streams": {"ORDERS": {"bus": "orders", "subjects": ["orders.>"]}},
        "deploy": {"worker": {"image": "shop:1.4.2"}, "kubernetes": {"namespace": "shop"}},
    }
    declared = DeclaredBus(RuntimeConfig.model_validate(sections), "orders", text="hunter2")
    found = NATS.resources(declared, target)
    objects = renderer(target).manifests(resolve(declared.config, "orders", target, text="hunter2", where=""))
    assert [(one.kind, one.name) for one in found] == [(one.kind, one.name) for one in objects]
    servers = by_kind(found)["infra.k8s.statefulset"].properties
    assert (servers["replicas"], servers["storage_bytes"]) == ("3", str(10 << 30))
    assert "hunter2" in repr(objects)
    assert "hunter2" not in repr(found)


def test_a_service_of_compose_is_read_likewise() -> None:
    body = {
        "image": "nats:2.14.6-alpine",
        "expose": ["4222", "6222"],
        "ports": ["127.0.0.1:4223:4222"],
        "environment": {"SERVER_NAME": "a", "PASSWORD": "hunter2"},
        "deploy": {"resources": {"limits": {"cpus": "1", "memory": "2147483648"}}},
    }
    found = abstract(Manifest("infra.compose.service", "orders-0", body), "self_hosted")
    assert found.properties == {
        "image": "nats:2.14.6-alpine",
        "ports": "4222,6222",
        "cpu": "1",
        "memory_bytes": "2147483648",
    }


def test_what_speaks_against_a_target_is_a_warning_and_no_refusal(small: None) -> None:
    assert NATS.resources(bus(), "kubernetes")
    levels = [one.level for one in NATS.warnings(bus(), "kubernetes")]
    assert levels == [Level.WARNING, Level.WARNING, Level.NOTE]


def test_what_app_platform_can_not_keep_is_a_warning(small: None) -> None:
    found = NATS.warnings(bus(jetstream={"max_memory_bytes": "1MiB"}), APP_PLATFORM)
    assert [str(one) for one in found[3:]] == [
        "warning: buses.orders.jetstream: a Spaces bucket cannot be a NATS store_dir: "
        "its data is gone with each container",
        "warning: buses.orders.jetstream.max_memory_bytes: is no part of run_command: "
        "nats-server has no flag for it; use eventbus render",
    ]
    assert len(NATS.warnings(bus(jetstream={"enabled": False}), APP_PLATFORM)) == 3


@pytest.mark.seed("S-11")
def test_aws_ecs_is_not_implemented_and_yields_nothing() -> None:
    """S-11."""
    for verb in (NATS.resources, NATS.warnings):
        with pytest.raises(ConfigError) as caught:
            verb(bus(), "aws.ecs")
        assert str(caught.value) == (
            "provisioning nats on aws.ecs is not implemented: nothing renders its objects "
            "(provisioning.renderer.Renderer); take one of digitalocean.app_platform, aws.eks, kubernetes, self_hosted"
        )


@pytest.mark.seed("S-5")
@pytest.mark.parametrize("target", ["aws.msk", "digitalocean.managed_kafka", "aws.kinesis", "mars"])
def test_a_pair_that_is_not_in_the_matrix_is_refused(target: str) -> None:
    """S-5."""
    with pytest.raises(ConfigError, match=rf"^app\.toml: buses\.orders\.deploy_target: .*{target}.*targets of nats"):
        NATS.resources(bus(), target)


@pytest.mark.seed("S-7")
@pytest.mark.parametrize("target", MATRIX["nats"])
def test_latest_is_refused_on_every_target(target: str, small: None) -> None:
    """S-7."""
    with pytest.raises(ConfigError, match=r'^app\.toml: buses\.orders\.version: "Latest" is not pinned'):
        NATS.resources(bus(version="Latest"), target)


@pytest.mark.seed("S-12")
@pytest.mark.parametrize(
    ("outputs", "env", "found"),
    [
        ({"uri": "nats://a"}, "", "nats://a"),
        ({"uri": "nats://a", "uri.prod": "nats://b"}, "", "nats://a"),
        ({"uri": "nats://a", "uri.prod": "nats://b"}, "prod", "nats://b"),
        ({"uri": "nats://a", "uri.prod": ""}, "prod", "nats://a"),
        ({"uri": "nats://a"}, "prod", "nats://a"),
        ({"uri.prod": "nats://b"}, "prod", "nats://b"),
    ],
)
def test_the_connection_string(outputs: dict[str, str], env: str, found: str) -> None:
    """S-12."""
    state = State({name: Output(value, sensitive=True) for name, value in outputs.items()})
    assert NATS.connection_string(state, env) == found


@pytest.mark.seed("S-12")
@pytest.mark.parametrize(
    ("outputs", "env", "wanted"),
    [({}, "", '"uri"'), ({"uri": ""}, "prod", '"uri.prod" or "uri"'), ({"uri.prod": "nats://b"}, "", '"uri"')],
)
def test_without_an_address_it_is_not_provisioned(outputs: dict[str, str], env: str, wanted: str) -> None:
    """S-12."""
    with pytest.raises(ConfigError) as caught:
        NATS.connection_string(State({name: Output(value) for name, value in outputs.items()}), env)
    assert str(caught.value) == (
        f"the nats cluster has not been provisioned: its state has no output {wanted}; provision it"
    )


async def test_its_probe_is_the_real_one(server: NatsServer) -> None:
    assert (await NATS.probe(server.url, timeout=3)).status is Health.HEALTHY
    assert (await NATS.probe("")).status is Health.UNREACHABLE


@asynccontextmanager
async def started(command: str, folder: Path, monitor: int, routes: int) -> AsyncIterator[str]:
    """The address of a server that a run command has started, its folder and ports replaced by free ones."""
    replaced = {"/data": str(folder), "8222": str(monitor), "nats://0.0.0.0:6222": f"nats://127.0.0.1:{routes}"}
    program, *flags = (replaced.get(word, word) for word in shlex.split(command))
    assert program == "nats-server"
    port = free_port()
    process = subprocess.Popen([find_server(), *flags, "-a", "127.0.0.1", "-p", str(port)])
    try:
        yield f"nats://127.0.0.1:{port}"
        assert process.poll() is None, "it still runs"
    finally:
        process.kill()
        process.wait(10)


def run_command(declared: DeclaredBus) -> str:
    """That of its container."""
    return by_kind(NATS.resources(declared, APP_PLATFORM))["infra.container_service"].properties["run_command"]


@pytest.mark.seed("S-9")
async def test_the_run_command_starts_a_server_with_jetstream_and_monitor(tmp_path: Path) -> None:
    """S-9."""
    monitor = free_port()
    command = run_command(bus(replicas=3, jetstream={"max_storage_bytes": "1GiB", "max_memory_bytes": "1MiB"}))
    async with started(command, tmp_path / "store", monitor, free_port()) as url:

        async def is_healthy() -> bool:
            found = await probe(url, timeout=2, monitor=f"http://127.0.0.1:{monitor}")
            return found.status is Health.HEALTHY

        await until(is_healthy)
    assert (tmp_path / "store" / "jetstream").is_dir()


@pytest.mark.seed("S-9")
async def test_the_run_command_without_jetstream_starts_a_server_that_takes_routes(tmp_path: Path) -> None:
    """S-9."""
    monitor, routes = free_port(), free_port()
    async with started(run_command(bus(jetstream={"enabled": False})), tmp_path, monitor, routes) as url:

        async def is_up() -> bool:
            return (await probe(url, timeout=2, monitor=f"http://127.0.0.1:{monitor}")).round_trip > 0

        await until(is_up)
        found = await probe(url, timeout=2, monitor=f"http://127.0.0.1:{monitor}")
        assert found.error == "JetStream is off on this server, or for this account"
        _, writer = await asyncio.open_connection("127.0.0.1", routes)
        writer.close()
        await writer.wait_closed()


@pytest.mark.seed("S-9")
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("-m 8222 -js -sd /data -ms 1073741824 -mm 1048576", b"flag provided but not defined: -mm"),
        ("-m 8222 -js -sd /data --cluster nats://0.0.0.0:6222", b"jetstream cluster requires `server_name` to be set"),
    ],
)
def test_the_origins_flags_start_none(flags: str, said: bytes) -> None:
    """Why S-9 is not followed to the letter."""
    done = subprocess.run([find_server(), *flags.split()], capture_output=True, timeout=10, check=False)  # it ends
    assert said in done.stderr + done.stdout
