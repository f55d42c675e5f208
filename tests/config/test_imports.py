"""The user's code, imported by the configuration."""

from __future__ import annotations

import re

import pytest

from eventbus_runtime.config.loader import load
from tests.config.project import HANDLERS, SHORT, Project


def test_files_and_modules_beside_the_file_are_imported(project: Project) -> None:
    project.write("shop_a/__init__.py", "")
    project.write("shop_a/handlers.py", HANDLERS.replace("billing", "ship"))
    project.write("code/more.py", HANDLERS.replace("billing", "more"))
    imports = '[runtime]\nimports = ["shop_a.handlers", "./handlers.py", "code/more.py"]'
    assert set(project.load(imports).registry.pipelines) == {"ship", "billing", "more"}


def test_the_default_is_handlers_py_if_it_is_there(project: Project) -> None:
    assert set(project.load("").registry.pipelines) == {"billing"}
    (project.folder / "handlers.py").unlink()
    assert project.load("").registry.pipelines == {}


def test_a_module_that_handlers_import_registers_too_also_when_it_is_loaded_again(project: Project) -> None:
    project.write("shop_b/__init__.py", "")
    project.write("shop_b/deep.py", HANDLERS.replace("billing", "deep"))
    project.write("handlers.py", "import shop_b.deep\n")
    assert set(project.load("").registry.pipelines) == {"deep"}
    assert set(project.load("").registry.pipelines) == {"deep"}


def test_two_configurations_of_one_process_do_not_see_each_others_code(project: Project) -> None:
    project.write("shop_c.py", HANDLERS.replace("billing", "theirs"))
    project.write("theirs.toml", '[runtime]\nimports = ["shop_c"]')
    assert set(load(project.folder / "theirs.toml", environ={}).registry.pipelines) == {"theirs"}
    first, second = project.load(SHORT), project.load(SHORT)
    assert set(first.registry.pipelines) == set(second.registry.pipelines) == {"billing"}
    assert first.registry.pipelines["billing"].function is not second.registry.pipelines["billing"].function


def test_an_error_of_the_users_code_shows_the_users_frames_only(project: Project) -> None:
    project.write("broken_a.py", "import json\n\ndef read():\n    return json.loads('{')\n\nread()\n")
    project.write("handlers.py", "import broken_a\n")
    lines = project.problem(SHORT).split("\n")
    assert lines[0].startswith("app.toml: handlers.py does not import: json.decoder.JSONDecodeError: ")
    marks = re.compile(r" +[~^]+")  # Python's own, below what failed; each version of it draws others
    assert [line for line in lines[1:] if not marks.fullmatch(line)] == [
        '  File "handlers.py", line 1, in <module>',
        "    import broken_a",
        '  File "broken_a.py", line 6, in <module>',
        "    read()",
        '  File "broken_a.py", line 4, in read',
        "    return json.loads('{')",
    ]
    assert marks.fullmatch(lines[-1]), "the place in the last line is marked"


def test_a_syntax_error_shows_its_place(project: Project) -> None:
    project.write("handlers.py", "async def billing(:\n    ...\n")
    found = project.problem(SHORT)
    assert found.startswith("app.toml: handlers.py does not import: SyntaxError: invalid syntax\n")
    assert '  File "handlers.py", line 1\n' in found


def test_a_module_that_the_users_code_misses_is_the_users_error(project: Project) -> None:
    project.write("handlers.py", "import surely_not_there\n")
    assert "handlers.py does not import: ModuleNotFoundError: No module named 'surely_not_there'" in project.problem(
        SHORT
    )


@pytest.mark.parametrize("raised", ["SystemExit(0)", "BaseException(0)", "GeneratorExit(0)"])
def test_what_exits_while_it_is_imported_is_an_error(project: Project, raised: str) -> None:
    project.write("handlers.py", f"raise {raised}\n")
    assert f"handlers.py does not import: {raised[:-3]}: 0" in project.problem(SHORT)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("surely_not.there", 'there is no module surely_not; a file is written "./there.py"'),
        ("./none.py", "there is no file none.py"),
    ],
)
def test_an_import_that_is_not_there_is_told_at_its_line(project: Project, entry: str, text: str) -> None:
    toml = f'[runtime]\nimports = [\n  "handlers.py",\n  "{entry}",\n]\n'
    assert project.problem(toml) == f"app.toml:4: runtime.imports[1]: {text}"


def test_a_failed_import_hides_no_other_mistake_and_invents_none(project: Project) -> None:
    project.write("handlers.py", "1 / 0\n")
    found = project.problems(SHORT + "x = 5")
    assert [line.split("\n")[0] for line in found] == [
        "app.toml: handlers.py does not import: ZeroDivisionError: division by zero",
        "app.toml:7: triggers.billing.x: unknown key",
    ]


def test_two_pipelines_of_one_name_name_both_places(project: Project) -> None:
    project.write("more.py", HANDLERS)
    found = project.problem('[runtime]\nimports = ["handlers.py", "more.py"]')
    assert found.startswith(
        "more.py:3: billing: two pipelines are named 'billing': the other is billing at handlers.py:3"
    )


def test_a_file_that_is_imported_as_a_module_too_is_told_so(project: Project) -> None:
    project.write("handlers.py", "import handlers\n" + HANDLERS)
    assert all("since the same code ran as handlers and as eventbus_file_" in line for line in project.problems(SHORT))


def test_a_handler_that_cannot_be_bound_is_told_by_the_check(project: Project) -> None:
    project.write("handlers.py", HANDLERS.replace("(message)", "(message: dict, other)"))
    found = project.problem(SHORT)
    assert found.startswith("handlers.py:3: billing: ")
    assert "the parameter 'other' has no annotation" in found


LISTENER = "\nclass Tracker:\n    def on_fact(self, fact): ...\n\ntracker = Tracker()\nnothing = 5\n"


def test_listeners_are_objects_of_the_users_code_and_run_no_file_twice(project: Project) -> None:
    project.write("handlers.py", HANDLERS + LISTENER)
    toml = '[runtime]\nlisteners = ["handlers:Tracker", "handlers:tracker"]'
    loaded = project.load(toml)
    assert [type(listener).__name__ for listener in loaded.listeners] == ["Tracker", "Tracker"]
    assert set(project.load(toml).registry.pipelines) == {"billing"}


@pytest.mark.parametrize(
    ("listener", "text"),
    [
        ("handlers", '"handlers" names no object; expected "package.module:name"'),
        ("handlers:none", "handlers:none: AttributeError: module"),
        ("handlers:nothing", "handlers:nothing has no method on_fact(fact)"),
        ("surely_not:x", "there is no module surely_not"),
    ],
)
def test_what_is_no_listener_is_an_error(project: Project, listener: str, text: str) -> None:
    project.write("handlers.py", HANDLERS + LISTENER)
    found = project.problem(f'[runtime]\nlisteners = ["{listener}"]')
    assert found.startswith(f"app.toml:2: runtime.listeners[0]: {text}")
