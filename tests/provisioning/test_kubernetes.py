"""The target kubernetes: what its objects must say so that a bus and its worker start, stop and stay."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eventbus_runtime.buses.embedded import find_server
from eventbus_runtime.provisioning.findings import Level
from eventbus_runtime.provisioning.inputs import Inputs
from eventbus_runtime.provisioning.nats import eks, kubernetes
from tests.config.project import Project
from tests.provisioning import golden
from tests.provisioning.deployments import documents_of, files_of, inputs_of, only, said_of

BUS = """
[buses.main]
replicas = 3
[deploy.kubernetes]
namespace = "shop"
"""
WORKER = '[deploy.worker]\nimage = "shop:1.4.2"\n'


def objects(toml: str) -> list[dict[str, Any]]:
    return [one.body for one in kubernetes.RENDERER.manifests(inputs_of(toml))]


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


def test_servers_find_each_other_before_they_are_ready() -> None:
    found = objects(BUS)
    stateful, service = only(found, "StatefulSet"), only(found, "Service", "main-headless")
    assert stateful["spec"]["podManagementPolicy"] == "Parallel"
    assert stateful["spec"]["serviceName"] == "main-headless"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert '"nats://main-2.main-headless:6222"' in only(found, "ConfigMap")["data"]["nats.conf"]


def test_only_the_start_waits_for_a_quorum() -> None:
    (container,) = pod_of(only(objects(BUS), "StatefulSet"))["containers"]
    probes = {kind: container[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert probes == {
        "startupProbe": "/healthz",
        "readinessProbe": "/healthz?js-server-only=true",
        "livenessProbe": "/healthz?js-enabled-only=true",
    }


def test_a_stop_is_announced_and_has_time() -> None:
    pod = pod_of(only(objects(BUS), "StatefulSet"))
    (container,) = pod["containers"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["nats-server", "-sl=ldm=/var/run/nats/nats.pid"]
    assert pod["terminationGracePeriodSeconds"] == 60
    assert {"name": "pid", "mountPath": "/var/run/nats"} in container["volumeMounts"]


def test_a_sidecar_reloads_what_the_secret_holds() -> None:
    pod = pod_of(only(objects(BUS + 'reload = "sidecar"'), "StatefulSet"))
    server, reloader = pod["containers"]
    assert reloader["args"] == ["-pid", "/var/run/nats/nats.pid", "-config", "/etc/nats-config/auth/auth.conf"]
    assert pod["shareProcessNamespace"] is True
    assert [mount for mount in server["volumeMounts"] if mount["name"] != "js"] == reloader["volumeMounts"]


def test_without_a_secret_there_is_no_sidecar_which_is_said() -> None:
    toml = BUS + 'reload = "sidecar"\nauth_secret = ""'
    assert [one["name"] for one in pod_of(only(objects(toml), "StatefulSet"))["containers"]] == ["nats"]
    idle = "deploy.kubernetes.reload: sidecar has nothing to do without auth.conf; leave it out"
    assert idle in said_of(toml, "kubernetes", Level.WARNING)


def test_the_clients_service_does_not_publish_the_monitor() -> None:
    ports = only(objects(BUS), "Service", "main")["spec"]["ports"]
    assert [port["port"] for port in ports] == [4222]


def test_hard_spread_keeps_two_servers_from_one_node_and_soft_does_not() -> None:
    (hard,) = pod_of(only(objects(BUS), "StatefulSet"))["topologySpreadConstraints"]
    (soft,) = pod_of(only(objects(BUS + 'spread = "soft"'), "StatefulSet"))["topologySpreadConstraints"]
    assert (hard["whenUnsatisfiable"], hard["maxSkew"], hard["minDomains"]) == ("DoNotSchedule", 1, 3)
    assert soft["whenUnsatisfiable"] == "ScheduleAnyway"
    assert "minDomains" not in soft


def test_a_changed_configuration_is_a_rollout_and_other_changes_are_none() -> None:
    def hashes(toml: str) -> list[str]:
        found = objects(toml + WORKER)
        pods = [one["spec"]["template"] for one in found if one["kind"] in ("StatefulSet", "Deployment")]
        return [pod["metadata"]["annotations"]["checksum/config"] for pod in pods]

    before = hashes(BUS)
    assert hashes(BUS) == before
    more_storage = hashes(BUS.replace("[deploy", '[buses.main.limits]\nstorage = "20Gi"\n[deploy'))
    assert [one == two for one, two in zip(before, more_storage, strict=True)] == [False, False]
    comment = hashes("# a comment, which only the worker's file holds\n" + BUS)
    assert [one == two for one, two in zip(before, comment, strict=True)] == [True, False]


def test_without_a_worker_image_the_bus_alone_is_written(project: Project) -> None:
    assert set(files_of(project, BUS, "kubernetes")) == {"bus.yaml"}
    assert set(files_of(project, BUS + WORKER, "kubernetes")) == {"bus.yaml", "worker.yaml"}
    assert "streams.yaml" not in files_of(project, BUS + "nack = true\n" + WORKER, "kubernetes")  # it has none


def test_the_file_goes_to_the_worker_as_it_is(project: Project) -> None:
    text = (
        "# trailing space \r\n\n\n" + BUS + WORKER + '[streams.S]\nsubjects = "s.>"\ndescription = "\\u00e9 é 🎉"\n\n\n'
    )
    config = only(documents_of(files_of(project, text, "kubernetes")), "ConfigMap", "main-worker-config")
    assert config["data"]["config.toml"] == text


@pytest.mark.parametrize("bus", ["main", "shop-bus", "b2"])
def test_what_the_worker_gets_by_variables_holds_at_its_real_start(project: Project, bus: str) -> None:
    toml = f"""
        [runtime]
        http = "127.0.0.1:9090"
        [buses.{bus}]
        url = "embedded"
        [buses.{bus}.auth]
        creds = "./mine.creds"
        [streams.ORDERS]
        subjects = ["orders.>"]
        [triggers.billing]
        filter_subjects = ["orders.created"]
        [deploy.worker]
        image = "shop:1.4.2"
        [deploy.kubernetes]
        namespace = "shop"
    """
    project.write("mine.creds", "mine")
    documents = documents_of(files_of(project, toml, "kubernetes"))
    (container,) = pod_of(only(documents, "Deployment"))["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    mounted = variables[f"EVENTBUS__BUSES__{bus.upper().replace('-', '_')}__AUTH__CREDS"]
    assert mounted == "/etc/eventbus-creds/nats.creds"
    # The loader wants the file to be there; so here it is elsewhere.
    here = str(project.write("nats.creds", "theirs"))
    project.write("mine.creds", "").unlink()
    text = only(documents, "ConfigMap", f"{bus}-worker-config")["data"]["config.toml"]
    environ = {name: here if value == mounted else value for name, value in variables.items()}
    config = project.load(text, environ=environ).config
    assert config.buses[bus].url == (f"nats://{bus}:4222",)
    assert config.buses[bus].auth.creds == Path(here)
    assert config.runtime.http == ":9090"
    assert container["ports"] == [{"name": "http", "containerPort": 9090}]


def test_the_worker_gets_its_drain_and_ten_seconds_more() -> None:
    found = objects("[runtime]\nshutdown_timeout = '90s'\n" + BUS + WORKER)
    assert pod_of(only(found, "Deployment"))["terminationGracePeriodSeconds"] == 100


def test_the_file_is_mounted_beside_the_handlers_and_hides_none() -> None:
    (container,) = pod_of(only(objects(BUS + WORKER + 'folder = "/srv/shop/"'), "Deployment"))["containers"]
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "config")
    assert container["command"] == ["eventbus-run", "/srv/shop/config.toml"]
    assert (mount["mountPath"], mount["subPath"]) == ("/srv/shop/config.toml", "config.toml")


def test_without_authentication_nothing_is_mounted_nor_included() -> None:
    text = str(objects(BUS + 'auth_secret = ""\n' + WORKER))
    assert "include" not in text
    assert "secretName" not in text
    assert "CREDS" not in text


def test_without_jetstream_there_is_no_volume() -> None:
    found = objects(BUS.replace("replicas = 3", "jetstream = { enabled = false }"))
    assert "volumeClaimTemplates" not in only(found, "StatefulSet")["spec"]
    assert "/data" not in str(found)


def test_the_claim_names_the_class_that_is_asked_for() -> None:
    def claim(toml: str) -> dict[str, Any]:
        (found,) = only(objects(toml), "StatefulSet")["spec"]["volumeClaimTemplates"]
        spec: dict[str, Any] = found["spec"]
        return spec

    assert "storageClassName" not in claim(BUS)
    assert claim(BUS + 'storage_class = "fast"')["storageClassName"] == "fast"


def test_a_plan_is_made_of_what_is_refused_too() -> None:
    hopeless = BUS.replace('namespace = "shop"', 'labels = { "ä" = "ö" }').replace("= 3", "= 2").replace("main", "M_1")
    assert any(one.level == "error" for one in kubernetes.RENDERER.findings(inputs_of(hopeless)))
    for renderer in (kubernetes.RENDERER, eks.RENDERER):
        kinds = {one.kind for one in renderer.manifests(inputs_of(hopeless))}
        assert "infra.k8s.statefulset" in kinds


def test_manifests_and_files_hold_the_same_in_the_same_order(project: Project) -> None:
    toml = golden.source("kubernetes/nack") + WORKER
    listed = [one.body for one in kubernetes.RENDERER.manifests(inputs_of(toml))]
    assert documents_of(files_of(project, toml, "kubernetes")) != []
    assert documents_of(dict(kubernetes.RENDERER.files(inputs_of(toml)))) == listed


@pytest.mark.parametrize("change", [{}, {"replicas": 1}, {"auth": ""}, {"jetstream": False}, {"bus": "true"}], ids=str)
def test_nats_server_takes_the_configuration(tmp_path: Path, change: dict[str, Any]) -> None:
    inputs: Inputs = replace(inputs_of(BUS), **change)
    text = only([one.body for one in kubernetes.RENDERER.manifests(inputs)], "ConfigMap")["data"]["nats.conf"]
    (tmp_path / "nats.conf").write_text(text)
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth" / "auth.conf").write_text("authorization { token: s3cr3t }")
    command: list[str | Path] = [find_server(), "-t", "-c", tmp_path / "nats.conf"]
    environ = {"SERVER_NAME": f"{inputs.bus}-0"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    if inputs.auth:
        (tmp_path / "auth" / "auth.conf").unlink()
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 1  # it is read, then
