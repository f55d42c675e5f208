"""`eventbus probe`: what is printed, how it ends, and within what time."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from time import monotonic

import pytest

from eventbus_runtime.testing.server import NatsServer, free_port
from tests.buses.credentials import Certificates
from tests.cli.command import eventbus, with_closed
from tests.conftest import MakeServer


def test_a_healthy_server_is_one_line_and_exit_code_0(server: NatsServer) -> None:
    done = eventbus("probe", server.url)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        rf"{server.url}: healthy \(nats-server 2\.\S+, [\d.]+ ms away, [\d.]+ s in all\)\n", done.stdout.decode()
    )


def test_a_server_without_jetstream_is_degraded_and_exit_code_1(make_server: MakeServer) -> None:
    server = make_server(jetstream=False)
    done = eventbus("probe", server.url)
    assert done.returncode == 1
    assert done.stdout.decode().startswith(
        f"{server.url}: degraded: JetStream is off on this server, or for this account (nats-server 2."
    )


def test_without_an_output_the_exit_code_alone_says_it() -> None:
    done = with_closed(1, "probe", f"nats://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stderr) == (1, b"")


def test_json_says_the_same_and_hides_credentials() -> None:
    port = free_port()
    done = eventbus("probe", f"nats://me:hunter2@127.0.0.1:{port}", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found.pop("seconds") < 5
    assert found == {
        "uri": f"nats://********@127.0.0.1:{port}",
        "status": "unreachable",
        "error": f"nats://127.0.0.1:{port}: connection refused",
        "server_version": "",
        "round_trip": 0.0,
    }


@pytest.mark.seed("S-14")
def test_an_empty_address_is_unreachable() -> None:
    """S-14."""
    done = eventbus("probe", "")
    assert done.returncode == 1
    assert done.stdout.decode().startswith("(none): unreachable: there is no address: the uri is empty")


@pytest.mark.timed
def test_a_port_that_says_nothing_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"nats://127.0.0.1:{mute.getsockname()[1]}"
        started = monotonic()
        idle = eventbus("probe", "")
        start_up = monotonic() - started
        started = monotonic()
        done = eventbus("probe", url, "--timeout", "2s")
        took = monotonic() - started
    assert (idle.returncode, done.returncode) == (1, 1)
    assert f"{url}: unreachable: {url}: no answer in time" in done.stdout.decode()
    assert took < 2 + 2 * start_up


def test_a_monitor_that_does_not_answer_degrades(server: NatsServer) -> None:
    monitor = f"http://127.0.0.1:{free_port()}"
    done = eventbus("probe", server.url, "--monitor", monitor)
    assert done.returncode == 1
    assert f": degraded: the monitor {monitor} does not answer: " in done.stdout.decode()


def test_the_authority_of_ssl_cert_file_is_trusted(make_server: MakeServer, tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path, "DNS:localhost")
    url = f"tls://localhost:{make_server(certificates.server_config()).port}"
    assert eventbus("probe", url).returncode == 1
    done = eventbus("probe", url, environ={"SSL_CERT_FILE": str(certificates.ca)})
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nats://h", "--timeout", "soon"], "--timeout: 'soon' is not a duration"),
        (["nats://h", "--timeout", "0s"], "--timeout: must be more than 0"),
        (["nats://h", "--monitor", "h:8222"], "the monitor's address h:8222 is none; write http://HOST:8222"),
        (["http://me:hunter2@h"], "the uri is not an address; write one server's, as nats://HOST:4222"),
        ([], "Missing argument"),
    ],
)
def test_a_mistake_in_the_command_is_exit_code_2(arguments: list[str], said: str) -> None:
    done = eventbus("probe", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert "hunter2" not in done.stderr.decode()
