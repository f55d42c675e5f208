"""`eventbus import`: what a server has as a file, on which a plan has nothing to do."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import AuthConfig, BusConfig
from eventbus_runtime.testing.server import NatsServer
from tests.buses.credentials import Operator
from tests.cli.topology import run
from tests.conftest import MakeServer
from tests.leaf import HUB, hub_and_leaf
from tests.triggers.live import connected

SECOND = 10**9
ADMIN = 'accounts { A { jetstream: enabled, users: [ { user: "me", password: "hunter2" } ] } }'


async def make(bus: NatsBus, name: str, **config: Any) -> None:
    """A stream, by the server's API alone."""
    await bus.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name.lower()}.>"], **config})


async def feed(bus: NatsBus, stream: str, name: str, **config: Any) -> None:
    """A consumer, by the server's API alone."""
    body = {"name": name, "durable_name": name, "ack_policy": "explicit", **config}
    subject = ".".join(["CONSUMER.CREATE", stream, name, *filter(None, [config.get("filter_subject")])])
    await bus.api(subject, {"stream_name": stream, "config": body})


async def test_only_what_differs_from_the_defaults_is_written_in_the_units_of_a_file(
    server: NatsServer, tmp_path: Path
) -> None:
    async with connected(server.url) as bus:
        await make(bus, "ORDERS", max_age=7 * 86400 * SECOND, max_bytes=10 * 2**30, max_msg_size=1000)
        await make(bus, "PLAIN")
        await feed(bus, "ORDERS", "billing", ack_wait=60 * SECOND)
        await feed(bus, "PLAIN", "plain")
    code, out, _ = run("import", server.url)
    assert code == 0
    assert tomllib.loads(out) == {
        "buses": {"main": {"url": server.url}},
        "streams": {
            "ORDERS": {"subjects": ["orders.>"], "max_age": "7d", "max_bytes": "10GiB", "max_msg_size": 1000},
            "PLAIN": {"subjects": ["plain.>"]},
        },
        "consumers": {"billing": {"stream": "ORDERS", "ack_wait": "1m"}, "plain": {"stream": "PLAIN"}},
    }


async def test_what_a_file_can_not_declare_becomes_a_comment_that_says_why(server: NatsServer, tmp_path: Path) -> None:
    async with connected(server.url) as bus:
        await make(bus, "ORDERS")
        await make(bus, "OTHER", subjects=["other.a*", "other.b"])
        await make(bus, "KV_bucket", subjects=["$KV.bucket.>"])
        await feed(bus, "ORDERS", "pushed", deliver_subject="to.me")
        await feed(bus, "ORDERS", "passing", durable_name=None, inactive_threshold=3600 * SECOND)
        await feed(bus, "ORDERS", "twice")
        await feed(bus, "OTHER", "twice")
        await feed(bus, "ORDERS", "exhausted--ORDERS--twice")
    file = tmp_path / "app.toml"
    run("import", server.url, "--out", file)
    text = file.read_text()
    comments = [line for line in text.splitlines() if line.startswith("# ")][2:]
    assert [line.partition(": ")[0] for line in comments] == [
        "# stream KV_bucket",
        "# consumer exhausted--ORDERS--twice of stream ORDERS",
        "# consumer passing of stream ORDERS",
        "# consumer pushed of stream ORDERS",
        "# the configuration of stream OTHER",
        "# consumer twice of stream OTHER",
    ]
    assert "a push consumer (to to.me); triggers use pull consumers" in text
    assert "'*' and '>' stand for whole tokens" in text
    assert "a file has one consumer of a name, and this one is declared for ORDERS" in text
    assert tomllib.loads(text)["streams"]["OTHER"] == {"declare": False}
    assert run("plan", file)[0] == 0


