"""Where values come from, and which source wins."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from eventbus_runtime.config.connections import require_addresses
from eventbus_runtime.config.loader import load
from eventbus_runtime.errors import ConfigError
from tests.config.project import SHORT, Project

MAX = "EVENTBUS__TRIGGERS__BILLING__MAX_IN_FLIGHT"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    return folder


def test_set_beats_the_environment_which_beats_secrets_which_beat_the_file(project: Project, secrets: Path) -> None:
    toml = SHORT + "max_in_flight = 1"
    (secrets / MAX).write_text("2\n")
    path = "triggers.billing.max_in_flight"

    def loaded(environ: dict[str, str], *overrides: str, secrets_dir: Path | None) -> int:
        found = project.load(toml, environ=environ, overrides=overrides, secrets_dir=secrets_dir)
        return found.config.triggers["billing"].max_in_flight

    assert loaded({}, secrets_dir=None) == 1
    assert loaded({}, secrets_dir=secrets) == 2
    assert loaded({MAX: "3"}, secrets_dir=secrets) == 3
    assert loaded({MAX: "3"}, f"{path}=4", secrets_dir=secrets) == 4
    assert loaded({MAX: "3"}, f"{path}=4", f"{path}=5", secrets_dir=secrets) == 5


@pytest.mark.parametrize("variable", [MAX.lower().replace("eventbus__", "EVENTBUS__"), MAX, MAX.lower()])
def test_a_variable_matches_without_regard_to_case(project: Project, variable: str) -> None:
    assert project.load(SHORT, environ={variable: "7"}).config.triggers["billing"].max_in_flight == 7


def test_dashes_and_dots_of_a_name_are_underscores_in_a_variable(project: Project) -> None:
    toml = SHORT + '[triggers."ship-it.now"]\npipeline = "billing"\nconsumer = "ship"\n[consumers.ship]\n'
    found = project.load(toml, environ={"EVENTBUS__TRIGGERS__SHIP_IT_NOW__MAX_IN_FLIGHT": "7"})
    assert found.config.triggers["ship-it.now"].max_in_flight == 7
    assert list(found.config.triggers) == ["billing", "ship-it.now"]


def test_variables_reach_values_deep_in_a_table_and_whole_tables(project: Project) -> None:
    environ = {
        "EVENTBUS__BUSES__MAIN__AUTH__USER": "42",
        "EVENTBUS__BUSES__MAIN__AUTH__PASSWORD": "007",
        "EVENTBUS__TRIGGERS__BILLING__RETRY": '{ delays = ["2s"] }',
        "EVENTBUS__TRIGGERS__BILLING__TIMEOUT": "20s",
        "EVENTBUS__TRIGGERS__BILLING__FILTER_SUBJECTS": "orders.paid",
        "EVENTBUS__RUNTIME__HTTP_PUBLIC": "true",
    }
    config = project.load(SHORT, environ=environ).config
    assert config.buses["main"].auth.user == "42"
    assert config.buses["main"].auth.password == SecretStr("007")
    assert config.triggers["billing"].retry.delays == (2.0,)
    assert config.triggers["billing"].timeout == 20.0
    assert config.consumers["billing"].filter_subjects == ("orders.paid",)
    assert config.runtime.http_public


def test_variables_reach_what_decorators_and_the_short_form_declare(project: Project) -> None:
    project.write(
        "handlers.py",
        """
        from eventbus_runtime.pipelines.registry import subscribe

        @subscribe("orders.created", max_in_flight=8)
        async def ship(message) -> None: ...
        """,
    )
    toml = '[streams.ORDERS]\nsubjects = ["orders.>"]'
    environ = {
        "EVENTBUS__TRIGGERS__SHIP__MAX_IN_FLIGHT": "9",
        "EVENTBUS__CONSUMERS__SHIP__ACK_WAIT": "5s",
        "EVENTBUS__BUSES__MAIN__NAME": "worker",
    }
    config = project.load(toml, environ=environ).config
    assert config.triggers["ship"].max_in_flight == 9
    assert config.consumers["ship"].ack_wait == 5 * 10**9
    assert config.buses["main"].name == "worker"


def test_an_unknown_variable_is_an_error_and_names_the_nearest(project: Project) -> None:
    name = "EVENTBUS__TRIGGERS__BILING__MAX_IN_FLIGHT"
    assert project.problem(SHORT, environ={name: "7"}) == f"{name}: unknown variable; did you mean {MAX}?"


def test_a_variable_whose_value_is_wrong_is_named_in_place_of_the_file(project: Project) -> None:
    assert project.problem(SHORT + "max_in_flight = 5", environ={MAX: "many"}) == (
        f'{MAX}: triggers.billing.max_in_flight: expected a whole number, got the text "many"'
    )


def test_other_variables_of_ours_are_no_mistakes(project: Project) -> None:
    others = {
        "EVENTBUS_NATS_SERVER": "/x",
        "EVENTBUS_READER": "batch",
        "EVENTBUS_OTHER_URI": "nats://x",
        "PATH": "/bin",
    }
    assert project.load(SHORT, environ=others).config == project.load(SHORT).config


def test_set_makes_tables_and_takes_quoted_keys(project: Project) -> None:
    overrides = [
        'triggers.billing.filter."header:type"=invoice',
        'buses.main.auth = { token = "t" }',
        "runtime.workers=1",
    ]
    config = project.load(SHORT, overrides=overrides).config
    assert config.triggers["billing"].filter == {"header:type": "invoice"}
    assert config.buses["main"].auth.token == SecretStr("t")


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("triggers.billing", "--set triggers.billing: expected key=value, as triggers.billing.max_in_flight=32"),
        ("=5", "--set : expected key=value, as triggers.billing.max_in_flight=32"),
        ("a b=5", "--set a b: expected key=value, as triggers.billing.max_in_flight=32"),
        (
            "streams.ORDERS.subjects.x=1",
            "--set streams.ORDERS.subjects.x: streams.ORDERS.subjects is no table, so that nothing in it can be set",
        ),
        (
            "triggers.billing.max_in_flight=x",
            '--set triggers.billing.max_in_flight: expected a whole number, got the text "x"',
        ),
        (
            "triggers.billing.max_in_fligth=5",
            "--set triggers.billing.max_in_fligth: unknown key; did you mean max_in_flight?",
        ),
    ],
)
def test_a_wrong_set_is_named(project: Project, override: str, text: str) -> None:
    assert project.problems(SHORT, overrides=[override]) == [text]


def test_secrets_come_from_the_folder_that_a_variable_names(project: Project, secrets: Path) -> None:
    (secrets / "EVENTBUS__BUSES__MAIN__AUTH__TOKEN").write_text("s3cret\n")
    (secrets / "..data").mkdir()
    (secrets / "other").write_text("not ours")
    bus = project.load(SHORT, environ={"EVENTBUS_SECRETS_DIR": str(secrets)}).config.buses["main"]
    assert bus.auth.token == SecretStr("s3cret")


def test_a_secret_of_an_unknown_name_is_an_error(project: Project, secrets: Path) -> None:
    (secrets / "EVENTBUS__BUSES__MIAN__AUTH__TOKEN").write_text("s3cret")
    assert project.problem(SHORT, environ={"EVENTBUS_SECRETS_DIR": str(secrets)}) == (
        "secret EVENTBUS__BUSES__MIAN__AUTH__TOKEN: unknown variable; did you mean EVENTBUS__BUSES__MAIN__AUTH__TOKEN?"
    )


def test_a_missing_folder_of_secrets_is_an_error(project: Project) -> None:
    found = project.problem(SHORT, environ={"EVENTBUS_SECRETS_DIR": str(project.folder / "none")})
    assert found.startswith("EVENTBUS_SECRETS_DIR: none can't be read as a folder of secrets")


@pytest.mark.seed("S-23")
def test_the_variable_of_a_bus_beats_the_file(project: Project) -> None:
    """S-23."""
    toml = SHORT.replace("buses.main", "buses.east-1")
    bus = project.load(toml, environ={"EVENTBUS_EAST_1_URI": "nats://a:1, nats://b:2"}).config.buses["east-1"]
    assert bus.url == ("nats://a:1", "nats://b:2")


@pytest.mark.seed("S-23")
def test_nats_url_only_fills_a_gap(project: Project) -> None:
    """S-23."""
    environ = {"NATS_URL": "nats://gap"}
    assert project.load(SHORT, environ=environ).config.buses["main"].url == ("nats://127.0.0.1:4222",)
    without = SHORT.replace('[buses.main]\nurl = "nats://127.0.0.1:4222"\n', "")
    assert project.load(without, environ=environ).config.buses["main"].url == ("nats://gap",)
    environ["EVENTBUS_MAIN_URI"] = "nats://own"
    assert project.load(without, environ=environ).config.buses["main"].url == ("nats://own",)


@pytest.mark.seed("S-23")
def test_a_bus_without_address_passes_the_check_and_names_both_variables_when_it_is_to_run(project: Project) -> None:
    """S-23."""
    loaded = project.load(SHORT.replace("buses.main", "buses.east-1").replace('url = "nats://127.0.0.1:4222"', ""))
    with pytest.raises(ConfigError, match=r"buses\.east-1: has no address.* EVENTBUS_EAST_1_URI or NATS_URL"):
        require_addresses(loaded.config, loaded.path)


def test_one_variable_may_hold_the_whole_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    assert "billing" in load(None, environ={"EVENTBUS_CONFIG": SHORT}).config.triggers
    with pytest.raises(ConfigError, match=r"^EVENTBUS_CONFIG:7: triggers\.billing\.x: unknown key"):
        load(None, environ={"EVENTBUS_CONFIG": SHORT.lstrip() + "x = 5"})


def test_the_same_variable_may_name_a_file(project: Project) -> None:
    path = project.write("other.toml", SHORT)
    assert load(None, environ={"EVENTBUS_CONFIG": str(path)}).path == path
    with pytest.raises(ConfigError, match=r"none\.toml: there is no such file"):
        load(None, environ={"EVENTBUS_CONFIG": "none.toml"})


def test_no_file_and_no_variable_says_so() -> None:
    with pytest.raises(ConfigError, match="no configuration: name a file, or set EVENTBUS_CONFIG"):
        load(None, environ={})


def test_only_disables_the_other_triggers(project: Project) -> None:
    toml = SHORT + '[triggers.ship]\npipeline = "billing"\nfilter_subjects = "orders.paid"'
    triggers = project.load(toml, only=["ship"]).config.triggers
    assert {name: trigger.enabled for name, trigger in triggers.items()} == {"billing": False, "ship": True}


def test_only_refuses_what_is_not_there_or_not_enabled(project: Project) -> None:
    with pytest.raises(ConfigError, match=r'^--only: there is no trigger "biling"; did you mean billing\?$'):
        project.load(SHORT, only=["biling"])
    with pytest.raises(
        ConfigError, match=r"app\.toml:7: triggers\.billing\.enabled: false, so that --only can't run it"
    ):
        project.load(SHORT + "enabled = false", only=["billing"])


@pytest.mark.parametrize("toml", ["", SHORT + "enabled = false\n"])
def test_a_file_that_runs_nothing_is_warned_of(project: Project, toml: str) -> None:
    assert ["none is enabled, so that nothing will run" in line for line in project.warnings(toml)] == [True]


def test_a_background_function_alone_is_something_to_run(project: Project) -> None:
    project.write("handlers.py", "from eventbus_runtime import background\n@background\nasync def tick(): ...\n")
    assert project.warnings("") == []
