"""`eventbus plan`: its text, its JSON, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventbus_runtime.testing.server import NatsServer, free_port
from tests.cli.topology import TOML, run, write
from tests.conftest import MakeServer


def test_the_exit_code_tells_changes_from_none_and_from_what_can_not_be(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server)
    assert run("plan", file)[0] == 2
    assert run("apply", file, "--yes")[0] == 0
    assert run("plan", file)[0] == 0
    write(tmp_path, server, TOML.replace("7d", "30d"))
    assert run("plan", file)[0] == 2
    write(tmp_path, server, TOML + "replay_policy = 'original'\n")
    assert run("plan", file)[0] == 1


def test_values_are_in_the_units_of_the_file(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server)
    run("apply", file, "--yes")
    write(tmp_path, server, TOML.replace("7d", "36h").replace("1m", "90s") + '[streams.NEW]\nsubjects = "new"\n')
    _, out, _ = run("plan", file)
    assert out.splitlines()[1:] == [
        "  ~ stream ORDERS",
        '      max_age: "7d" -> "36h"',
        "  + stream NEW",
        '      subjects = ["new"]',
        "  ~ consumer billing of stream ORDERS",
        '      ack_wait: "1m" -> "90s"',
        "Plan: 1 to create, 2 to change, 0 that can't be done, 0 as declared, 0 not in the file, 0 warnings.",
    ]


def test_what_can_not_change_is_marked_with_a_way_out(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server)
    run("apply", file, "--yes")
    write(tmp_path, server, TOML.replace('max_age = "7d"', 'max_age = "1d"\nstorage = "memory"'))
    _, out, _ = run("plan", file)
    assert '      ! storage: "file" -> "memory"\n' in out
    assert "write in [streams.ORDERS] what is there, or delete it so that it is made anew, or use another name" in out


def test_json_says_the_same_for_machines(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server)
    run("apply", file, "--yes")
    write(tmp_path, server, TOML.replace("7d", "30d").replace("billing", "other"))
    code, out, _ = run("plan", file, "--json")
    told = json.loads(out)
    main = told["buses"]["main"]
    assert (code, told["exit_code"]) == (2, 2)
    assert main["streams"] == [
        {
            "name": "ORDERS",
            "action": "update",
            "changes": [{"field": "max_age", "old": "7d", "new": "30d", "possible": True}],
            "errors": [],
        }
    ]
    assert [(one["name"], one["stream"], one["action"]) for one in main["consumers"]] == [("other", "ORDERS", "create")]
    assert main["unmanaged"] == [{"stream": "ORDERS", "consumer": "billing", "messages": 0, "bytes": 0}]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["plan"], "Missing argument"),
        (["plan", "--nonsense", "app.toml"], "No such option"),
        (["plan", "no-such.toml"], "no-such.toml"),
        (["plan", "app.toml", "--bus", "other"], "has no bus 'other'"),
        (["plan", "app.toml", "--timeout", "soon"], "--timeout: 'soon' is not a duration"),
    ],
)
def test_a_wrong_use_ends_with_1(server: NatsServer, tmp_path: Path, arguments: list[str], text: str) -> None:
    file = write(tmp_path, server)
    code, out, err = run(*(str(file) if each == "app.toml" else each for each in arguments))
    assert (code, out) == (1, "")
    assert text in err
    assert "Traceback" not in err


def test_a_wrong_file_ends_with_1_and_its_line(server: NatsServer, tmp_path: Path) -> None:
    file = write(tmp_path, server, TOML + "ack_wiat = 5\n")
    code, _, err = run("plan", file)
    assert code == 1
    assert f"{file}:10: consumers.billing.ack_wiat" in err


def test_an_unreachable_server_ends_with_1(tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    file.write_text(f'[buses.main]\nurl = "nats://me:secret@127.0.0.1:{free_port()}"\n{TOML}')
    code, _, err = run("plan", file, "--timeout", "1s")
    assert code == 1
    assert "can't be reached within 1 s" in err
    assert "secret" not in err


def test_a_bus_without_an_address_ends_with_1(tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    file.write_text(f"[buses.main]\n{TOML}")
    code, _, err = run("plan", file)
    assert code == 1
    assert "EVENTBUS_MAIN_URI or NATS_URL" in err


def test_every_bus_is_looked_at_or_the_one_that_is_named(
    server: NatsServer, tmp_path: Path, make_server: MakeServer
) -> None:
    other = make_server()
    theirs = '[streams.THEIRS]\nbus = "other"\nsubjects = "a"\n'
    file = write(tmp_path, server, f'[buses.other]\nurl = "{other.url}"\n{theirs}')
    code, out, _ = run("plan", file)
    assert (code, "+ stream THEIRS" in out) == (2, True)
    assert run("plan", file, "--bus", "main")[0] == 0
