"""The origin's gates choose the server; without them the suite has its own, so that it always runs (S-70)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eventbus_runtime.testing.server import NatsServer
from tests.conformance.gates import END_TO_END, PROVIDER, gated, server_of
from tests.triggers.live import connected

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.seed("S-70")


@pytest.mark.parametrize("gate", [PROVIDER, END_TO_END])
def test_an_open_gate_means_the_server_of_nats_url_else_the_local_one(gate: str) -> None:
    assert gated(gate, {gate: "1", "NATS_URL": "nats://example:4222"}) == "nats://example:4222"
    assert gated(gate, {gate: "1"}) == "nats://127.0.0.1:4222"
    assert gated(gate, {gate: "1", "NATS_URL": ""}) == "nats://127.0.0.1:4222"


@pytest.mark.parametrize("environ", [{}, {"NATS_URL": "nats://example:4222"}, {PROVIDER: "0"}, {END_TO_END: "1"}])
def test_a_closed_gate_means_none_that_runs_already(environ: dict[str, str]) -> None:
    assert gated(PROVIDER, environ) is None


def test_without_a_gate_a_server_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROVIDER, raising=False)
    monkeypatch.setenv("NATS_URL", "nats://example:4222")
    with server_of(PROVIDER) as uri:
        assert uri.startswith("nats://127.0.0.1:")


@pytest.mark.parametrize(
    ("gate", "test"),
    [(PROVIDER, "test_nats_passes_all_twelve_phases_on_each_target[self_hosted]"), (END_TO_END, "test_the_trigger")],
)
async def test_the_tests_behind_a_gate_go_to_the_server_that_it_names(server: NatsServer, gate: str, test: str) -> None:
    async def asked() -> int:
        async with connected(server.url) as bus:
            return int((await bus.api("INFO"))["api"]["total"])

    assert await asked() < 5
    for environ, goes_there in (({}, False), ({gate: "1"}, True)):
        before = await asked()
        done = run_tests(test, {**environ, "NATS_URL": server.url})
        assert done.returncode == 0, done.stdout
        assert "1 passed" in done.stdout
        assert (await asked() - before > 10) is goes_there


def run_tests(name: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one of the tests in a pytest of its own."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("INTEGRATION_", "PYTEST_"))}
    file = "tests/conformance/test_suites.py"
    chosen = [f"{file}::{name}"] if "[" in name else [file, "-k", name]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *chosen],
        cwd=ROOT,
        env={**plain, **environ},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
