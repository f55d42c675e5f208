"""`eventbus publish` against a real server: what reaches the stream, what is printed, and how it fails."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from eventbus_runtime.buses.embedded import EmbeddedServer
from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.headers import Headers
from eventbus_runtime.testing.server import NatsServer, free_port
from tests.cli.command import eventbus

STREAM = {"name": "ORDERS", "subjects": ["orders.>"]}


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        yield running


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[NatsBus]:
    """A connection beside the command's, on a server with an empty stream ORDERS."""
    bus = NatsBus("main", BusConfig(), urls=[server.url])
    await bus.__aenter__()
    await bus.wait_connected()
    await bus.api("STREAM.CREATE.ORDERS", STREAM)
    yield bus
    await bus.api("STREAM.DELETE.ORDERS")
    await bus.close()


@pytest.fixture
def file(server: NatsServer, tmp_path: Path) -> Path:
    """A configuration with that bus, and with what must not matter here: user code that can't be imported."""
    path = tmp_path / "app.toml"
    path.write_text(
        f'[runtime]\nimports = ["no.such.module"]\n[buses.main]\nurl = "{server.url}"\n[triggers.x]\nno = 1\n'
    )
    return path


async def stored(bus: NatsBus, sequence: int) -> tuple[bytes, Headers]:
    """Payload and headers of a stored message, as the server hands them out."""
    message = (await bus.api("STREAM.MSG.GET.ORDERS", {"seq": sequence}))["message"]
    return base64.b64decode(message.get("data", "")), Headers.parse(base64.b64decode(message.get("hdrs", "")))


async def test_it_stores_the_body_and_prints_stream_and_sequence(bus: NatsBus, file: Path) -> None:
    body = json.dumps({"id": "A1", "total": 9.5})
    done = eventbus("publish", file, "orders.created", body)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ORDERS 1\n", b"")
    assert (await stored(bus, 1))[0] == body.encode()


@pytest.mark.parametrize("arguments", [(), ("-",)], ids=["left out", "dash"])
async def test_the_body_comes_from_standard_input(bus: NatsBus, file: Path, arguments: tuple[str, ...]) -> None:
    assert eventbus("publish", file, "orders.created", *arguments, stdin=b"a\x00\xff\n").returncode == 0
    assert (await stored(bus, 1))[0] == b"a\x00\xff\n"


async def test_a_body_that_is_not_text_arrives_as_it_is(bus: NatsBus, file: Path) -> None:
    assert eventbus("publish", file, "orders.created", b"\xff\xfe").returncode == 0
    assert (await stored(bus, 1))[0] == b"\xff\xfe"


async def test_headers_may_repeat_and_hold_colons(bus: NatsBus, file: Path) -> None:
    options = ("-H", "Tag: a", "-H", "Tag:b", "-H", "At: 10:30", "-H", "Name: Müller")
    assert eventbus("publish", file, "orders.created", "x", *options).returncode == 0
    headers = (await stored(bus, 1))[1]
    assert list(headers.pairs()) == [("Tag", "a"), ("Tag", "b"), ("At", "10:30"), ("Name", "Müller")]


async def test_a_second_message_of_one_id_is_told_as_a_duplicate(bus: NatsBus, file: Path) -> None:
    assert eventbus("publish", file, "orders.created", "x", "--id", "A1").stdout == b"ORDERS 1\n"
    assert eventbus("publish", file, "orders.created", "x", "--id", "A1").stdout == b"ORDERS 1 (duplicate)\n"


async def test_a_count_is_stored_that_often_and_summed_up_in_one_line(bus: NatsBus, file: Path) -> None:
    done = eventbus("publish", file, "orders.created", "x", "--count", "600")
    assert done.stdout == b"ORDERS: 600 of 600 confirmed, last sequence 600\n"
    assert (await bus.api("STREAM.INFO.ORDERS"))["state"]["messages"] == 600


