"""An error in one line: what it is, and where in the user's code it came from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from traceback import walk_stack, walk_tb
from types import CodeType, FrameType

_MAX_CHARACTERS = 300
_OURS = str(Path(__file__).parent) + os.sep
_STDLIB = str(Path(os.__file__).parent) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def describe(error: BaseException) -> str:
    """The error as `type: text`, on one line of at most 300 characters. A group of one is described as that one."""
    error = _only(error)
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the user's class; its mistake must not hide that there was an error
        text = "its text can't be read: __str__ raises"
    return one_line(f"{name}: {text}" if text else name)


def one_line(text: str) -> str:
    """The text on one line, shortened to 300 characters. What a terminal would obey, and not show, is escaped."""
    shown = printable(" ".join(text[: 4 * _MAX_CHARACTERS].split()))
    return shown if len(shown) <= _MAX_CHARACTERS else shown[: _MAX_CHARACTERS - 1] + "…"


def printable(text: str) -> str:
    """The text with what a terminal would obey, and not show, escaped; line ends too."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def located(error: BaseException) -> str:
    """`describe`, with the innermost frame of the user where there is one."""
    frame = innermost_user_frame(error)
    return f"{describe(error)} ({frame})" if frame else describe(error)


def innermost_user_frame(error: BaseException) -> str:
    """Where the error came from, as `handlers.py:12 in billing`; empty for an error that was never raised.

    It is the innermost frame outside of this package, of installed packages and of the standard library: a failure
    deep in a client library is shown at the user's line that called it. Where there is none (an application that is
    itself installed), it is the innermost that is not of this package.
    """
    trace = _only(error).__traceback__ or error.__traceback__
    return _users(walk_tb(trace))


def innermost_frame(frame: FrameType) -> str:
    """The same of code that is at work: where this frame is, or the innermost of the user's that has called it."""
    return _users(reversed(list(walk_stack(frame))))


def _users(outside_in: Iterable[tuple[FrameType, int]]) -> str:
    innermost, users = "", ""
    for frame, line in outside_in:
        code = frame.f_code
        here = f"{os.path.basename(code.co_filename)}:{line} in {code.co_name}"
        if not code.co_filename.startswith(_OURS):
            innermost = here
        if _is_users(code):
            users = here
    return users or innermost


def _only(error: BaseException) -> BaseException:
    """The one error of a group of one: a task group in a handler wraps what its only failing task raised."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _is_users(code: CodeType) -> bool:
    path = code.co_filename
    if path.startswith(("<", _OURS)):  # generated code, as a dataclass's __init__, has a name in angle brackets
        return False
    # Installed packages lie below the standard library's directory in some layouts, and beside it in others.
    return not path.startswith(_STDLIB) and not any(part in path for part in _INSTALLED)
