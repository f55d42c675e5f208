"""What the short form and `@subscribe` leave out, filled in."""

from __future__ import annotations

import pytest

from tests.config.project import HANDLERS, SHORT, Project

SUBSCRIBE = """
from eventbus_runtime.pipelines.registry import subscribe

@subscribe("orders.created", stream="ORDERS", consumer="billing", max_in_flight=64)
async def billing(message) -> None: ...
"""
STREAM = '[streams.ORDERS]\nsubjects = ["orders.>"]\n'


def test_six_lines_give_a_whole_configuration(project: Project) -> None:
    loaded = project.load(SHORT + 'dead_letter = "dead.billing"')
    trigger = loaded.config.triggers["billing"]
    names = (trigger.bus, trigger.stream, trigger.consumer, trigger.pipeline)
    assert names == ("main", "ORDERS", "billing", "billing")
    assert trigger.attempts == 5
    assert loaded.config.consumers["billing"].stream == "ORDERS"
    assert loaded.config.consumers["billing"].filter_subjects == ("orders.created",)
    assert loaded.config.streams["ORDERS"].bus == "main"
    assert dict(loaded.filled)["triggers.billing.attempts"] == 5
    assert dict(loaded.filled)["runtime.imports"] == ["handlers.py"]
    assert "triggers.billing.filter_subjects" not in dict(loaded.filled)


def test_a_dead_letter_that_no_declared_stream_stores_gets_its_own(project: Project) -> None:
    loaded = project.load(SHORT + 'dead_letter = "dead.billing"')
    assert loaded.dead_letter_streams == {"billing": "DEAD_BILLING"}
    stream = loaded.config.streams["DEAD_BILLING"]
    assert (stream.bus, stream.subjects) == ("main", ("dead.billing",))


@pytest.mark.parametrize(
    "more",
    [
        'dead_letter = "dead.x"\n[streams.DEAD]\nsubjects = ["dead.*"]',
        'dead_letter = "dead.x"\ndeclare_dead_letter = false',
    ],
)
def test_a_dead_letter_stream_is_filled_in_only_where_it_is_missing_and_wanted(project: Project, more: str) -> None:
    assert project.load(SHORT + more).dead_letter_streams == {}


def test_two_triggers_with_one_dead_letter_share_its_stream(project: Project) -> None:
    other = '[triggers.b]\npipeline = "billing"\nfilter_subjects = "orders.b"\n'
    more = f'dead_letter = "dead.all"\n{other}dead_letter = "dead.all"'
    assert project.load(SHORT + more).dead_letter_streams == {"billing": "DEAD_BILLING"}


@pytest.mark.seed("S-25")
def test_no_bus_is_one_bus_main(project: Project) -> None:
    """S-25."""
    assert list(project.load(STREAM).config.buses) == ["main"]


@pytest.mark.seed("S-50")
def test_a_declared_consumer_of_the_triggers_name_is_its_own(project: Project) -> None:
    """S-50."""
    toml = STREAM + '[consumers.billing]\nstream = "ORDERS"\nack_wait = "5s"\n[triggers.billing]\n'
    config = project.load(toml).config
    assert config.triggers["billing"].consumer == "billing"
    assert config.triggers["billing"].stream == "ORDERS"
    assert config.consumers["billing"].ack_wait == 5 * 10**9


def test_a_stream_is_told_by_the_only_one_whose_subjects_cover_the_filters(project: Project) -> None:
    toml = SHORT + '[streams.INVOICES]\nsubjects = ["invoices.>"]'
    assert project.load(toml).config.triggers["billing"].stream == "ORDERS"


def test_a_stream_that_cannot_be_told_is_an_error_that_lists_them(project: Project) -> None:
    streams = '[streams.A]\nsubjects = ["a.>"]\n[streams.B]\nsubjects = ["b.>"]\n'
    assert project.problem(streams + "[triggers.billing]") == (
        'app.toml:5: triggers.billing: its stream can\'t be told: there are A and B; add stream = "…"'
    )


def test_no_stream_at_all_says_what_to_add(project: Project) -> None:
    assert project.problem("[triggers.billing]").startswith(
        "app.toml:1: triggers.billing: names no stream, and none is declared; add [streams.NAME]"
    )