async def test_the_environment_gives_the_address(bus: NatsBus, server: NatsServer, tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    file.write_text('[streams.ORDERS]\nsubjects = ["orders.>"]\n')
    done = eventbus("publish", file, "orders.created", "x", environ={"EVENTBUS_MAIN_URI": server.url})
    assert (done.returncode, done.stdout) == (0, b"ORDERS 1\n")


async def test_the_bus_is_chosen_by_name_where_there_are_several(bus: NatsBus, server: NatsServer, file: Path) -> None:
    with file.open("a") as more:
        more.write(f'[buses.other]\nurl = "nats://127.0.0.1:{free_port()}"\n')
    done = eventbus("publish", file, "orders.created", "x")
    assert done.returncode == 2
    assert b"choose one with --bus, of main and other" in done.stderr
    assert eventbus("publish", file, "orders.created", "x", "--bus", "main").stdout == b"ORDERS 1\n"
    done = eventbus("publish", file, "orders.created", "x", "--bus", "mian")
    assert done.returncode == 2
    assert b"did you mean main?" in done.stderr


async def test_an_embedded_bus_is_found_by_the_file_that_its_process_wrote(tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    file.write_text('[buses.main]\nurl = "embedded"\n')
    done = eventbus("publish", file, "orders.created", "x")
    assert done.returncode == 1
    assert b"start eventbus-run" in done.stderr
    config = BusConfig(url=("embedded",))
    async with (
        EmbeddedServer("main", config, tmp_path) as embedded,
        NatsBus("main", config, urls=[embedded.url]) as bus,
    ):
        await bus.wait_connected()
        await bus.api("STREAM.CREATE.ORDERS", STREAM)
        assert eventbus("publish", file, "orders.created", "x").stdout == b"ORDERS 1\n"


async def test_a_subject_that_no_stream_stores_is_an_error_of_one_line(bus: NatsBus, file: Path) -> None:
    done = eventbus("publish", file, "parcels.sent", "x")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"no stream stores 'parcels.sent'")
    assert done.stderr.count(b"\n") == 1


async def test_a_stream_that_fills_up_leaves_a_line_for_what_was_stored_and_one_for_the_error(
    bus: NatsBus, file: Path
) -> None:
    await bus.api("STREAM.UPDATE.ORDERS", STREAM | {"max_msgs": 3, "discard": "new"})
    done = eventbus("publish", file, "orders.created", "x", "--count", "10")
    assert done.returncode == 1
    assert done.stdout == b"ORDERS: 3 of 10 confirmed, last sequence 3\n"
    assert b"maximum messages exceeded" in done.stderr


async def test_a_body_above_the_servers_limit_is_refused(bus: NatsBus, file: Path) -> None:
    done = eventbus("publish", file, "orders.created", stdin=b"x" * (2 << 20))
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


@pytest.mark.timed
def test_a_bus_that_is_away_ends_it_within_the_time_limit(tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    file.write_text(f'[buses.main]\nurl = "nats://127.0.0.1:{free_port()}"\n')
    begun = time.monotonic()
    done = eventbus("publish", file, "orders.created", "x", "--timeout", "500ms")
    assert done.returncode == 1
    assert done.stderr.startswith(b"bus 'main' can't be reached within 0.5 s: ")
    assert b"connection refused" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert time.monotonic() - begun < 5


def test_wrong_credentials_end_it_at_once(tmp_path: Path) -> None:
    with NatsServer("authorization { user: ann, password: right }") as server:
        file = tmp_path / "app.toml"
        auth = '[buses.main.auth]\nuser = "ann"\npassword = "wrong"\n'
        file.write_text(f'[buses.main]\nurl = "{server.url}"\n{auth}')
        done = eventbus("publish", file, "orders.created", "x", "--timeout", "30s")
    assert done.returncode == 1
    assert b"buses.main.auth.password" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("orders.*", "x"), b"can't be published to"),
        (("orders created", "x"), b"can't be published to"),
        (("orders.created", "x", "-H", "no colon"), b"a header is NAME:VALUE"),
        (("orders.created", "x", "-H", "a b: c"), b"can't be a header name"),
        (("orders.created", "x", "--count", "0"), b"--count"),
        (("orders.created", "x", "--timeout", "soon"), b"--timeout"),
    ],
)
def test_a_mistake_on_the_command_line_is_exit_code_2(file: Path, arguments: tuple[str, ...], said: bytes) -> None:
    done = eventbus("publish", file, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_mistakes_in_the_buses_are_told_with_their_lines(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert eventbus("publish", missing, "a", "x").stderr == f"{missing}: there is no such file\n".encode()
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[buses.main]\nurl = "nats://127.0.0.1:4222"\nconect_timeout = "2s"\n')
    done = eventbus("publish", wrong, "a", "x")
    assert done.returncode == 2
    assert f"{wrong}:3: buses.main.conect_timeout".encode() in done.stderr
    assert b"connect_timeout?" in done.stderr


def test_the_version_is_that_of_the_package() -> None:
    assert eventbus("--version").stdout.decode() == f"eventbus-runtime {version('eventbus-runtime')}\n"
