"""`eventbus apply`: done once, asked for, silent where nothing differs, and what it deletes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import nats
import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.cli.plan import look_at
from eventbus_runtime.cli.plan_output import exit_code
from eventbus_runtime.config.loader import load
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.errors import ApiError, NotFoundError
from eventbus_runtime.provisioning.apply import carry_out
from eventbus_runtime.provisioning.patience import Patience
from eventbus_runtime.provisioning.plan import Item
from eventbus_runtime.provisioning.topology import Changed
from eventbus_runtime.testing.server import NatsServer
from tests.cli.command import interrupted, on_a_terminal, with_closed
from tests.cli.topology import TOML, run, write
from tests.conftest import MakeServer
from tests.provisioning.buses import Unavailable
from tests.triggers.live import Observer, connected

CHANGING = (
    "$JS.API.STREAM.CREATE.>",
    "$JS.API.STREAM.UPDATE.>",
    "$JS.API.CONSUMER.CREATE.>",
    "$JS.API.CONSUMER.DURABLE.>",
)
RICH = """
[streams.ORDERS]
subjects = ["orders.>", "returns.*"]
max_age = "7d"
max_bytes = "1GiB"
max_msgs_per_subject = 1000
duplicate_window = "5m"
republish = { dest = "again.>" }
[streams.WORK]
subjects = ["work.>"]
retention = "workqueue"
discard = "new"
[consumers.billing]
stream = "ORDERS"
filter_subjects = "orders.new"
backoff = ["1s", "5s"]
max_deliver = 7
[consumers.packing]
stream = "WORK"
inactive_threshold = "30d"
sample_freq = "50%"
deliver_policy = "all"
"""


def asked(observer: Observer) -> list[str]:
    """What was asked of the API."""
    return [one.subject for one in observer.seen]


async def exists(bus: NatsBus, subject: str) -> bool:
    try:
        await bus.api(subject)
    except NotFoundError:
        return False
    return True


async def test_a_second_run_sends_nothing_that_creates_or_updates(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server, RICH)
    async with Observer(server.url, *CHANGING, "$JS.API.STREAM.LIST") as observer:
        first = await asyncio.to_thread(run, "apply", file, "--yes")
        await observer.flush()
        assert (first[0], len(asked(observer))) == (0, 5)
        observer.seen.clear()
        assert (await asyncio.to_thread(run, "apply", file, "--yes"))[0] == 0
        await observer.flush()
        # It did ask what is there, so that the silence is no deafness.
        assert asked(observer) == ["$JS.API.STREAM.LIST"]


async def test_a_message_put_off_before_an_apply_that_changes_nothing_comes_at_its_time(
    server: NatsServer, tmp_path: Path
) -> None:
    file = write(tmp_path, server)
    await asyncio.to_thread(run, "apply", file, "--yes")
    client = await nats.connect(server.url)
    await client.jetstream().publish("orders.new", b"1")
    pulled = await client.jetstream().pull_subscribe_bind("billing", "ORDERS")
    (message,) = await pulled.fetch(1)
    await message.nak(delay=4)
    await client.flush()
    put_off = time.monotonic()
    code, _, _ = await asyncio.to_thread(run, "apply", file, "--yes")
    applied = time.monotonic() - put_off
    (again,) = await pulled.fetch(1, timeout=10)
    waited = time.monotonic() - put_off
    assert (code, again.metadata.num_delivered) == (0, 2)
    assert applied < 3.9 < waited < 6
    await client.close()


async def test_a_change_is_sent_once_and_said(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server)
    run("apply", file, "--yes")
    write(tmp_path, server, TOML.replace("7d", "30d"))
    async with Observer(server.url, *CHANGING) as observer:
        code, out, _ = await asyncio.to_thread(run, "apply", file, "--yes")
        await observer.flush()
        assert asked(observer) == ["$JS.API.STREAM.UPDATE.ORDERS"]
    assert (code, out.splitlines()[-1]) == (0, "stream ORDERS: updated")


def test_without_a_terminal_it_wants_to_be_told(server: NatsServer, tmp_path: Path) -> None:
    code, out, err = run("apply", write(tmp_path, server))
    assert (code, out) == (2, "")
    assert "nobody is here to answer: add --yes" in err


@pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 2)])
def test_on_a_terminal_it_asks(server: NatsServer, tmp_path: Path, answer: bytes, code: int, left: int) -> None:
    file = write(tmp_path, server)
    ended, shown = on_a_terminal("apply", file, answer=answer)
    assert (ended, "Do this on bus main?" in shown) == (code, True)
    assert run("plan", file)[0] == left


async def test_what_can_not_be_done_keeps_all_from_being_done(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server)
    run("apply", file, "--yes")
    write(tmp_path, server, TOML.replace("7d", "30d") + 'replay_policy = "original"\n')
    async with Observer(server.url, *CHANGING) as observer:
        code, _, err = await asyncio.to_thread(run, "apply", file, "--yes")
        await observer.flush()
        assert (code, observer.seen) == (1, [])
    assert "Nothing was done" in err


def test_what_the_server_refuses_is_said_and_the_rest_is_done(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server, f'{TOML}[streams.BAD]\nsubjects = "bad"\nmax_age = "1ms"\n')
    code, out, err = run("apply", file, "--yes")
    assert code == 1
    assert "stream BAD: the server refuses it" in err
    assert "consumer billing of stream ORDERS: created" in out


async def test_without_prune_nothing_is_deleted_and_with_it_what_is_not_in_the_file(
    server: NatsServer, tmp_path: Path
) -> None:
    file = write(tmp_path, server, f'{TOML}[streams.OLD]\nsubjects = "old"\n[consumers.gone]\nstream = "ORDERS"\n')
    run("apply", file, "--yes")
    write(tmp_path, server)
    async with connected(server.url) as bus:
        await bus.api("STREAM.CREATE.KV_kept", {"name": "KV_kept", "subjects": ["$KV.kept.>"]})
        await bus.publish("old")
        assert "deleted" not in run("apply", file, "--yes")[1]
        code, out, _ = run("apply", file, "--yes", "--prune")
        assert code == 0
        assert "  - stream OLD: 1 messages, " in out
        assert out.splitlines()[-2:] == ["stream OLD: deleted", "consumer gone of stream ORDERS: deleted"]
        left = [await exists(bus, f"STREAM.INFO.{name}") for name in ("OLD", "KV_kept", "ORDERS")]
        assert left == [False, True, True]
        consumers = [await exists(bus, f"CONSUMER.INFO.ORDERS.{name}") for name in ("gone", "billing")]
        assert consumers == [False, True]


async def test_prune_asks_by_itself(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server)
    run("apply", file, "--yes")
    async with connected(server.url) as bus:
        await bus.api("STREAM.CREATE.OLD", {"name": "OLD", "subjects": ["old"]})
        code, shown = await asyncio.to_thread(on_a_terminal, "apply", file, "--prune", answer=b"n\n")
        assert (code, "Delete this for good?" in shown, "Do this on" in shown) == (1, True, False)
        assert await exists(bus, "STREAM.INFO.OLD")
        code, shown = await asyncio.to_thread(on_a_terminal, "apply", file, "--prune", answer=b"y\n")
        assert (code, await exists(bus, "STREAM.INFO.OLD")) == (0, False)


async def test_prune_spares_what_the_file_declares_for_another_bus_of_the_same_server(
    server: NatsServer, tmp_path: Path
) -> None:
    file = tmp_path / "app.toml"
    file.write_text(
        f'[buses.a]\nurl = "{server.url}"\n[buses.b]\nurl = "{server.url}"\n'
        '[streams.ONE]\nbus = "a"\nsubjects = "one"\n[streams.TWO]\nbus = "b"\nsubjects = "two"\n'
    )
    run("apply", file, "--yes")
    async with connected(server.url) as bus:
        await bus.api("STREAM.CREATE.OLD", {"name": "OLD", "subjects": ["old"]})
        code, out, _ = run("apply", file, "--yes", "--prune")
        left = [await exists(bus, f"STREAM.INFO.{name}") for name in ("ONE", "TWO", "OLD")]
    assert (code, left, out.count("deleted")) == (0, [True, True, False], 1)


@pytest.mark.parametrize("denied", ["$JS.API.CONSUMER.CREATE.>", "$JS.API.STREAM.CREATE.ORDERS"])
def test_what_it_may_not_do_hides_no_refusal_and_holds_nothing_else_back(
    make_server: MakeServer, tmp_path: Path, denied: str
) -> None:
    user = f'user: app, password: secret, permissions: {{ publish: {{ allow: ">", deny: ["{denied}"] }} }}'
    server = make_server(f"authorization {{ users: [{{ {user} }}] }}")
    bad = '[streams.BAD]\nsubjects = "bad"\nmax_age = "1ms"\n[streams.GOOD]\nsubjects = "good"\n'
    file = write(tmp_path, server, bad + TOML)
    address = server.url.replace("//", "//app:secret@")
    code, out, err = run("apply", file, "--yes", EVENTBUS_MAIN_URI=address)
    assert (code, "stream GOOD: created" in out, "secret" in out + err) == (1, True, False)
    assert "tried again" not in err
    assert "stream BAD: the server refuses it" in err
    assert f"does not permit it to publish to '{denied.replace('>', 'ORDERS.billing')}'" in err


async def test_a_server_that_dies_in_between_hides_no_refusal(server: NatsServer, tmp_path: Path) -> None:
    bad = '[streams.BAD]\nsubjects = "bad"\nmax_age = "1ms"\n'
    loaded = load(write(tmp_path, server, bad + TOML))
    async with connected(server.url) as bus:
        told = list[str]()

        def kill(item: Item, _: Changed) -> None:
            told.append(item.label)
            server.kill()

        failures = await carry_out(bus, (await look_at(loaded, bus)).plan, kill, patience=Patience(0.0))
    assert (told, len(failures)) == (["stream ORDERS"], 2)
    assert failures[0].startswith("stream BAD: the server refuses it")
    perhaps = "consumer billing of stream ORDERS is perhaps not done, and what comes after it is not: "
    assert failures[1].startswith(perhaps)


@pytest.mark.parametrize(
    ("asked", "answer", "told"),
    [
        ("STREAM.LIST", {"missing": ["ORDERS"]}, "the cluster can't tell of ORDERS at present"),
        ("INFO", ApiError(503, 10008, "JetStream system temporarily unavailable", "INFO"), "temporarily unavailable"),
    ],
    ids=["a group elects", "no meta leader"],
)
async def test_a_plan_waits_until_the_cluster_tells_of_all(
    server: NatsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str, answer: Any, told: str
) -> None:
    answers = [answer]

    class Electing(NatsBus):
        async def api(self, subject: str, body: Any = None, *, timeout: float = 5.0) -> dict[str, Any]:
            if subject == asked and answers:
                if isinstance(first := answers.pop(), ApiError):
                    raise first
                return dict(first)
            return await super().api(subject, body, timeout=timeout)

    loaded = load(write(tmp_path, server))
    async with Electing("main", BusConfig(), urls=[server.url]) as bus:
        await bus.wait_connected()
        assert exit_code([await look_at(loaded, bus)]) == 2
    assert told in capsys.readouterr().err


async def test_a_cluster_that_is_not_complete_yet_is_waited_for(server: NatsServer, tmp_path: Path) -> None:
    loaded = load(write(tmp_path, server))
    told = list[str]()
    async with connected(server.url) as bus:
        incomplete = Unavailable(bus, ApiError(400, 10005, "no suitable peers for placement", "CREATE"), 2)
        plan = (await look_at(loaded, bus)).plan
        failures = await carry_out(
            incomplete.as_bus,
            plan,
            lambda item, changed: told.append(f"{item.label}: {changed}"),
            waiting=lambda error: told.append(str(error)),
        )
    assert failures == []
    assert told == [
        "stream ORDERS: the cluster has no place for it now: "
        "no suitable peers for placement (error 10005, asked of CREATE): see to its servers, or mend [streams.ORDERS]",
        "stream ORDERS: created",
        "consumer billing of stream ORDERS: created",
    ]


def test_a_closed_stdin_is_nobody_to_ask(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server)
    closed = with_closed(0, "apply", file)
    assert (closed.returncode, closed.stdout) == (2, b"")
    assert closed.stderr == b"apply asks before it changes anything, and nobody is here to answer: add --yes\n"


def test_ctrl_c_at_the_question_ends_it_with_nothing_done(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server)
    code, shown = interrupted("apply", file, at="[y/N]")
    assert (code, "Aborted" in shown, "Traceback" in shown) == (1, True, False)
    assert run("plan", file)[0] == 2


def test_a_refused_consumer_does_not_hold_back_those_of_a_stream_of_its_name(
    server: NatsServer, tmp_path: Path
) -> None:
    toml = (
        '[streams.A]\nsubjects = "a"\n[streams.B]\nsubjects = "b"\nconsumer_limits = { max_ack_pending = 5 }\n'
        '[consumers.A]\nstream = "B"\nmax_ack_pending = 50\n[consumers.billing]\nstream = "A"\n'
    )
    code, out, err = run("apply", write(tmp_path, server, toml), "--yes")
    assert (code, "consumer A of stream B: the server refuses it" in err) == (1, True)
    assert "consumer billing of stream A: created" in out
