"""Runs the tests that bound a time one after another, and without coverage's tracer."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put all tests marked `timed` into one xdist group (`--dist loadgroup`), so that none slows another down.

    The tracer makes a tight loop several times slower on Python 3.11: their times would say nothing.
    """
    for item in items:
        if item.get_closest_marker("timed"):
            item.add_marker(pytest.mark.xdist_group("timed"))
            item.add_marker(pytest.mark.no_cover)
