"""The servers that the gates choose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.gates import END_TO_END, PROVIDER, server_of


@pytest.fixture
def provider_uri() -> Iterator[str]:
    """Where the provider suite runs."""
    with server_of(PROVIDER) as uri:
        yield uri


@pytest.fixture
def end_to_end_uri() -> Iterator[str]:
    """Where the trigger, and the plugin process with it, runs."""
    with server_of(END_TO_END) as uri:
        yield uri
