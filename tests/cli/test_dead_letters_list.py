"""`eventbus dead-letters FILE list` and `show`: what they print, which dead letters they mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.testing.server import NatsServer, free_port
from tests.cli.command import on_a_terminal
from tests.cli.dead_letters import bury, dead_letters, json_lines, messages

NASTY = "\x1b[31mred \x07 [bold]not bold[/bold] \u202eback \x9b2J"


async def test_a_pipe_gets_aligned_lines_oldest_first(bus: NatsBus, file: Path) -> None:
    await bury(bus, [7])
    await bury(bus, [12], reason="exhausted", error="ValueError: no such customer", consumer="shipping")
    await bury(bus, [13], consumer="renamed", headers=[("Eventbus-Replayed", "2")])
    done = dead_letters(file, "list")
    stored = [headers["Eventbus-Failed-At"][:19].replace("T", " ") for _, _, headers in await messages(bus, "DEAD")]
    assert (done.returncode, done.stderr) == (0, b"3 dead letters\n")
    assert done.stdout.decode().splitlines() == [
        "STREAM  SEQUENCE  STORED               TRIGGER    REASON     SUBJECT         ORIGIN     TRIES  REPLAYED  "
        "ERROR",
        f"DEAD    1         {stored[0]}  billing    rejected   orders.created  ORDERS 7   5      -         Reject: no",
        f"DEAD    2         {stored[1]}  shipping   exhausted  orders.created  ORDERS 12  5      -         "
        "ValueError: no such customer",
        f"DEAD    3         {stored[2]}  (renamed)  rejected   orders.created  ORDERS 13  5      2x        Reject: no",
    ]


async def test_json_has_all_of_a_dead_letter(bus: NatsBus, file: Path) -> None:
    await bury(bus, [7], payload='{"größe": 1}'.encode(), headers=[("Tag", "a"), ("Tag", "b"), ("Nats-Msg-Id", "o7")])
    (letter,) = json_lines(dead_letters(file, "list", "--json"))
    (message,) = await messages(bus, "DEAD")
    assert letter.pop("time").endswith("Z")
    assert letter == {
        "bus": "main",
        "stream": "DEAD",
        "sequence": 1,
        "subject": "dead.orders",
        "triggers": ["billing"],
        "reason": "rejected",
        "error": "Reject: no",
        "failed_at": message[2]["Eventbus-Failed-At"],
        "delivery_count": 5,
        "origin": {"stream": "ORDERS", "consumer": "billing", "sequence": 7, "subject": "orders.created"},
        "replays": 0,
        "payload_left_out": None,
        "headers": {name: message[2].getall(name) for name in message[2]},
        "payload": '{"größe": 1}',
        "payload_encoding": "utf-8",
    }
    assert letter["headers"]["Tag"] == ["a", "b"]
    assert json_lines(dead_letters(file, "show", "1", "--json"))[0]["headers"] == letter["headers"]


async def test_a_payload_that_is_no_text_is_base64_and_says_so(bus: NatsBus, file: Path) -> None:
    await bury(bus, [1], payload=b"\xff\x00")
    (letter,) = json_lines(dead_letters(file, "list", "--json"))
    assert (letter["payload"], letter["payload_encoding"]) == ("/wA=", "base64")
    assert b"payload      2 bytes, as base64\n/wA=\n" in dead_letters(file, "show", "1").stdout


async def test_what_was_stored_by_others_is_listed_too(bus: NatsBus, file: Path) -> None:
    await bus.publish("dead.orders", b"by hand")
    (letter,) = json_lines(dead_letters(file, "list", "--json"))
    assert (letter["triggers"], letter["reason"], letter["origin"]["sequence"]) == ([], "", None)
    assert dead_letters(file, "list").returncode == dead_letters(file, "show", "1").returncode == 0


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("", [1, 2, 3, 4, 5, 6]),
        ("--trigger billing", [1, 2, 5, 6]),
        ("--trigger billing --trigger shipping", [1, 2, 3, 4, 5, 6]),
        ("--reason exhausted", [5, 6]),
        ("--reason exhausted --reason rejected --trigger shipping", [3, 4]),
        ("--sequence 2", [2]),
        ("--sequence 1,4-5", [1, 4, 5]),
        ("--sequence 5-", [5, 6]),
        ("--sequence 9", []),
        ("--origin-sequence 102-103,106", [2, 3, 6]),
        ("--limit 3", [1, 2, 3]),
        ("--limit 3 --reason exhausted", [5, 6]),
        ("--since 1h", [1, 2, 3, 4, 5, 6]),
        ("--until 1h", []),
        ("--since 2020-01-01 --until 2021-01-01T00:00Z", []),
        ("--since 2020-01-01T00:00+02:00", [1, 2, 3, 4, 5, 6]),
    ],
)
async def test_filters_tell_which_are_meant(bus: NatsBus, file: Path, filters: str, expected: list[int]) -> None:
    await bury(bus, [101, 102])
    await bury(bus, [103, 104], consumer="shipping")
    await bury(bus, [105, 106], reason="exhausted")
    listed = json_lines(dead_letters(file, "list", "--json", *filters.split()))
    assert [letter["sequence"] for letter in listed] == expected


async def test_times_are_those_of_storing(bus: NatsBus, file: Path) -> None:
    await bury(bus, [1, 2])
    first, second = json_lines(dead_letters(file, "list", "--json"))
    await bury(bus, [3])
    third = json_lines(dead_letters(file, "list", "--json"))[2]
    # A moment is read to the microsecond, and the server stores nanoseconds.
    assert first["time"][:26] <= second["time"][:26] < third["time"][:26]
    moment = third["time"][:26] + "Z"
    before = json_lines(dead_letters(file, "list", "--json", "--until", moment))
    after = json_lines(dead_letters(file, "list", "--json", "--since", moment))
    assert [letter["sequence"] for letter in (*before, *after)] == [1, 2, 3]
    assert after == [third]


async def test_a_stream_that_is_not_there_yet_holds_no_dead_letters_and_is_not_made(bus: NatsBus, file: Path) -> None:
    await bus.api("STREAM.DELETE.DEAD")
    done = dead_letters(file, "list")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"no dead letters\n")
    assert dead_letters(file, "replay", "--yes").returncode == dead_letters(file, "drop", "--yes").returncode == 0
    done = dead_letters(file, "show", "1")
    assert (done.returncode, done.stderr) == (1, b"there is no dead letter 1; looked in the streams: none\n")
    assert (await bus.api("STREAM.NAMES"))["streams"] == ["ORDERS"]


async def test_one_is_shown_with_its_headers_and_its_payload_laid_out(bus: NatsBus, file: Path) -> None:
    await bury(bus, [7], payload=b'{"total":-1.0,"lines":[]}', headers=[("Type", "order"), ("Eventbus-Replayed", "1")])
    shown = dead_letters(file, "show", "1").stdout.decode()
    for line in (
        "dead letter  1 of DEAD (bus main), to dead.orders",
        "trigger      billing",
        "reason       rejected",
        "error        Reject: no",
        "origin       message 7 of ORDERS, to orders.created",
        "deliveries   5",
        "replayed     1x, and came back",
        "header       Type: order",
        "payload      25 bytes, JSON",
        '  "total": -1.0,',
    ):
        assert line in shown.splitlines()
    await bury(bus, [8], to="dead.other")  # of a subject that no trigger here has
    for sequence in ("2", "3"):
        done = dead_letters(file, "show", sequence)
        assert done.returncode == 1
        assert done.stderr.decode() == f"there is no dead letter {sequence}; looked in the streams: DEAD\n"


async def test_a_sequence_that_two_streams_have_is_no_answer_before_a_trigger_is_named(
    bus: NatsBus, file: Path
) -> None:
    await bus.api("STREAM.UPDATE.DEAD", {"name": "DEAD", "subjects": ["dead.orders"]})
    await bus.api("STREAM.CREATE.DEAD_TOO", {"name": "DEAD_TOO", "subjects": ["dead.too"]})
    file.write_text(file.read_text() + 'dead_letter = "dead.too"\n')
    await bury(bus, [1])
    await bury(bus, [2], to="dead.too", consumer="audit")
    for arguments in (("show", "1"), ("list", "--sequence", "1"), ("drop", "--sequence", "1", "--yes")):
        done = dead_letters(file, *arguments)
        assert done.returncode == 2
        assert b"DEAD and DEAD_TOO" in done.stderr
        assert b"--trigger" in done.stderr
    assert b"origin       message 2 of ORDERS" in dead_letters(file, "show", "1", "--trigger", "audit").stdout
    assert len(json_lines(dead_letters(file, "list", "--json"))) == 2


async def test_nothing_in_a_dead_letter_acts_on_the_terminal(bus: NatsBus, file: Path) -> None:
    await bury(bus, [7], reason=NASTY, error=NASTY, consumer=NASTY, payload=NASTY.encode(), headers=[("A", NASTY)])
    await bury(bus, [8], payload=json.dumps(NASTY, ensure_ascii=False).encode())
    for arguments in (("list",), ("show", "1"), ("show", "2")):
        code, shown = on_a_terminal("dead-letters", file, *arguments, columns=200)
        assert code == 0, shown
        ours = shown.replace("\x1b[1m", "").replace("\x1b[0m", "")  # rich's own bold headings
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(ours)
        assert "[bold]not bold" in " ".join(ours.split())
    for words in ("list", "list --json", "show 1", "show 1 --json"):
        printed = dead_letters(file, *words.split()).stdout.decode()
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(printed)


async def test_a_terminal_gets_a_table_that_fits(bus: NatsBus, file: Path) -> None:
    await bury(bus, [7], error="ValueError: " + "long " * 100)
    _, shown = on_a_terminal("dead-letters", file, "list", columns=80)
    lines = shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert max(map(len, lines)) <= 80
    assert "SEQUENCE" in shown
    assert "REPLAYED" not in shown  # nothing here was
    assert lines[-1] == "1 dead letter"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--trigger", "biling"), "has no trigger 'biling'; did you mean billing?"),
        (("list", "--trigger", "x"), "it has billing, shipping and audit"),
        (("list", "--trigger", "audit"), "the trigger audit of"),
        (("list", "--sequence", "5-3"), "--sequence: '5-3'"),
        (("list", "--sequence", "x"), "--sequence: 'x'"),
        (("list", "--sequence", ""), "--sequence: ''"),
        (("list", "--origin-sequence", "1,²"), "--origin-sequence: '²'"),
        (("list", "--since", "yesterday"), "--since: 'yesterday' is no time"),
        (("list", "--limit", "0"), "--limit"),
        (("list", "--timeout", "soon"), "--timeout"),
        (("replay", "--rate", "fast"), "--rate: 'fast' is no rate"),
        (("replay", "--rate", "0/s"), "--rate: '0/s' is no rate"),
        (("replay", "--rate", "5/"), "--rate: '5/' is no rate"),
        (("show", "0"), "SEQUENCE"),
        (("shw",), "shw"),
    ],
)
def test_a_mistake_on_the_command_line_is_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    file = tmp_path / "app.toml"
    file.write_text(
        '[buses.main]\nurl = "nats://127.0.0.1:1"\n[streams.S]\nsubjects = ["s"]\n'
        '[triggers.billing]\ndead_letter = "dead.b"\n[triggers.shipping]\ndead_letter = "dead.b"\n[triggers.audit]\n'
    )
    done = dead_letters(file, *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.decode().replace("│", " ").split())
    assert b"Traceback" not in done.stderr


def test_a_file_without_dead_letters_or_with_one_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    buses = '[buses.a]\nurl = "nats://127.0.0.1:1"\n[buses.b]\nurl = "nats://127.0.0.1:1"\n'
    file.write_text(buses)
    done = dead_letters(file, "list")
    assert done.returncode == 2
    assert b"has a dead_letter; if only @subscribe says so, add --imports" in done.stderr
    file.write_text(f'{buses}[triggers.one]\ndead_letter = "dead.>"\n[triggers.two]\ndead_letter = "dead.two"\n')
    done = dead_letters(file, "list")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        f'{file}:6: triggers.one.dead_letter: "dead.>" is no subject to publish to: no empty parts, no white space, '
        "no * or >",
        f'{file}:7: triggers.two.bus: the bus of its dead letters can\'t be told; add bus = "…"',
    ]


async def test_triggers_that_only_a_decorator_declares_are_seen_with_imports(
    bus: NatsBus, server: NatsServer, tmp_path: Path
) -> None:
    file = tmp_path / "app.toml"
    file.write_text(f'[buses.main]\nurl = "{server.url}"\n[streams.ORDERS]\nsubjects = ["orders.>"]\n')
    (tmp_path / "handlers.py").write_text(
        "from eventbus_runtime import Message, subscribe\n"
        '@subscribe("orders.created", stream="ORDERS", consumer="billing", dead_letter="dead.orders")\n'
        "async def billing(message: Message) -> None: ...\n"
    )
    await bury(bus, [7])
    assert dead_letters(file, "list", "--trigger", "billing").returncode == 2
    (letter,) = json_lines(dead_letters(file, "list", "--json", "--imports", "--trigger", "billing"))
    assert letter["triggers"] == ["billing"]


def test_a_bus_that_is_away_ends_it_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    file.write_text(
        f'[buses.main]\nurl = "nats://127.0.0.1:{free_port()}"\n[streams.S]\nsubjects = ["s"]\n'
        '[triggers.t]\ndead_letter = "dead.t"\n'
    )
    done = dead_letters(file, "list", "--timeout", "300ms")
    assert done.returncode == 1
    assert done.stderr.startswith(b"bus 'main' can't be reached within 0.3 s: ")
    assert done.stderr.count(b"\n") == 1
