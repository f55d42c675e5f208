"""What is refused for Kubernetes, and what is said beside it: each by its own message."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.nats import kubernetes
from tests.config.project import Project
from tests.provisioning.deployments import files_of, findings_of, inputs_of
from tests.provisioning.k8s_lint import lint

BUS = '[buses.main]\n[deploy.kubernetes]\nnamespace = "shop"\n'
WORKER = '[deploy.worker]\nimage = "shop:1.4.2"\n'
STREAM = '[streams.ORDERS]\nbus = "main"\nsubjects = ["orders.>"]\n'


def said(toml: str, level: str) -> list[str]:
    """All of a level, as `key: text`."""
    return [f"{one.key}: {one.text}" for one in findings_of(toml) if one.level == level]


def test_a_good_file_is_only_noted() -> None:
    toml = BUS + WORKER + STREAM
    assert (said(toml, "error"), said(toml, "warning")) == ([], [])
    assert said(toml, "note") == [': pods of other namespaces reach the bus only with the label main-client: "true"']


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ("[buses.main]", 'deploy.kubernetes.namespace: missing; give the namespace of all objects, as "shop"'),
        (
            BUS.replace('"shop"', '"Shop"'),
            "deploy.kubernetes.namespace: \"Shop\" can't be a namespace: lower case, digits and '-', at most 63 "
            "characters",
        ),
        (
            BUS.replace("main", "Bus_1"),
            "buses.Bus_1: bus name \"Bus_1\" is not a DNS label (lower case, digits, '-', at most 52 characters)",
        ),
        (
            BUS.replace("main", "b" * 53),
            f'buses.{"b" * 53}: bus name "{"b" * 53}" is not a DNS label '
            "(lower case, digits, '-', at most 52 characters)",
        ),
        (
            BUS + 'storage_class = "Fast disks"',
            'deploy.kubernetes.storage_class: "Fast disks" can\'t be the name of a StorageClass; '
            "see kubectl get storageclass",
        ),
        (
            BUS + 'auth_secret = "authorization { token: s3cr3t }"',
            "deploy.kubernetes.auth_secret: is not the name of a Secret: lower case, digits, '-' and '.', at most 253 "
            "characters",
        ),
        (
            BUS + WORKER + 'creds_secret = "./nats.creds"',
            "deploy.worker.creds_secret: is not the name of a Secret: lower case, digits, '-' and '.', at most 253 "
            "characters",
        ),
        (
            BUS + 'labels = { "-team" = "x" }',
            "deploy.kubernetes.labels.-team: can't be a label: letters, digits, '-', '_' and '.', "
            'as "team" or "shop.example/team"',
        ),
        (
            BUS + 'labels = { team = "a b" }',
            'deploy.kubernetes.labels.team: "a b" can\'t be the value of a label: '
            "letters, digits, '-', '_' and '.', at most 63",
        ),
        (
            BUS + 'labels = { "app.kubernetes.io/name" = "x" }',
            "deploy.kubernetes.labels.app.kubernetes.io/name: is set for each object, since selectors go by it; "
            "leave it out",
        ),
        (
            BUS + WORKER + 'name = "Billing"',
            "deploy.worker.name: \"Billing\" is not a DNS label (lower case, digits, '-', at most 63 characters)",
        ),
        (
            BUS + WORKER + 'name = "main"',
            'deploy.worker.name: "main" is the name of a Service of the bus; use another',
        ),
        (
            BUS + WORKER + 'name = "main-headless"',
            'deploy.worker.name: "main-headless" is the name of a Service of the bus; use another',
        ),
        (
            BUS + WORKER.replace(":1.4.2", ""),
            'deploy.worker.image: "shop" is not pinned, so that no rollout can be repeated; '
            'give a tag, as "shop:1.4.2"',
        ),
        (
            BUS + WORKER.replace("shop:1.4.2", "registry.example:5000/shop"),
            'deploy.worker.image: "registry.example:5000/shop" is not pinned, so that no rollout can be repeated; '
            'give a tag, as "shop:1.4.2"',
        ),
        (
            BUS + WORKER.replace("1.4.2", "Latest"),
            'deploy.worker.image: "shop:Latest" is not pinned, so that no rollout can be repeated; '
            'give a tag, as "shop:1.4.2"',
        ),
        (
            BUS + WORKER.replace("shop:", "shop :"),
            'deploy.worker.image: "shop :1.4.2" has white space in it; give it as "shop:1.4.2"',
        ),
        (
            BUS + WORKER + 'folder = "app"',
            'deploy.worker.folder: "app" is not absolute; give it as "/app"',
        ),
        (
            BUS + WORKER + 'folder = "/a:b"',
            'deploy.worker.folder: "/a:b" has a colon, which no path of a mount may have',
        ),
        (BUS + WORKER + "#" + "x" * 2**20, ": the file is larger than a ConfigMap may be (1 MiB)"),
    ],
)
def test_what_can_not_work_is_refused(toml: str, text: str) -> None:
    assert said(toml, "error") == [text]


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        (
            BUS + 'auth_secret = ""',
            "deploy.kubernetes.auth_secret: empty, so that who reaches the bus may read and delete all that it holds; "
            "name a Secret with auth.conf",
        ),
        (
            BUS + 'storage_class = "nfs-client"',
            'deploy.kubernetes.storage_class: "nfs-client" seems to be NFS, on which JetStream must not run; '
            "name a class of block storage",
        ),
        (
            BUS + WORKER + 'creds_secret = ""',
            "deploy.worker.creds_secret: empty, though the bus asks for credentials; name a Secret with nats.creds, "
            "or give others by variables",
        ),
        (
            BUS + '[buses.main.limits]\ncpu = "50m"',
            "buses.main.limits.cpu: 50m is hardly enough to answer the probes in time; give 100m or more",
        ),
        (
            BUS + '[buses.main.limits]\nmemory = "100Mi"\n[buses.main.jetstream]\nenabled = false',
            "buses.main.limits.memory: 100 MiB is hardly enough to start; give 128 MiB or more",
        ),
        (
            BUS + WORKER + 'memory = "64Mi"',
            "deploy.worker.memory: 64 MiB is hardly enough to start; give 128 MiB or more",
        ),
    ],
)
def test_what_will_hurt_is_said(toml: str, text: str) -> None:
    assert (said(toml, "error"), said(toml, "warning")) == ([], [text])


def test_what_to_know_is_noted() -> None:
    notes = said(BUS.replace("[buses.main]", "[buses.main]\nreplicas = 3"), "note")
    assert 'deploy.kubernetes.spread: kubernetes: replicas = 3 with spread = "hard" needs 3 nodes' in notes
    assert "deploy.worker.image: missing, so that the bus alone is rendered, and no worker" in notes


def test_what_is_no_name_of_a_secret_is_not_shown() -> None:
    found = findings_of(BUS + 'auth_secret = "authorization { token: s3cr3t }"')
    assert "s3cr3t" not in str([str(one) for one in found])


def test_the_longest_name_of_a_bus_gives_names_that_hold() -> None:
    toml = (BUS + WORKER).replace("main", "b" * 52)
    assert said(toml, "error") == []
    assert lint([one.body for one in kubernetes.RENDERER.manifests(inputs_of(toml))]) == []


def test_a_digest_pins_an_image() -> None:
    assert said(BUS + WORKER.replace("shop:1.4.2", f"shop@sha256:{'0' * 64}"), "error") == []


@pytest.mark.parametrize("folder", ["", "/"])
def test_the_root_is_a_folder(folder: str) -> None:
    assert said(BUS + WORKER + f'folder = "{folder}"', "error") == []


def test_nothing_is_written_and_all_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        files_of(Project(tmp_path), BUS.replace("main", "Bus_1") + WORKER.replace(":1.4.2", ""), "kubernetes")
    assert [one.key for one in caught.value.problems] == ["buses.Bus_1", "deploy.worker.image"]
    assert caught.value.exit_code == 2
