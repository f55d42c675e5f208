"""References that must hold, and combinations that can't work, found before anything starts."""

from __future__ import annotations

import pytest

from tests.config.project import SHORT, Project

CONSUMER = "[consumers.billing]\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('pipeline = "zzz"', 'triggers.billing.pipeline: no pipeline is named "zzz"; registered: billing'),
        ('stream = "ORDER"', 'triggers.billing.stream: there is no stream "ORDER"; did you mean ORDERS?'),
        ('bus = "mian"', 'triggers.billing.bus: there is no bus "mian"; did you mean main?'),
        (
            'consumer = "zzz"',
            'triggers.billing.consumer: there is no consumer "zzz"; declare [consumers.zzz], or leave consumer out',
        ),
    ],
)
def test_an_unknown_name_says_what_is_there(project: Project, line: str, text: str) -> None:
    assert project.problem(SHORT + line) == f"app.toml:7: {text}"


def test_a_trigger_without_pipeline_of_its_name_is_told_at_its_table(project: Project) -> None:
    project.write("handlers.py", "")
    assert project.problem(SHORT) == (
        'app.toml:5: triggers.billing: no pipeline is named "billing"; registered: none; '
        "decorate its handler with @pipeline in handlers.py, or name its module in imports"
    )


def test_unknown_streams_and_buses_of_other_tables_are_told(project: Project) -> None:
    toml = SHORT.replace("[triggers", 'bus = "x"\n[consumers.c]\nstream = "Y"\n[triggers')
    assert project.problems(toml) == [
        'app.toml:5: streams.ORDERS.bus: there is no bus "x"; declared: main',
        'app.toml:7: consumers.c.stream: there is no stream "Y"; declared: ORDERS',
    ]


def test_a_name_that_the_server_refuses_is_an_error(project: Project) -> None:
    assert "app.toml:7: streams.A.B: 'A.B' can't be a name" in project.problem(
        SHORT + '[streams."A.B"]\nsubjects = ["x"]'
    )


def test_streams_of_one_bus_whose_subjects_overlap_are_an_error(project: Project) -> None:
    assert project.problem(SHORT + '[streams.B]\nsubjects = ["b", "*.paid"]') == (
        'app.toml:8: streams.B.subjects: "*.paid" overlaps "orders.>" of the stream ORDERS; a subject has one stream'
    )


def test_streams_of_two_buses_may_have_the_same_subjects(project: Project) -> None:
    toml = '[buses.a]\n[buses.b]\n[streams.A]\nbus = "a"\nsubjects = ["x"]\n[streams.B]\nbus = "b"\nsubjects = ["x"]'
    assert set(project.load(toml).config.streams) == {"A", "B"}


def test_a_filter_that_overlaps_the_stream_is_no_mistake(project: Project) -> None:
    loaded = project.load(SHORT.replace("orders.created", "*.created"))
    assert list(loaded.config.consumers["billing"].filter_subjects) == ["*.created"]


def test_a_workqueue_delivers_from_the_start_only(project: Project) -> None:
    toml = SHORT.replace("[triggers", 'retention = "workqueue"\n[triggers') + CONSUMER + 'deliver_policy = "new"'
    assert 'consumers.billing.deliver_policy: "new" can\'t be on the workqueue stream ORDERS' in project.problem(toml)


def test_consumers_of_a_workqueue_must_not_overlap(project: Project) -> None:
    toml = SHORT.replace("[triggers", 'retention = "workqueue"\n[consumers.all]\nstream = "ORDERS"\n[triggers')
    assert "its messages are those of all too" in project.problem(toml)


def test_attempts_above_max_deliver_are_an_error(project: Project) -> None:
    toml = SHORT + 'attempts = 5\ndead_letter = "dead.x"\n' + CONSUMER + "max_deliver = "
    assert "triggers.billing.attempts: 5 is more than the 4 deliveries" in project.problem(toml + "4")
    project.load(toml + "5")


def test_a_limit_without_an_end_for_what_it_ends_is_an_error(project: Project) -> None:
    toml = SHORT + CONSUMER + "max_deliver = 4"
    assert "consumers.billing.max_deliver: after 4 deliveries a message would be lost" in project.problem(toml)
    project.load(SHORT + 'on_exhausted = "terminate"\nattempts = 4\n' + CONSUMER + "max_deliver = 4")
    project.load(SHORT + CONSUMER + "max_deliver = -1")


@pytest.mark.parametrize("policy", ["none", "all"])
def test_a_trigger_needs_explicit_acks(project: Project, policy: str) -> None:
    toml = SHORT + CONSUMER + f'ack_policy = "{policy}"'
    assert f'consumers.billing.ack_policy: "{policy}" can\'t be under a trigger (billing)' in project.problem(toml)


def test_a_dead_letter_inside_the_triggers_own_filter_is_an_error(project: Project) -> None:
    toml = SHORT.replace("orders.created", "orders.>") + 'dead_letter = "orders.dead"'
    assert 'triggers.billing.dead_letter: "orders.dead" comes back to this trigger' in project.problem(toml)
    project.load(SHORT + 'dead_letter = "orders.dead"')


