"""`[pipelines.NAME]`: what a file may say of steps, and every mistake in it, at its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.config.effective import effective
from eventbus_runtime.config.schema import json_schema
from eventbus_runtime.config.steps import PARTS, check_part, tokens
from tests.config.project import Project

FILE = """
[buses.main]
url = "nats://127.0.0.1:4222"
[streams.ORDERS]
subjects = ["orders.>"]
[consumers.rest]
stream = "ORDERS"
filter_subjects = ["orders.rest"]
[triggers.billing]
filter_subjects = ["orders.created"]
pipeline = "work"
[pipelines.work]
"""
"""The line behind it is 12: the steps."""

HANDLERS = """
from eventbus_runtime import AckStep, Delivery, Message, pipeline
from eventbus_runtime.contracts import ConsumeResponse

async def enrich(order: dict) -> dict: ...
async def look(found: ConsumeResponse) -> None: ...
async def settle(delivery: Delivery) -> None: ...
async def ack(message: Message, step: AckStep) -> None: ...
def blocks(message: Message, step: AckStep) -> None: ...
async def unbound(a, b) -> None: ...
number = 1

class Thing: ...

@pipeline
async def billing(message) -> None: ...
"""


@pytest.fixture
def steps(project: Project) -> Project:
    """A project with functions to call."""
    project.write("handlers.py", HANDLERS)
    return project


def test_a_trigger_names_it_like_any_pipeline(steps: Project) -> None:
    loaded = steps.load(FILE + 'steps = [{ call = "handlers:enrich" }, { publish = { subject = "orders.x" } }]')
    assert loaded.config.triggers["billing"].pipeline == "work"
    assert loaded.registry.pipelines["work"].kind == "steps"
    assert loaded.warnings == ()


@pytest.mark.parametrize("entry", ["handlers:enrich", "handlers.py:enrich", "billing"])
def test_a_function_is_found_by_module_by_file_and_a_handler_by_its_name(steps: Project, entry: str) -> None:
    loaded = steps.load(FILE + f'steps = [{{ call = "{entry}" }}]')
    (call,) = loaded.registry.pipelines["work"].settings["calls"].values()
    assert call.function.__name__ == entry.rpartition(":")[2]


def test_files_of_one_name_are_two_and_each_runs_once(project: Project) -> None:
    """Two copies of a module would share nothing; the wrong one would do something else."""
    project.write("handlers.py", "")
    for folder in ("a", "b"):
        project.write(f"{folder}/steps.py", f"IN = '{folder}'\nasync def one(m): ...\nasync def two(m): ...")
    loaded = project.load(
        FILE + 'steps = [{ call = "a/steps.py:one" }, { call = "b/steps.py:one" }, { call = "a/steps.py:two" }]'
    )
    first, second, third = (
        call.function.__globals__ for call in loaded.registry.pipelines["work"].settings["calls"].values()
    )
    assert (first["IN"], second["IN"]) == ("a", "b")
    assert third is first


def test_a_file_of_the_same_name_as_an_imported_one_is_another(project: Project) -> None:
    project.write("handlers.py", "IN = 'imported'\nasync def one(m): ...")
    project.write("a/handlers.py", "IN = 'a'\nasync def one(m): ...")
    loaded = project.load(FILE + 'steps = [{ call = "a/handlers.py:one" }, { call = "handlers.py:one" }]')
    calls = loaded.registry.pipelines["work"].settings["calls"].values()
    assert [call.function.__globals__["IN"] for call in calls] == ["a", "imported"]


def test_steps_may_come_from_a_variable(steps: Project) -> None:
    loaded = steps.load(
        FILE + "steps = [{ ack = {} }]", environ={"EVENTBUS__PIPELINES__WORK__STEPS": '[{ call = "billing" }]'}
    )
    assert list(loaded.registry.pipelines["work"].settings["calls"]) == [0]


def test_what_is_no_table_is_told_alone(project: Project) -> None:
    """And not, besides, that no pipeline has the name."""
    project.write("handlers.py", "")
    toml = FILE.replace("[pipelines.work]\n", "") + "\n[pipelines]\nwork = 1\n"
    assert project.problem(toml).endswith(": pipelines.work: expected a table, got the number 1")


def test_without_a_pipeline_of_its_own_a_trigger_takes_the_one_of_its_name(project: Project) -> None:
    project.write("handlers.py", "")
    toml = FILE.replace('pipeline = "work"\n', "").replace("pipelines.work", "pipelines.billing")
    assert project.load(toml + "steps = [{ ack = {} }]").config.triggers["billing"].pipeline == "billing"


_HOW = 'a step is one of { call = "module:function" }, { publish = { … } }, { consume = { … } } and { ack = {} }'
_PART = (
    f'a part is one of {", ".join(PARTS)}, "headers.NAME", or a JSON pointer into the payload as "/customer/id" '
    "(RFC 6901)"
)


@pytest.mark.parametrize(
    ("step", "key", "text"),
    [
        ("{ publsh = {} }", "", f"there is no step publsh; did you mean publish?; {_HOW}"),
        ("{ sleep = 1 }", "", f"there is no step sleep; {_HOW}"),
        ("{}", "", f"it is empty; {_HOW}"),
        ('"ack"', "", f"expected a table; {_HOW}"),
        ("{ ack = {}, publish = {} }", "", f"one step does one thing, and this has ack and publish; {_HOW}"),
        ("{ publish = {} }", ".publish.subject", "is missing"),
        ('{ publish = "orders.x" }', ".publish", 'expected a table, got the text "orders.x"'),
        (
            '{ publish = { subjct = "a", subject = "b" } }',
            ".publish.subjct",
            "unknown key; did you mean subject?",
        ),
        ("{ publish = { subject = 1 } }", ".publish.subject", 'expected a text, or { from = "…" }'),
        (
            '{ publish = { subject = "a b" } }',
            ".publish.subject",
            "'a b' can't be published to: write words with dots between, without wildcards or spaces",
        ),
        (
            '{ publish = { subject = "orders.*" } }',
            ".publish.subject",
            "'orders.*' can't be published to: write words with dots between, without wildcards or spaces",
        ),
        (
            '{ publish = { subject = { from = "playload" } } }',
            ".publish.subject.from",
            f'the message has no part "playload"; did you mean payload?; {_PART}',
        ),
        (
            '{ publish = { subject = { from = "headers." } } }',
            ".publish.subject.from",
            f'the message has no part "headers."; {_PART}',
        ),
        (
            '{ publish = { subject = { from = "/a~2" } } }',
            ".publish.subject.from",
            '"/a~2" is no JSON pointer: "~" is written ~0, and "/" within a name ~1 (RFC 6901)',
        ),
        ("{ publish = { subject = {} } }", ".publish.subject.from", "is missing"),
        (
            '{ publish = { subject = { from = "/a", form = "/a" } } }',
            ".publish.subject.form",
            "unknown key; did you mean from?",
        ),
        (
            '{ publish = { subject = "a", headers = { A = 1 } } }',
            ".publish.headers.A",
            'expected a text, or { from = "…" }',
        ),
        (
            '{ publish = { subject = "a", headers = { "Bad Name" = "x" } } }',
            ".publish.headers.Bad Name",
            "'Bad Name' can't be a header name: it must not be empty, nor hold spaces, colons or line ends",
        ),
        (
            '{ publish = { subject = "a", headers = { A = "x\\ny" } } }',
            ".publish.headers.A",
            "it holds a line end; headers are one line each",
        ),
        (
            '{ publish = { subject = "a", correlation_id = "x\\r" } }',
            ".publish.correlation_id",
            "it holds a line end; headers are one line each",
        ),
        (
            '{ publish = { subject = "a", headers = { Nats-Msg-Id = "mine" } } }',
            ".publish.headers",
            'all messages would have the Nats-Msg-Id "mine", of which a stream keeps the first and drops the others: '
            'take it from the message, as { from = "/id" }, or leave it out',
        ),
        (
            '{ ack = { ack_token = "orders.created" } }',
            ".ack.ack_token",
            'a token is another one each time: expected { from = "…" }',
        ),
        (
            '{ consume = { consumer = "rst" } }',
            ".consume.consumer",
            'there is no consumer "rst"; did you mean rest?',
        ),
        (
            '{ consume = { consumer = "zzz" } }',
            ".consume.consumer",
            'there is no consumer "zzz"; declare [consumers.zzz] with its stream',
        ),
        (
            '{ consume = { consumer = "rest", batch_size = 0 } }',
            ".consume.batch_size",
            "expected 1 or more, got the number 0",
        ),
        (
            '{ consume = { consumer = "rest", max_wait = 0 } }',
            ".consume.max_wait",
            "expected more than 0, got the number 0.0",
        ),
        ("{ call = 1 }", ".call", "expected a text, got the number 1"),
        (
            '{ call = "handlers:enrihc" }',
            ".call",
            "handlers:enrihc: AttributeError: module 'eventbus_file_handlers_1' has no attribute 'enrihc'; "
            "did you mean enrich?",
        ),
        ('{ call = "no_such:f" }', ".call", 'there is no module no_such; a file is written "./no_such.py"'),
        ('{ call = "handlers:" }', ".call", '"handlers:" names no object; expected "package.module:name"'),
        ('{ call = "handlers:number" }', ".call", "handlers:number is no function, but int"),
        ('{ call = "handlers:Thing" }', ".call", "handlers:Thing is no function, but type"),
        (
            '{ call = "biling" }',
            ".call",
            'no pipeline is registered as "biling"; did you mean billing?; a function is named as "module:function"',
        ),
        (
            '{ call = "handlers:look" }',
            ".call",
            "it wants a ConsumeResponse, and no consume step stands before it",
        ),
    ],
)
def test_each_mistake_is_one_line_at_its_place(steps: Project, step: str, key: str, text: str) -> None:
    found = steps.problem(FILE + f"steps = [\n{{ ack = {{}} }},\n{step},\n]")
    assert found == f"app.toml:14: pipelines.work.steps[1]{key}: {text}"


def test_a_mistake_in_the_only_step_is_told_alone(steps: Project) -> None:
    """And not, besides, that the list has no step."""
    found = steps.problems(FILE + "steps = [{ publish = {} }]")
    assert found == ["app.toml:12: pipelines.work.steps[0].publish.subject: is missing"]


@pytest.mark.parametrize(
    ("call", "line", "text"),
    [
        ("unbound", 9, "the parameter 'a' has no annotation; it may be Message, Delivery, Bus, a step ("),
        ("blocks", 8, "a step must be awaited: make it `async def`"),
    ],
)
def test_a_function_that_can_not_be_bound_is_told_where_it_is(steps: Project, call: str, line: int, text: str) -> None:
    found = steps.problems(FILE + f'steps = [{{ call = "handlers:{call}" }}]')
    assert found[0].startswith(f"handlers.py:{line}: pipelines.work.steps[0].call: {text}")


def test_a_pipeline_without_steps_is_refused(steps: Project) -> None:
    assert steps.problem(FILE + "steps = []").startswith("app.toml:12: pipelines.work.steps: expected a list that is")
    assert steps.problem(FILE) == "app.toml:11: pipelines.work.steps: is missing"


def test_two_pipelines_of_one_name_are_refused_with_both_places(steps: Project) -> None:
    toml = FILE.replace("pipelines.work", "pipelines.billing").replace('pipeline = "work"', 'pipeline = "billing"')
    assert steps.problem(toml + "steps = [{ ack = {} }]") == (
        "app.toml:11: pipelines.billing: a pipeline of this name is registered at handlers.py:14 too; "
        "rename one of them"
    )


def test_a_misspelt_pipeline_finds_one_of_steps(steps: Project) -> None:
    toml = FILE.replace('pipeline = "work"', 'pipeline = "wrok"') + "steps = [{ ack = {} }]"
    assert steps.problem(toml) == (
        'app.toml:10: triggers.billing.pipeline: no pipeline is named "wrok"; did you mean work?'
    )


def test_manual_acks_need_a_step_that_acknowledges(steps: Project) -> None:
    toml = FILE.replace('pipeline = "work"', 'pipeline = "work"\nack = "manual"')
    assert steps.problem(toml + 'steps = [{ call = "handlers:enrich" }]') == (
        'app.toml:11: triggers.billing.ack: "manual", but no step of its pipeline work acknowledges: '
        "add { ack = {} }, or take this out"
    )


@pytest.mark.parametrize("step", ["{ ack = {} }", '{ call = "handlers:settle" }', '{ call = "handlers:ack" }'])
def test_with_one_they_are_well(steps: Project, step: str) -> None:
    toml = FILE.replace('pipeline = "work"', 'pipeline = "work"\nack = "manual"')
    assert steps.load(toml + f"steps = [{step}]").warnings == ()


def test_a_consumer_of_another_bus_is_refused(steps: Project) -> None:
    toml = """
        [buses.main]
        url = "nats://127.0.0.1:4222"
        [buses.other]
        url = "nats://127.0.0.1:4223"
        [streams.ORDERS]
        bus = "main"
        subjects = ["orders.>"]
        [streams.FAR]
        bus = "other"
        subjects = ["far.>"]
        [consumers.far]
        stream = "FAR"
        [triggers.work]
        stream = "ORDERS"
        [pipelines.work]
        steps = [{ consume = { consumer = "far" } }]
    """
    assert steps.problem(toml) == (
        "app.toml:16: pipelines.work.steps[0].consume.consumer: it is on the bus other, and the pipeline runs on "
        "another for the triggers work (main)"
    )


def test_user_code_that_does_not_import_is_told_alone(project: Project) -> None:
    project.write("handlers.py", "1 / 0")
    (found,) = project.problems(FILE + 'steps = [{ call = "handlers:enrich" }]')
    assert "handlers.py does not import: ZeroDivisionError" in found


def test_dry_run_says_it_so_that_it_loads_again(steps: Project) -> None:
    toml = FILE + (
        'steps = [{ call = "handlers:enrich" }, { publish = { subject = { from = "/to" }, payload = "x", '
        'headers = { A = { from = "headers.A" } } } }, { consume = { consumer = "rest", max_wait = "2s" } }, '
        "{ ack = {} }]"
    )
    loaded = steps.load(toml)
    again = steps.load(effective(loaded.config, ()))
    assert again.config.pipelines == loaded.config.pipelines


def test_the_schema_knows_steps() -> None:
    schema = json.dumps(json_schema()["$defs"]["PipelineConfig"])
    assert "CallEntry" in schema
    assert "PublishEntry" in schema
    assert json_schema()["$defs"]["Part"]["required"] == ["from"]


@given(st.lists(st.text()))
def test_a_pointer_leads_through_the_names_that_it_was_made_of(names: list[str]) -> None:
    pointer = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)
    assert tokens(pointer) == tuple(names)
    if pointer:
        assert check_part(pointer) == pointer


@given(st.text().filter(lambda text: not text.startswith(("/", "headers.")) and text not in PARTS))
def test_any_other_part_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="the message has no part") as caught:
        check_part(text)
    assert f'"{text}"' in str(caught.value)