async def test_what_the_loader_refuses_beside_the_rest_becomes_a_comment(server: NatsServer, tmp_path: Path) -> None:
    """A stream can lose a subject that a consumer still filters by."""
    async with connected(server.url) as bus:
        await make(bus, "ORDERS", subjects=["a", "b"])
        await feed(bus, "ORDERS", "lost", filter_subject="b")
        await bus.api("STREAM.UPDATE.ORDERS", {"name": "ORDERS", "subjects": ["a"]})
    file = tmp_path / "app.toml"
    run("import", server.url, "--out", file)
    assert '# consumer lost of stream ORDERS: "b" is outside the subjects of ORDERS' in file.read_text()
    assert run("plan", file)[0] == 0


@pytest.mark.parametrize("credentials", ["me:hunter2@", "me%3A:hunter2@"])
def test_no_password_gets_into_the_file_or_an_error(make_server: Any, tmp_path: Path, credentials: str) -> None:
    """E8."""
    server, file = make_server(ADMIN), tmp_path / "app.toml"
    url = server.url.replace("//", f"//{credentials}")
    code, out, err = run("import", url, "--out", file)
    if credentials == "me:hunter2@":
        text = file.read_text()
        assert code == 0
        assert "hunter2" not in text + out + err
        assert "set EVENTBUS_MAIN_URI or NATS_URL" in text
        assert run("plan", file, NATS_URL=url)[0] == 0
    else:
        assert (code, file.exists()) == (1, False)
        assert "hunter2" not in out + err


def test_a_file_that_is_there_is_kept_without_force(server: NatsServer, tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    file.write_text("# mine\n")
    code, _, err = run("import", server.url, "--out", file)
    assert (code, file.read_text()) == (2, "# mine\n")
    assert "add --force to write over it" in err
    assert run("import", server.url, "--out", file, "--force")[0] == 0
    assert tomllib.loads(file.read_text()) == {"buses": {"main": {"url": server.url}}}


@pytest.mark.parametrize("url", ["nats:://me:hunter2@here", "http://me:hunter2@here", "embedded://me:hunter2@"])
def test_what_is_no_address_is_refused_without_being_shown(url: str, tmp_path: Path) -> None:
    code, out, err = run("import", url, "--out", tmp_path / "app.toml")
    assert (code, out, list(tmp_path.iterdir())) == (2, "", [])
    assert "URL is not an address" in err
    assert "hunter2" not in err


async def test_a_domain_behind_a_leaf_node_is_read_and_stands_in_the_file(
    make_server: MakeServer, tmp_path: Path
) -> None:
    _, leaf = await hub_and_leaf(tmp_path, make_server)
    async with connected(leaf.url, config=HUB) as hub:
        await make(hub, "FAR")
        await feed(hub, "FAR", "billing")
    file = tmp_path / "app.toml"
    assert run("import", leaf.url, "--domain", "hub", "--out", file)[0] == 0
    assert tomllib.loads(file.read_text()) == {
        "buses": {"main": {"url": leaf.url, "domain": "hub"}},
        "streams": {"FAR": {"subjects": ["far.>"]}},
        "consumers": {"billing": {"stream": "FAR"}},
    }
    assert run("plan", file)[0] == 0
    code, out, err = run("import", leaf.url, "--domain", "hup")
    assert (code, out) == (1, "")
    assert "no JetStream answers on '$JS.hup.API.INFO': check domain" in err


async def test_a_credentials_file_is_used_and_its_path_stands_in_the_file(
    make_server: MakeServer, tmp_path: Path
) -> None:
    operator = Operator()
    server = make_server(operator.server_config())
    creds = operator.creds(tmp_path / "nats.creds")
    async with connected(server.url, config=BusConfig(auth=AuthConfig(creds=creds))) as bus:
        await make(bus, "ORDERS")
    file = tmp_path / "app.toml"
    assert run("import", server.url, "--creds", creds, "--out", file)[0] == 0
    text = file.read_text()
    assert tomllib.loads(text) == {
        "buses": {"main": {"url": server.url, "auth": {"creds": str(creds)}}},
        "streams": {"ORDERS": {"subjects": ["orders.>"]}},
    }
    assert run("plan", file)[0] == 0
    code, out, err = run("import", server.url, "--creds", tmp_path / "absent.creds")
    assert (code, out) == (2, "")
    assert "absent.creds" in err