def test_without_filters_every_subject_of_the_stream_comes_back(project: Project) -> None:
    toml = SHORT.replace('filter_subjects = ["orders.created"]\n', "") + 'dead_letter = "orders.dead"'
    assert "comes back to this trigger" in project.problem(toml)


@pytest.mark.parametrize("subject", ["dead.*", "dead.>", "dead..x", "dead x", ""])
def test_a_dead_letter_is_a_subject_to_publish_to(project: Project, subject: str) -> None:
    assert "is no subject to publish to" in project.problem(SHORT + f'dead_letter = "{subject}"')


@pytest.mark.parametrize("key", ['retention = "interest"', "no_ack = true", "max_msgs_per_subject = 5"])
def test_a_stream_that_loses_messages_is_no_place_for_dead_letters(project: Project, key: str) -> None:
    toml = SHORT + f'dead_letter = "dead.x"\n[streams.DEAD]\nsubjects = ["dead.>"]\n{key}'
    assert "triggers.billing.dead_letter: the stream DEAD, which stores" in project.problem(toml)


def test_a_filled_in_dead_letter_stream_does_not_take_a_declared_name(project: Project) -> None:
    toml = SHORT + 'dead_letter = "dead.x"\n[streams.DEAD_BILLING]\nsubjects = ["other"]'
    assert 'the stream DEAD_BILLING does not store "dead.x"; add it to its subjects' in project.problem(toml)


def test_a_filter_where_acknowledging_deletes_for_others_must_be_meant(project: Project) -> None:
    selected = 'filter = { "header:type" = "invoice" }\n'
    project.load(SHORT + selected)
    workqueue = SHORT.replace("[triggers", 'retention = "workqueue"\n[triggers') + selected
    assert "triggers.billing.filter: acknowledging unseen would delete" in project.problem(workqueue)
    project.load(workqueue + "filter_discards = true")
    shared = SHORT + selected + '[triggers.b]\nconsumer = "billing"\npipeline = "billing"\n[consumers.billing]'
    assert "its consumer feeds billing and b" in project.problem(shared)


def test_a_filter_must_name_a_part_of_the_message(project: Project) -> None:
    assert "triggers.billing.filter.type: 'type' names no part" in project.problem(SHORT + 'filter = { type = "x" }')


def test_too_small_a_max_ack_pending_is_a_warning(project: Project) -> None:
    assert project.warnings(SHORT + CONSUMER + "max_ack_pending = 100") == [
        "app.toml:8: consumers.billing.max_ack_pending: 100 is less than the 256 deliveries that may be in flight "
        "(workers x max_in_flight); the rest of the slots stays empty"
    ]
    assert project.warnings(SHORT + CONSUMER + "max_ack_pending = 256") == []
    assert project.warnings(SHORT + CONSUMER + "max_ack_pending = -1") == []


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ('url = "http://x"', "buses.main.url: is not an address"),
        ('url = "nats://x:99999"', "buses.main.url: is not an address"),
        ('url = ["embedded", "nats://x"]', 'buses.main.url: "embedded" stands alone'),
        ('store = "data"', 'buses.main.store: works only with url = "embedded"'),
        ('server = "handlers.py"', 'buses.main.server: works only with url = "embedded"'),
        ('auth = { user = "u" }', "buses.main.auth.user: goes with password, which is missing"),
        ('auth = { password = "p" }', "buses.main.auth.password: goes with user, which is missing"),
        (
            'auth = { token = "t", creds = "handlers.py" }',
            "buses.main.auth.creds: one kind of credentials only; given are token and creds",
        ),
        ('auth = { creds = "none.creds" }', "buses.main.auth.creds: there is no file none.creds"),
        ('tls = { cert = "handlers.py" }', "buses.main.tls.cert: goes with key, which is missing"),
        ('tls = { key = "handlers.py" }', "buses.main.tls.key: goes with cert, which is missing"),
        ('tls = { ca = "none.pem" }', "buses.main.tls.ca: there is no file none.pem"),
    ],
)
def test_a_bus_that_could_not_be_dialled_is_an_error(project: Project, lines: str, text: str) -> None:
    assert project.problem(f"[buses.main]\n{lines}").startswith(f"app.toml:2: {text}")


@pytest.mark.parametrize("url", ["nats://a", "tls://a:4222", "wss://a", "a:4222", "a", "embedded", "nats://u:p@a"])
def test_an_address_may_have_these_forms(project: Project, url: str) -> None:
    assert project.load(f'[buses.main]\nurl = "{url}"').config.buses["main"].url == (url,)


def test_a_wrong_address_is_not_shown_for_it_may_hold_a_password(project: Project) -> None:
    assert "hunter2" not in project.problem('[buses.main]\nurl = "mqtt://me:hunter2@host"')


def test_paths_are_relative_to_the_files_folder(project: Project) -> None:
    bus = project.load('[buses.main]\nurl = "embedded"\nstore = "data"\ntls = { ca = "handlers.py" }').config.buses[
        "main"
    ]
    assert bus.store == project.folder / "data"
    assert bus.tls is not None
    assert bus.tls.ca == project.folder / "handlers.py"
