"""What a user sees of mistakes in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus_runtime.config.loader import load
from eventbus_runtime.errors import ConfigError
from tests.config.project import SHORT, Project


def test_seven_mistakes_show_at_once_each_with_its_line_in_file_order(project: Project) -> None:
    assert project.problems(
        """
        [runtime]
        log_level = "loud"
        [buses.main]
        url = "nats://127.0.0.1:4222"
        [streams.ORDERS]
        subjects = ["orders.>"]
        max_age = "7 dayz"
        [triggers.billing]
        max_in_fligth = 3
        timeout = true
        filter_subjects = ["invoices.created"]
        [triggers.ship]
        pipeline = "biling"
        stream = "ODERS"
        """
    ) == [
        'app.toml:2: runtime.log_level: expected "debug", "info", "warning" or "error", got the text "loud"',
        "app.toml:7: streams.ORDERS.max_age: '7 dayz' is not a duration; "
        'write "250ms", "30s", "5m", "7d" or a number of seconds',
        "app.toml:9: triggers.billing.max_in_fligth: unknown key; did you mean max_in_flight?",
        "app.toml:10: triggers.billing.timeout: True is not a duration; "
        'write "250ms", "30s", "5m", "7d" or a number of seconds',
        'app.toml:11: triggers.billing.filter_subjects: "invoices.created" is outside the subjects of ORDERS, '
        "orders.>; nothing would ever come",
        'app.toml:13: triggers.ship.pipeline: no pipeline is named "biling"; did you mean billing?',
        'app.toml:14: triggers.ship.stream: there is no stream "ODERS"; did you mean ORDERS?',
    ]


@pytest.mark.seed("S-50")
@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('max_in_flight = "32"', 'expected a whole number, got the text "32"'),
        ("max_in_flight = 0", "expected 1 or more, got the number 0"),
        ("max_in_flight = 2.5", "expected a whole number, got the number 2.5"),
        ("enabled = 1", "expected true or false, got the number 1"),
        ("pipeline = ['billing']", "expected a text, got a list"),
        ("retry = 5", "expected a table, got the number 5"),
        ("filter_subjects = 5", "expected a list, got the number 5"),
        ('ack = "onsuccess"', 'expected "on_success" or "manual", got the text "onsuccess"; did you mean on_success?'),
        ('max_bytes = "64 Mb"', '\'64 Mb\' is not a size; write "512MiB", "10GiB" or a number of bytes'),
    ],
)
def test_a_wrong_value_says_its_line_what_was_expected_and_what_came(project: Project, line: str, text: str) -> None:
    """S-50: a value of the wrong type is never read as absent."""
    toml = SHORT.replace('filter_subjects = ["orders.created"]\n', "") if "filter" in line else SHORT
    key = f"triggers.billing.{line.split(' ')[0]}"
    assert project.problem(toml + line) == f"app.toml:{len((toml + line).strip().splitlines())}: {key}: {text}"


def test_a_mistake_in_a_list_names_the_item(project: Project) -> None:
    assert project.problem(SHORT + 'retry = { delays = [\n"1s",\n"soon"] }').startswith(
        "app.toml:9: triggers.billing.retry.delays[1]: 'soon' is not a duration"
    )


def test_an_unknown_table_lists_what_is_known(project: Project) -> None:
    assert project.problem(SHORT + "[trigers.ship]") == "app.toml:7: trigers: unknown key; did you mean triggers?"
    assert project.problem(SHORT + "[zzz]").endswith(
        "expected one of buses, consumers, deploy, pipelines, runtime, streams and triggers"
    )


def test_a_table_that_is_none_is_said_to_be_wrong(project: Project) -> None:
    assert "app.toml:1: consumers: expected a table, got the number 5" in project.problems("consumers = 5\n" + SHORT)


@pytest.mark.seed("S-3")
def test_a_mistake_never_shows_a_secret(project: Project) -> None:
    """S-3."""
    auth = '[buses.main.auth]\nuser = "me"\npassword = 1234\npasword = "hunter2"\n'
    lines = "\n".join(project.problems(SHORT + auth))
    assert "buses.main.auth.password: expected a text" in lines
    assert "1234" not in lines
    assert "hunter2" not in lines


@pytest.mark.seed("S-3")
def test_what_stands_in_place_of_a_table_of_secrets_is_not_shown(project: Project) -> None:
    """S-3."""
    assert project.problem(SHORT, environ={"EVENTBUS__BUSES__MAIN__AUTH": "hunter2"}) == (
        "EVENTBUS__BUSES__MAIN__AUTH: buses.main.auth: expected a table"
    )


def test_what_is_not_toml_shows_line_and_column(project: Project) -> None:
    assert project.problem('[buses.main]\nurl = "x"\nname = = 5\n') == "app.toml:3:8: is not TOML: invalid value"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "app.toml", environ={})
    assert str(caught.value) == f"{tmp_path}/app.toml: there is no such file"
    assert caught.value.exit_code == 2


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load(tmp_path, environ={})


def test_bytes_that_are_not_utf8_show_their_line(project: Project) -> None:
    path = project.folder / "latin.toml"
    path.write_bytes(b'[buses.main]\nname = "caf\xe9"\n')
    with pytest.raises(ConfigError, match=r"latin\.toml:2: is not UTF-8 text"):
        load(path, environ={})


def test_a_byte_order_mark_does_no_harm(project: Project) -> None:
    path = project.folder / "bom.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SHORT.encode())
    assert "billing" in load(path, environ={}).config.triggers


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("batch = { max = 100 }", "batch"),
        ('ordering = "strict"', "ordering"),
        ('ordering_key = "subject:2"', "ordering_key"),
    ],
)
def test_keys_of_later_releases_are_refused(project: Project, line: str, key: str) -> None:
    found = project.problem(SHORT + line)
    assert found.startswith(f"app.toml:7: triggers.billing.{key}: ")
    assert "not available in this version; it arrives with a later release" in found


def test_what_later_releases_bring_is_refused(project: Project) -> None:
    assert "it arrives with a later release" in project.problem(SHORT + "[runtime]\nworkers = 2")
