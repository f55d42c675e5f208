"""Scenes for the scenarios; the ledgers' lines are printed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from eventbus_runtime.testing.server import NatsServer
from tests.chaos.scene import Scene

_LEDGER = "ledger"


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes a line that is printed at the end of the session, whatever process the test runs in."""
    return lambda line: request.node.user_properties.append((_LEDGER, line))


@pytest_asyncio.fixture
async def scene(tmp_path: Path, server: NatsServer, say: Callable[[str], None]) -> AsyncIterator[Scene]:
    """A scene on one server."""
    async with Scene(tmp_path, [server.url], say) as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the workers have logged."""
    report = yield
    scene = getattr(item, "funcargs", {}).get("scene")
    if report.failed and call.when == "call" and isinstance(scene, Scene):
        report.sections += [(f"log of worker {worker.folder.name}", worker.errors) for worker in scene.workers]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each scenario."""
    reports = [report for key in ("passed", "failed") for report in terminalreporter.getreports(key)]
    lines = [
        f"{report.nodeid.rpartition('::')[2]}: {line}"
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for key, line in report.user_properties
        if key == _LEDGER
    ]
    if lines:
        terminalreporter.section("ledgers")
        for line in sorted(lines):
            terminalreporter.line(line)
