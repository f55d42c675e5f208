"""An error as one line, and the user's frame that it came from."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus_runtime.frames import describe, innermost_user_frame, one_line
from eventbus_runtime.message import AckToken

HANDLERS = """\
import json
from eventbus_runtime.message import AckToken


def billing(call):
    return call()


def through_the_standard_library():
    return json.loads("{")


def through_this_package():
    return AckToken.parse("no token")
"""


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.fixture
def handlers(tmp_path: Path) -> ModuleType:
    path = tmp_path / "handlers.py"
    path.write_text(HANDLERS)
    module = ModuleType("handlers")
    exec(compile(HANDLERS, str(path), "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(
    ("function", "frame"),
    [
        ("through_the_standard_library", "handlers.py:10 in through_the_standard_library"),
        ("through_this_package", "handlers.py:14 in through_this_package"),
    ],
)
def test_the_frame_is_the_users_line_that_called_into_a_library(
    handlers: ModuleType, function: str, frame: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        handlers.billing(getattr(handlers, function))
    assert innermost_user_frame(caught.value) == frame


def test_without_a_frame_of_the_user_it_is_the_innermost_that_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "site-packages" / "app" / "handlers.py"
    scope: dict[str, object] = {"parse": AckToken.parse}
    exec(compile("def billing():\n    parse('no token')\n", str(path), "exec"), scope)
    code = compile("billing()", "<string>", "exec")
    with pytest.raises(ValueError, match="no token") as caught:
        exec(code, scope)
    caught.value.__traceback__ = caught.value.__traceback__ and caught.value.__traceback__.tb_next  # drop this test's
    assert innermost_user_frame(caught.value).startswith("handlers.py:")


def test_an_error_that_was_never_raised_has_no_frame() -> None:
    assert innermost_user_frame(ValueError("returned")) == ""


async def test_a_task_group_of_one_failure_is_that_failure() -> None:
    async def ship() -> None:
        raise ValueError("no address")

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ship())
    assert describe(caught.value) == "ValueError: no address"
    assert innermost_user_frame(caught.value).endswith("in ship")


def test_a_group_of_two_stays_a_group() -> None:
    group = ExceptionGroup("both", [ValueError("a"), ValueError("b")])
    assert describe(group) == "ExceptionGroup: both (2 sub-exceptions)"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no total"), "ValueError: no total"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("two\nlines\r\n  and more"), "ValueError: two lines and more"),
        (ValueError("\x1b[31mred \udcff"), "ValueError: \\x1b[31mred \\udcff"),
        (Unreadable(), "Unreadable: its text can't be read: __str__ raises"),
    ],
)
def test_an_error_is_described_on_one_line(error: Exception, line: str) -> None:
    assert describe(error) == line


@given(st.text(max_size=2000))
def test_any_text_becomes_one_printable_line_of_bounded_length(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 300
    assert line.isprintable()
    assert json.dumps(line).encode("ascii")


def test_a_long_text_is_cut_and_says_so() -> None:
    assert one_line("x" * 301) == "x" * 299 + "…"
    assert one_line("x" * 300) == "x" * 300
