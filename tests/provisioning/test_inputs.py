"""What renderers start from: each input with its default, its unit, and where it came from."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given as given_data
from hypothesis import settings
from hypothesis import strategies as st

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.inputs import DEFAULT_VERSION, given, parse_cpu, parse_quantity, parse_size, resolve
from tests.provisioning.deployments import config_of, inputs_of

GiB = 1 << 30
BUS = "[buses.main]\n"
WORKER = '[deploy.worker]\nimage = "shop:1"\n'


def problems(toml: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        inputs_of(toml)
    return [f"{one.where}: {one.key}: {one.text}" for one in caught.value.problems]


def test_the_defaults() -> None:
    found = inputs_of(BUS)
    assert (found.bus, found.version, found.replicas, found.jetstream) == ("main", DEFAULT_VERSION, 1, True)
    assert (found.storage, found.max_storage, found.max_memory) == (10 * GiB, 9 * GiB, 0)
    assert (found.cpu, found.memory, found.auth, found.worker) == (1000, 2 * GiB, "main-nats-auth", None)


@pytest.mark.parametrize(("replicas", "servers"), [(-1, 1), (0, 1), (1, 1), (3, 3)])
def test_no_number_of_servers_is_one(replicas: int, servers: int) -> None:
    assert inputs_of(f"{BUS}replicas = {replicas}").replicas == servers


def test_what_jetstream_may_fill_makes_the_volume_larger() -> None:
    found = inputs_of(BUS + 'jetstream = { max_storage_bytes = "9GiB" }')
    assert (found.storage, found.max_storage) == (10 * GiB, 9 * GiB)
    odd = inputs_of(BUS + "jetstream = { max_storage_bytes = 1000 }")
    assert (odd.storage, odd.max_storage) == (1112, 1000)  # rounded up


def test_a_volume_bounds_what_jetstream_may_fill() -> None:
    found = inputs_of(BUS + 'limits = { storage = "1000" }')
    assert (found.storage, found.max_storage) == (1000, 900)


def test_both_may_be_said() -> None:
    found = inputs_of(BUS + 'limits = { storage = "2Gi" }\njetstream = { max_storage_bytes = "1GiB" }')
    assert (found.storage, found.max_storage) == (2 * GiB, GiB)


@pytest.mark.parametrize("amount", [0, -1])
def test_no_limit_is_passed_on_as_none(amount: int) -> None:
    found = inputs_of(f"{BUS}jetstream = {{ max_storage_bytes = {amount}, max_memory_bytes = {amount} }}")
    assert (found.storage, found.max_storage, found.max_memory) == (10 * GiB, 9 * GiB, 0)


def test_the_worker() -> None:
    found = inputs_of(BUS + WORKER).worker
    assert found is not None
    assert (found.name, found.image, found.folder, found.replicas) == ("main-worker", "shop:1", "/app", 2)
    assert (found.cpu, found.memory, found.http, found.drain) == (500, 512 << 20, 8080, 30)
    assert found.creds == "main-worker-nats-creds"


def test_what_is_said_of_the_worker() -> None:
    more = 'name = "billing"\nfolder = "/srv/"\nreplicas = 5\ncpu = "2"\nmemory = "1Gi"\n'
    found = inputs_of('[runtime]\nshutdown_timeout = "1500ms"\nhttp = "[::1]:9090"\n' + BUS + WORKER + more).worker
    assert found is not None
    assert (found.name, found.folder, found.replicas, found.cpu, found.memory) == ("billing", "/srv", 5, 2000, GiB)
    assert (found.http, found.drain, found.creds) == (9090, 2, "billing-nats-creds")


def test_a_port_that_the_system_chooses_is_none_that_others_can_know() -> None:
    found = inputs_of('[runtime]\nhttp = "127.0.0.1:0"\n' + BUS + WORKER).worker
    assert found is not None
    assert found.http == 8080


@pytest.mark.parametrize(
    ("more", "target", "auth", "creds"),
    [
        ("", "kubernetes", "main-nats-auth", "main-worker-nats-creds"),
        ('[deploy.kubernetes]\nauth_secret = ""', "kubernetes", "", ""),
        ('creds_secret = "mine"\n[deploy.kubernetes]\nauth_secret = ""', "kubernetes", "", "mine"),
        ('creds_secret = ""', "aws.eks", "main-nats-auth", ""),
        ('[deploy.kubernetes]\nauth_secret = "theirs"', "aws.eks", "theirs", "main-worker-nats-creds"),
        ('[deploy.compose]\nauth_secret = ""', "self_hosted", "", ""),
        ("", "self_hosted", "./secrets/auth.conf", "main-worker-nats-creds"),
    ],
)
def test_credentials_are_wanted_where_the_bus_asks_for_them(more: str, target: str, auth: str, creds: str) -> None:
    found = inputs_of(BUS + WORKER + more, target)
    assert found.worker is not None
    assert (found.auth, found.worker.creds) == (auth, creds)


def test_only_what_is_of_the_bus() -> None:
    toml = (
        '[buses.main]\n[streams.A]\nbus = "main"\nsubjects = "a"\n[streams.B]\nbus = "other"\nsubjects = "b"\n'
        '[consumers.a]\nstream = "A"\n[consumers.b]\nstream = "B"'
    )
    found = inputs_of(toml)
    assert (list(found.streams), list(found.consumers)) == (["A"], ["a"])


def test_every_quantity_that_is_none_is_told() -> None:
    toml = (
        BUS + 'limits = { cpu = "10Gi", memory = "512m", storage = "much" }\n' + WORKER + 'cpu = "-1"\nmemory = "1 M i"'
    )
    none = 'is no quantity; write "500m" or "2" for processors, "512Mi" or "10Gi" for bytes'
    assert sorted(problems(toml)) == [
        'app.toml: buses.main.limits.cpu: "10Gi" is no number of processors; write "500m" or "2"',
        'app.toml: buses.main.limits.memory: "512m" is thousandths of a byte; write "512Mi"',
        f'app.toml: buses.main.limits.storage: "much" {none}',
        f'app.toml: deploy.worker.cpu: "-1" {none}',
        f'app.toml: deploy.worker.memory: "1 M i" {none}',
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("0.5", Fraction(1, 2)),
        ("500m", Fraction(1, 2)),
        ("1k", 1000),
        ("10M", 10**7),
        ("10MB", 10**7),
        ("10Mi", 10 << 20),
        ("10MiB", 10 << 20),
        ("10 GiB", 10 << 30),
        ("1.5Gi", 3 << 29),
        ("2T", 2 * 10**12),
        ("2Ti", 2 << 40),
    ],
)
def test_a_quantity(text: str, value: Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", " ", "x", "Gi", "-1", "+1", "1,5", "1e3", "10gi", "10Gig", "1  Gi", "1 ", "१Gi", "1\n"]
)
def test_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        parse_quantity(text)


@settings(deadline=None)
@given_data(st.integers(0, 10**6), st.sampled_from(["", "Ki", "Mi", "Gi", "k", "M", "G"]))
def test_bytes_are_whole_and_never_less(amount: int, unit: str) -> None:
    found = parse_size(f"{amount / 10}{unit}")
    assert parse_quantity(f"{amount / 10}{unit}") <= found < parse_quantity(f"{amount / 10}{unit}") + 1


@settings(deadline=None)
@given_data(st.integers(0, 10**6))
def test_processors_are_counted_in_thousandths(amount: int) -> None:
    assert parse_cpu(f"{amount}m") == amount
    assert parse_cpu(str(amount)) == 1000 * amount


def test_what_is_given_is_told_with_its_key() -> None:
    toml = (
        '[runtime]\nhttp = ":8080"\n[buses.main]\nreplicas = 3\nlimits = { cpu = "2" }\n'
        "jetstream = { enabled = true }\n"
        '[deploy.worker]\nimage = "shop:1"\n[deploy.eks]\nzones = ["a"]'
    )
    expected: dict[str, Any] = {
        "buses.main.replicas": 3,
        "buses.main.jetstream.enabled": True,
        "buses.main.limits.cpu": "2",
        "runtime.http": ":8080",
        "deploy.worker.image": "shop:1",
        "deploy.eks.zones": ["a"],
    }
    assert dict(given(config_of(toml), "main")) == expected


def test_the_text_is_not_shown_in_a_log() -> None:
    config = RuntimeConfig.model_validate({"buses": {"main": {}}})
    assert "s3cr3t" not in repr(resolve(config, "main", "kubernetes", text="s3cr3t", where="app.toml"))
