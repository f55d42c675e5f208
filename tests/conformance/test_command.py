"""`eventbus conformance`, as a process of its own, against servers of all kinds."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.conformance.groups import GROUPS
from eventbus_runtime.testing.server import NatsServer
from tests.cli.command import command_line, environment, eventbus, interrupted
from tests.conformance.test_process import PHASES
from tests.conformance.test_suites import TRIGGER, TWELVE, streams
from tests.conftest import MakeServer
from tests.triggers.live import connected, make_consumer, make_stream, until

pytestmark = pytest.mark.seed("S-70", "S-72")

SERVER = ("--only", "provider", "--only", "trigger")
DENIED = 'publish: { deny: ["$JS.API.STREAM.CREATE.>"] }'
USER = 'authorization { users = [ { user: u, password: "hush-hush", permissions: { %s } } ] }'


@asynccontextmanager
async def untouched(server: NatsServer) -> AsyncIterator[NatsBus]:
    """A server that has a stream, a consumer and messages of somebody else, which the block must leave as they are."""
    async with connected(server.url) as bus:
        await make_stream(bus)
        await make_consumer(bus)
        await bus.publish("s.a", b"theirs")

        async def noticed() -> bool:
            return bool((await bus.api("CONSUMER.INFO.S.c"))["num_pending"] == 1)

        await until(noticed)  # the consumer's own count comes a little later
        before = [await bus.api("STREAM.INFO.S"), await bus.api("CONSUMER.INFO.S.c")]
        yield bus
        after = [await bus.api("STREAM.INFO.S"), await bus.api("CONSUMER.INFO.S.c")]
        for answer in (*before, *after):
            answer.pop("ts", None)
        assert after == before
        assert await streams(server.url) == {"S"}


async def test_all_passes_and_nothing_else_is_touched(server: NatsServer) -> None:
    async with untouched(server) as bus:
        done = eventbus("conformance", "--bus", server.url, *SERVER)
        assert done.returncode == 0, done.stdout.decode()
        version = bus.server_version
    head, _, *lines = done.stdout.decode().splitlines()
    assert head == f"nats on self_hosted, nats-server {version} at {server.url}"
    assert lines[-1] == f"{len(TWELVE + TRIGGER)} passed: conforms"
    assert done.stderr == b""


@pytest.mark.seed("S-71")
def test_without_an_address_a_server_is_started_and_all_is_run_and_the_report_is_json_where_asked() -> None:
    done = eventbus("conformance", "--format", "json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["passed"]) == (0, b"", True)
    run = [one["phase"] for one in told["phases"]]
    assert run[5:] == TWELVE + PHASES + TRIGGER
    assert {one["verdict"] for one in told["phases"]} == {"passed"}


@pytest.mark.seed("S-5", "S-11")
def test_what_needs_no_server_asks_for_none() -> None:
    done = eventbus("conformance", "--only", "targets", environ={"EVENTBUS_NATS_SERVER": "/nowhere"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines()[0] == "nats on self_hosted, no server"


@pytest.mark.timed
def test_a_dead_address_is_one_line_soon() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen: refused, and nobody else can take it
        port, began = silent.getsockname()[1], time.monotonic()
        done = eventbus("conformance", "--bus", f"nats://u:hush-hush@127.0.0.1:{port}")
        assert time.monotonic() - began < 4
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        f"nats://********@127.0.0.1:{port}: unreachable: nats://127.0.0.1:{port}: connection refused\n"
    )


def test_the_help_names_all_groups() -> None:
    told = " ".join(eventbus("conformance", "--help", environ={"COLUMNS": "200"}).stdout.decode().split())
    assert f"{', '.join(GROUPS[:-1])} or {GROUPS[-1]}" in told


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--only", "tigger"), "--only: there is no group 'tigger'; there are "),
        (("--target", "aws.msk"), "--target: nats can't be put on aws.msk; targets of nats: "),
        (("--provider", "natz"), 'unknown provider "natz"; known: nats, kafka, kinesis'),
        (("--bus", "http://127.0.0.1"), "the uri is not an address; write one server's, as nats://HOST:4222"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(arguments: tuple[str, ...], text: str) -> None:
    done = eventbus("conformance", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(text)
    assert done.stderr.count(b"\n") == 1


def phases(done: subprocess.CompletedProcess[bytes]) -> dict[str, tuple[str, str]]:
    """By suite and phase: verdict and text."""
    told = json.loads(done.stdout)["phases"]
    return {f"{one['suite']} {one['phase']}": (one["verdict"], one["text"]) for one in told}


def test_without_jetstream_the_phases_that_need_it_say_so(make_server: MakeServer) -> None:
    server = make_server(jetstream=False)
    done = eventbus("conformance", "--bus", server.url, *SERVER, "--format", "json")
    found = phases(done)
    off = f"JetStream is off on {server.url}, the server of bus 'conformance'"
    assert done.returncode == 1
    for phase in ("provider streams", "trigger stream"):
        assert found[phase][0] == "failed"
        assert f"seen: {off}" in found[phase][1]
    assert found["provider probe"] == (
        "failed",
        "expected status 'healthy'; seen: 'degraded: JetStream is off on this server, or for this account'",
    )
    assert found["provider connect"][0] == "passed"
    assert found["provider publish"] == ("not run", "needs 'streams': failed")
    assert found["trigger teardown"] == ("not applicable", "no stream was made, so that none is to be removed")


def test_without_permission_to_make_streams_it_says_so_and_shows_no_credentials(make_server: MakeServer) -> None:
    server = make_server(USER % DENIED)
    url = server.url.replace("//", "//u:hush-hush@")
    done = eventbus("conformance", "--bus", url, *SERVER, "--format", "json")
    verdict, text = phases(done)["provider streams"]
    assert (done.returncode, verdict) == (1, "failed")
    assert "the server does not permit it to publish to '$JS.API.STREAM.CREATE.EVENTBUS_CONFORMANCE_" in text
    assert b"hush" not in done.stdout + done.stderr
    assert json.loads(done.stdout)["subject"].endswith(url.replace("u:hush-hush", "********"))


def test_credentials_in_the_address_work_and_are_not_shown(make_server: MakeServer) -> None:
    server = make_server(USER % "")
    done = eventbus("conformance", "--bus", server.url.replace("//", "//u:hush-hush@"), *SERVER)
    assert done.returncode == 0, done.stdout.decode()
    assert b"hush" not in done.stdout + done.stderr


def test_more_replicas_than_servers_is_the_servers_own_word(server: NatsServer) -> None:
    done = eventbus("conformance", "--bus", server.url, "--replicas", "3", *SERVER, "--format", "json")
    verdict, text = phases(done)["provider streams"]
    assert (done.returncode, verdict) == (1, "failed")
    assert "replicas > 1 not supported in non-clustered mode" in text


async def test_ctrl_c_leaves_nothing_behind(server: NatsServer) -> None:
    code, shown = interrupted("conformance", "--bus", server.url, *SERVER, at="provider  streams")
    assert code == 130
    assert "interrupted" in shown
    assert "Traceback" not in shown
    assert "conforms" not in shown
    assert await streams(server.url) == set()


async def test_sigterm_leaves_nothing_behind(server: NatsServer) -> None:
    process = subprocess.Popen(
        command_line("conformance", "--bus", server.url, *SERVER),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({"PYTHONUNBUFFERED": "1"}),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"provider  streams"):
            break
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"interrupted\n")
    assert await streams(server.url) == set()
