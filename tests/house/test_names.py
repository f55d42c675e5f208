"""The public face of the package."""

from __future__ import annotations

import eventbus_runtime


def test_the_public_names_are_sorted_without_doubles_and_importable() -> None:
    names = eventbus_runtime.__all__
    assert list(names) == sorted(set(names))
    assert [name for name in names if not hasattr(eventbus_runtime, name)] == []


def test_what_a_handlers_file_needs_is_public() -> None:
    needed = {
        "Bus",
        "Delivery",
        "Message",
        "Publish",
        "Reject",
        "Retry",
        "background",
        "pipeline",
        "resource",
        "subscribe",
    }
    assert needed <= set(eventbus_runtime.__all__)


def test_every_public_name_has_a_docstring() -> None:
    assert [name for name in eventbus_runtime.__all__ if not getattr(eventbus_runtime, name).__doc__] == []
