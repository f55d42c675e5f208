"""What every target refuses or warns about (PROVISIONING section 2, E1 to E9): each by its own message."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.provisioning.rules import common, in_units, secrets, version
from tests.provisioning.deployments import inputs_of

BUS = "[buses.main]\n"
WORKER = '\n[deploy.worker]\nimage = "shop:1"\n'
SEED = "SUAM" + "A" * 54
_CURE = (
    "and would be written into the output; name a secret instead (deploy.worker.creds_secret), "
    "and give the address without it"
)


def stream(more: str = "", name: str = "ORDERS") -> str:
    return f'\n[streams.{name}]\nbus = "main"\nsubjects = ["{name}.>"]\n{more}\n'


def said(toml: str, level: str = "error") -> list[str]:
    """All of a level, as a user sees it."""
    return [f"{one.key}: {one.text}" for one in common(inputs_of(toml)) if one.level == level]


def test_a_bus_of_defaults_has_nothing_against_it() -> None:
    assert list(common(inputs_of(BUS + stream() + WORKER))) == []


@pytest.mark.parametrize(
    "text", ["latest", "Latest", "LATEST", "2", "v2.14.6", "2.14.6-alpine", "2.14.x", " 2.14.6", "alpine"]
)
def test_e1_a_version_that_is_not_pinned(text: str) -> None:
    assert said(f'{BUS}version = "{text}"') == [
        f'buses.main.version: "{text}" is not pinned, so that no deployment can be repeated; '
        'give a full version such as "2.14.6"'
    ]


@pytest.mark.parametrize("text", ["2.14.6", "2.9.0", "2.12.0-RC.1", "2.11.0-preview.2"])
def test_e1_a_full_version(text: str) -> None:
    assert list(version(inputs_of(f'{BUS}version = "{text}"'))) == []


def test_e1_a_tag_that_moves_is_a_warning() -> None:
    toml = BUS + 'version = "2.14"'
    text = 'buses.main.version: "2.14" is a tag that moves; give a full version such as "2.14.6"'
    assert (said(toml), said(toml, "warning")) == ([], [text])


@pytest.mark.parametrize(
    ("replicas", "text"),
    [
        (2, "2 loses its quorum with one server down, like 1 but with more to fail; use 1, 3 or 5"),
        (4, "4 loses its quorum with 2 servers down, like 3 but with more to fail; use 1, 3 or 5"),
        (6, "6 loses its quorum with 3 servers down, like 5 but with more to fail; use 1, 3 or 5"),
        (
            7,
            "7 servers all vote on what JetStream's meta leader decides, and 5 lose two of them without harm; "
            "use 1, 3 or 5",
        ),
    ],
)
def test_e2_a_number_of_servers_that_gains_nothing(replicas: int, text: str) -> None:
    assert said(f"{BUS}replicas = {replicas}") == [f"buses.main.replicas: {text}"]


@pytest.mark.parametrize("replicas", [-1, 0, 1, 3, 5])
def test_e2_a_number_of_servers_that_is_right(replicas: int) -> None:
    assert said(f"{BUS}replicas = {replicas}") == []


def test_e3_more_copies_than_servers() -> None:
    cure = "raise buses.main.replicas, or lower it"
    assert said(BUS + stream("num_replicas = 3")) == [
        f"streams.ORDERS.num_replicas: 3 but the bus has 1 server; {cure}"
    ]
    assert said(BUS + "replicas = 3" + stream("num_replicas = 5")) == [
        f"streams.ORDERS.num_replicas: 5 but the bus has 3 servers; {cure}"
    ]
    assert said(BUS + stream() + '[consumers.c]\nstream = "ORDERS"\nnum_replicas = 3') == [
        f"consumers.c.num_replicas: 3 but the bus has 1 server; {cure}"
    ]
    assert said(BUS + "replicas = 3" + stream("num_replicas = 3") + stream("num_replicas = 0", "A")) == []


def test_e4_streams_that_reserve_more_than_there_is() -> None:
    toml = BUS + 'replicas = 3\nlimits = { storage = "10Gi" }' + stream('num_replicas = 3\nmax_bytes = "10GiB"')
    assert said(toml) == [
        "streams: reserve 30 GiB (sum of max_bytes x num_replicas) but 3 servers can offer 27 GiB; "
        "raise buses.main.limits.storage, or lower max_bytes"
    ]
    assert said(toml.replace("10GiB", "9GiB")) == []
    assert said(toml.replace("10GiB", "9GiB") + stream('max_bytes = "1KiB"', "A")) == [
        "streams: reserve 28991030272 B (sum of max_bytes x num_replicas) but 3 servers can offer 28991029248 B; "
        "raise buses.main.limits.storage, or lower max_bytes"
    ]
    assert said(toml.replace('max_bytes = "10GiB"', "")) == []  # a stream without a limit reserves nothing


def test_e4_a_stream_that_no_server_has_room_for() -> None:
    toml = BUS + 'replicas = 3\nlimits = { storage = "10Gi" }' + stream('max_bytes = "10GiB"')
    assert said(toml) == [
        "streams.ORDERS.max_bytes: 10 GiB but each server can offer 9 GiB; raise buses.main.limits.storage, or lower it"
    ]
    assert said(toml.replace("10GiB", "9GiB")) == []


def test_e4_memory_streams_that_reserve_more_than_there_is() -> None:
    toml = BUS + 'jetstream = { max_memory_bytes = "1GiB" }' + stream('storage = "memory"\nmax_bytes = "2GiB"')
    assert said(toml) == [
        "streams: reserve 2 GiB (sum of max_bytes x num_replicas) but 1 server can offer 1 GiB; "
        "raise buses.main.jetstream.max_memory_bytes, or lower max_bytes"
    ]
    assert said(toml.replace("2GiB", "1GiB")) == []


def test_e5_a_memory_stream_without_memory() -> None:
    toml = BUS + stream('storage = "memory"')
    assert said(toml) == [
        "streams.ORDERS.storage: memory, but buses.main.jetstream.max_memory_bytes is 0; set it, or use file"
    ]
    assert said(toml.replace(BUS, BUS + 'jetstream = { max_memory_bytes = "1GiB" }\n')) == []


def test_a_stream_without_jetstream() -> None:
    assert said(BUS + "jetstream = { enabled = false }" + stream()) == [
        "streams.ORDERS: a stream needs JetStream, and buses.main.jetstream.enabled is false"
    ]


def test_e6_storage_that_leaves_no_room_on_the_volume() -> None:
    toml = BUS + 'limits = { storage = "10Gi" }\njetstream = { max_storage_bytes = "10GiB" }'
    assert said(toml) == [
        "buses.main.jetstream.max_storage_bytes: 10 GiB must stay below 95 % of limits.storage (10 GiB)"
    ]
    assert said(BUS + 'limits = { storage = "1000" }\njetstream = { max_storage_bytes = 950 }') != []
    assert said(BUS + 'limits = { storage = "1000" }\njetstream = { max_storage_bytes = 949 }') == []


def test_e7_memory_that_leaves_none_to_the_server() -> None:
    toml = BUS + 'limits = { memory = "2Gi" }\njetstream = { max_memory_bytes = "1500MiB" }'
    assert said(toml) == [
        "buses.main.jetstream.max_memory_bytes: 1.5 GiB + 256 MiB must fit in 80 % of limits.memory (2 GiB)"
    ]
    assert said(toml.replace("1500MiB", "1382MiB")) == []
    assert said(BUS + 'limits = { memory = "300Mi" }') == [
        "buses.main.jetstream.max_memory_bytes: 0 B + 256 MiB must fit in 80 % of limits.memory (300 MiB)"
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('url = "nats://a:s3cr3t@host:4222"', [f": the NATS URL carries a user or password, {_CURE}"]),
        ('url = "tls://s3cr3t@host:4222"', [f": the NATS URL carries a user or password, {_CURE}"]),
        ('url = "NATS://a:s3cr3t@host:4222"', [f": the NATS URL carries a user or password, {_CURE}"]),
        (r'url = "nats://a:s3cr3t\u0040host:4222"', [f": the NATS URL carries a user or password, {_CURE}"]),
        ('url = ["nats://one", "a:s3cr3t@two:4222"]', [f"buses.main.url: carries a user or password, {_CURE}"]),
        ("# once it was nats://a:s3cr3t@host", [f": the NATS URL carries a user or password, {_CURE}"]),
        (f'name = "{SEED}"', [f": an nkey seed stands in the file, {_CURE}"]),
        ("# -----BEGIN USER NKEY SEED-----", [f": credentials stand in the file, {_CURE}"]),
        ('auth = { user = "a", password = "s3cr3t" }', [f"buses.main.auth.password: is a secret, {_CURE}"]),
        ('auth.token = "s3cr3t"', [f"buses.main.auth.token: is a secret, {_CURE}"]),
        ('[runtime]\nhttp_token = "s3cr3t"', [f"runtime.http_token: is a secret, {_CURE}"]),
        ('url = "nats://host:4222"', []),
        ('url = "nats://host:4222" # by eventbus@shop.example', []),
        ('auth = { user = "a", password = "" }', []),
        ('auth.nkey_seed_file = "bus.nk"', []),
        ("auth.creds = 'bus.creds'", []),
        ('[deploy.kubernetes]\nlabels = { token = "public" }', []),
    ],
)
def test_e8_a_secret_in_the_file(text: str, found: list[str]) -> None:
    told = [f"{one.key}: {one.text}" for one in secrets(inputs_of(BUS + text))]
    assert told == found
    assert "s3cr3t" not in str(told)


@pytest.mark.parametrize("name", ["Bus_1", "1bus", "bus-", "-bus", "b" * 53, "bus.shop", "bus\n"])
def test_e9_a_name_that_is_no_label(name: str) -> None:
    toml = f"[buses.{name!r}]".replace("'", '"')
    assert [one for one in said(toml) if "is not a DNS label" in one] == [
        f"buses.{name}: bus name \"{name}\" is not a DNS label (lower case, digits, '-', at most 52 characters)"
    ]


@pytest.mark.parametrize("name", ["b", "bus", "bus-1", "b" * 52])
def test_e9_a_name_that_is_one(name: str) -> None:
    assert said(f"[buses.{name}]") == []


def test_e9_a_target_may_allow_less() -> None:
    (found,) = common(inputs_of(BUS), longest_name=3)
    assert found.text == "bus name \"main\" is not a DNS label (lower case, digits, '-', at most 3 characters)"


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ('[buses.main]\nlimits = { cpu = "0" }', "buses.main.limits.cpu"),
        ('[buses.main]\nlimits = { storage = "0" }\njetstream = { enabled = false }', "buses.main.limits.storage"),
        (BUS + WORKER + 'cpu = "0m"', "deploy.worker.cpu"),
        (BUS + WORKER + 'memory = ""', "deploy.worker.memory"),
    ],
)
def test_an_amount_that_is_nothing(toml: str, key: str) -> None:
    assert said(toml) == [f"{key}: leaves nothing; give an amount above 0, or leave it out for the default"]


@pytest.mark.parametrize("key", ["store", "server"])
def test_what_is_of_an_embedded_server_stops_a_worker_that_gets_another(key: str) -> None:
    toml = f'{BUS}url = "embedded"\n{key} = "x"\n'
    text = "is for an embedded server, and the worker gets another; take it out of the file that is deployed"
    assert said(toml + WORKER) == [f"buses.main.{key}: {text}"]
    assert said(toml) == []


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (
            "",
            "missing, and the worker gets the address of main alone; "
            "write it, or set EVENTBUS_LOG_1_URI for the worker by other means",
        ),
        ('url = "embedded"', "embedded, so that each worker has a server of its own; give the address of one for all"),
        (
            'url = ["embedded"]',
            "embedded, so that each worker has a server of its own; give the address of one for all",
        ),
        ('url = "nats://log:4222"', None),
        ('url = ["nats://log:4222"]', None),
    ],
)
def test_the_worker_needs_the_addresses_of_the_other_buses_too(other: str, told: str | None) -> None:
    toml = f"{BUS}[buses.log-1]\n{other}\n"
    expected = [f"buses.log-1.url: {told}"] if told else []
    assert (said(toml + WORKER, "warning"), said(toml, "warning")) == (expected, [])


def test_a_bus_that_nothing_runs_on_stops_a_worker() -> None:
    toml = f'{BUS}[buses.log]\nprovider = "kafka"\n'
    assert said(toml) == []
    (found,) = said(toml + WORKER)
    assert found.startswith('buses.log.provider: "kafka" can be declared to be provisioned by a plug-in')


def test_two_kinds_of_credentials_stop_a_worker() -> None:
    toml = BUS + 'auth.nkey_seed_file = "bus.nk"' + WORKER
    assert said(toml) == [
        "buses.main.auth.nkey_seed_file: and nats.creds are two kinds of credentials; "
        'leave it out, or set deploy.worker.creds_secret = ""'
    ]
    assert said(toml + 'creds_secret = ""') == []
    assert said(toml.replace("nkey_seed_file", "creds")) == []  # the variable replaces that


@pytest.mark.parametrize(
    ("limits", "is_small"),
    [('cpu = "2", memory = "8Gi"', False), ('cpu = "1", memory = "8Gi"', True), ('cpu = "2", memory = "7Gi"', True)],
)
def test_a_small_cluster_is_a_warning(limits: str, is_small: bool) -> None:
    text = "buses.main.limits: a cluster in production wants 2 processors and 8 GiB for each server"
    assert said(f"{BUS}replicas = 3\nlimits = {{ {limits} }}", "warning") == ([text] if is_small else [])
    assert said(f"{BUS}limits = {{ {limits} }}", "warning") == []


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1 << 20, "1 MiB"),
        (1536 << 20, "1.5 GiB"),
        (27 << 30, "27 GiB"),
        (1000 << 30, "1000 GiB"),
    ],
)
def test_a_size_for_people(size: int, text: str) -> None:
    assert in_units(size) == text


@settings(deadline=None)
@given(st.text(max_size=200), st.booleans())
def test_whatever_the_file_is_the_rules_hold(text: str, as_name: bool) -> None:
    inputs = inputs_of(BUS + WORKER)
    for one in common(replace(inputs, bus=text) if as_name else replace(inputs, text=text)):
        assert one.text