@pytest.mark.seed("S-25")
def test_two_buses_and_none_named_is_an_error(project: Project) -> None:
    """S-25."""
    assert project.problem("[buses.a]\n[buses.b]\n" + STREAM) == (
        'app.toml:3: streams.ORDERS: names no bus, and there are a and b; add bus = "…"'
    )


def test_a_trigger_on_another_bus_than_its_stream_is_an_error(project: Project) -> None:
    stream = '[buses.a]\n[buses.b]\n[streams.ORDERS]\nbus = "a"\nsubjects = ["x"]\n'
    toml = stream + '[triggers.billing]\nbus = "b"\nstream = "ORDERS"'
    assert (
        project.problem(toml) == 'app.toml:7: triggers.billing.bus: its stream ORDERS is on the bus "a"; leave bus out'
    )


def test_subscribe_declares_consumer_and_trigger(project: Project) -> None:
    project.write("handlers.py", SUBSCRIBE)
    config = project.load(STREAM).config
    trigger = config.triggers["billing"]
    assert (trigger.stream, trigger.consumer, trigger.pipeline, trigger.max_in_flight) == (
        "ORDERS",
        "billing",
        "billing",
        64,
    )
    assert config.consumers["billing"].filter_subjects == ("orders.created",)


def test_a_trigger_of_the_file_overrides_what_subscribe_says(project: Project) -> None:
    project.write("handlers.py", SUBSCRIBE)
    trigger = project.load(STREAM + "[triggers.billing]\nmax_in_flight = 5").config.triggers["billing"]
    assert (trigger.max_in_flight, trigger.consumer) == (5, "billing")


def test_a_consumer_of_the_file_completes_what_subscribe_declares(project: Project) -> None:
    project.write("handlers.py", SUBSCRIBE)
    consumer = project.load(STREAM + '[consumers.billing]\nack_wait = "5s"').config.consumers["billing"]
    assert (consumer.stream, consumer.filter_subjects, consumer.ack_wait) == ("ORDERS", ("orders.created",), 5 * 10**9)


def test_another_stream_than_subscribe_names_is_an_error_that_names_both_places(project: Project) -> None:
    project.write("handlers.py", SUBSCRIBE)
    toml = STREAM + '[streams.B]\nsubjects = ["b"]\n[triggers.billing]\nstream = "B"\nfilter_subjects = ["b"]'
    (found,) = project.problems(toml)
    assert found == (
        'app.toml:6: triggers.billing.stream: "B" here, "ORDERS" at handlers.py:3; '
        "a trigger has one stream: take it out of either place"
    )


def test_a_mistake_in_a_decorator_shows_its_place(project: Project) -> None:
    project.write("handlers.py", SUBSCRIBE.replace("max_in_flight=64", 'max_in_fligth=64, timeout="soon"'))
    found = sorted(project.problems(STREAM))
    assert found[0].startswith(
        "handlers.py:3: triggers.billing.max_in_fligth: unknown key; did you mean max_in_flight?"
    )
    assert found[1].startswith("handlers.py:3: triggers.billing.timeout: 'soon' is not a duration")


def test_a_filter_that_consumer_and_trigger_say_differently_is_an_error(project: Project) -> None:
    toml = SHORT + '[consumers.billing]\nfilter_subjects = ["orders.paid"]'
    assert project.problem(toml) == (
        'app.toml:6: triggers.billing.filter_subjects: "orders.created" here, '
        'but "orders.paid" for its consumer billing at app.toml:8'
    )


def test_an_attach_only_consumer_takes_no_filter_from_its_trigger(project: Project) -> None:
    toml = SHORT + '[consumers.billing]\nstream = "ORDERS"\ndeclare = false'
    assert "triggers.billing.filter_subjects: the consumer billing is not declared here" in project.problem(toml)


def test_attempts_need_a_place_for_what_used_them_up(project: Project) -> None:
    assert "triggers.billing.attempts: needs a place for what used them up" in project.problem(SHORT + "attempts = 3")
    terminating = project.load(SHORT + 'on_exhausted = "terminate"').config.triggers["billing"]
    assert terminating.attempts == 5
    both = SHORT + 'on_exhausted = "terminate"\ndead_letter = "dead.x"'
    assert '"terminate" drops what dead_letter would keep' in project.problem(both)


def test_a_decorated_pipeline_needs_no_trigger(project: Project) -> None:
    project.write("handlers.py", HANDLERS)
    loaded = project.load("")
    assert loaded.config.triggers == {}
    assert list(loaded.registry.pipelines) == ["billing"]
