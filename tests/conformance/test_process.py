"""The plugin process as a real child over its real transport (S-71), and what the suite says of one that is broken."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TypeVar

import psutil
import pytest

from eventbus_runtime.conformance import Candidate, Report, Result, Verdict, process, process_suite, run
from eventbus_runtime.conformance.process import Launch
from eventbus_runtime.contracts.fields import Contract
from eventbus_runtime.contracts.model import AckRequest
from eventbus_runtime.plugin.client import PluginProcess
from eventbus_runtime.provisioning.nats.provider import NatsProvider
from eventbus_runtime.testing.server import NatsServer
from tests.conformance.test_broken import failures
from tests.conformance.test_suites import left_behind, passed, streams

C = TypeVar("C", bound=Contract)

PHASES = [
    "start",
    "manifest",
    "types",
    "contracts",
    "descriptors",
    "modules",
    "error paths",
    "publish ten",
    "consume ten",
    "ack ten",
    "publish ten by descriptors",
    "consume ten by descriptors",
    "ack ten by descriptors",
    "trigger",
    "shutdown",
    "teardown",
]
IMPATIENT = Candidate(NatsProvider(), "self_hosted", patience=2.0)


class Launched:
    """Makes plugin processes, and keeps them."""

    def __init__(self, make: Callable[..., PluginProcess] = PluginProcess, *command: str) -> None:
        self._make, self._command = make, command
        self.processes: list[PluginProcess] = []

    def __call__(self, variables: dict[str, str]) -> PluginProcess:
        command = {"command": self._command} if self._command else {}
        self.processes.append(self._make(environment=variables, **command))
        return self.processes[-1]

    def is_running(self) -> bool:
        return any(psutil.pid_exists(one.pid) for one in self.processes)


def not_run(report: Report) -> set[str]:
    return {one.phase for one in report.results if one.verdict is Verdict.NOT_RUN}


@pytest.mark.seed("S-71", "S-20", "S-26", "S-33", "S-40", "S-60", "S-61")
async def test_the_process_passes_all_phases_and_leaves_nothing(end_to_end_uri: str) -> None:
    """S-71: seven strict contracts, ten published, one consume of ten, ten acks, counted; by both clients."""
    launched = Launched()
    suite = process_suite(Candidate.nats(), end_to_end_uri, launch=launched)
    report, left = await left_behind(end_to_end_uri, [suite])
    assert passed(report) == PHASES, report.text()
    assert report.passed
    told = {one.phase: one.text for one in report.results}
    assert told["contracts"] == "7 contracts, all strict"
    for how in ("", " by descriptors"):
        assert told[f"publish ten{how}"] == "10 confirmed, 10 stored"
        assert told[f"consume ten{how}"] == "10 in one batch, 10 unacknowledged"
        assert told[f"ack ten{how}"] == "10 acknowledged, counted after each; 0 left"
    assert (left, launched.is_running()) == (set(), False)


@pytest.mark.seed("S-71")
async def test_without_grpc_it_is_not_applicable_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, server: NatsServer
) -> None:
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    report = await run([process_suite(Candidate.nats(), server.url)])
    assert {one.verdict for one in report.results} == {Verdict.NOT_APPLICABLE}
    assert report.results[0].text == "a plugin process needs gRPC: install eventbus-runtime[rpc]"
    assert not report.passed


class Forgets(PluginProcess):
    """Says that acknowledgements are done, and does nothing."""

    async def execute_step(
        self, handle: str, request: Contract, response: type[C], *, timeout: float | None = None
    ) -> C:
        if isinstance(request, AckRequest) and request.ack_token.startswith("$JS.ACK."):
            return response()
        return await super().execute_step(handle, request, response, timeout=timeout)


@pytest.mark.seed("S-71")
async def test_a_process_that_forgets_acknowledgements_fails_by_the_brokers_count(server: NatsServer) -> None:
    launched = Launched(Forgets)
    report = await run([process_suite(IMPATIENT, server.url, launch=launched)])
    assert failures(report) == {
        "ack ten": "expected the broker to say Count(pending=0, unacknowledged=9) within 2 s; "
        "seen: Count(pending=0, unacknowledged=10)"
    }
    assert not launched.is_running()


# A plugin process in which one thing is wrong.
WRONG = """
import sys
from eventbus_runtime.pipelines.steps import PublishStep
from eventbus_runtime.plugin import callback, main, triggers
request, fire, publish = callback._request, triggers.HostPipeline.fire, PublishStep.__call__
def without_a_time(*arguments):
    made = request(*arguments)
    del made.data.fields["published_at"]
    return made
def without_headers(*arguments):
    made = request(*arguments)
    made.data["headers"] = {}
    return made
async def twice(self, delivery):
    await fire(self, delivery)
    await fire(self, delivery)
async def never(self, delivery):
    raise RuntimeError("the host is not called")
async def publish_without_headers(self, request):
    return await publish(self, request.model_copy(update={"headers": {}}))
"""


@pytest.mark.seed("S-71", "S-53")
@pytest.mark.parametrize(
    ("fault", "phase", "text"),
    [
        ("callback._request = without_a_time", "trigger", "expected fields ['ack_token', 'headers', 'payload', "),
        ("callback._request = without_headers", "trigger", "expected headers {'X-Number': '1'}; seen: {}"),
        ("triggers.HostPipeline.fire = twice", "trigger", "expected workflows run for one message "),
        (
            "triggers.HostPipeline.fire = never",
            "trigger",
            "expected workflows run for one message 1 within 2 s; seen: 0",
        ),
        (
            "PublishStep.__call__ = publish_without_headers",
            "consume ten",
            "expected headers X-Number ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']; seen: ['', ",
        ),
    ],
)
async def test_a_process_with_one_fault_fails_where_it_is(
    server: NatsServer, fault: str, phase: str, text: str
) -> None:
    """S-71: of the fields of a message, too, and of one that is delivered twice."""
    command = (sys.executable, "-c", f"{WRONG}{fault}\nsys.exit(main.main([]))")
    report = await run([process_suite(IMPATIENT, server.url, launch=Launched(PluginProcess, *command))])
    assert failures(report)[phase].startswith(text)


@pytest.mark.seed("S-71")
async def test_a_program_that_is_no_plugin_is_told_with_its_own_words(server: NatsServer) -> None:
    launched: Launch = Launched(PluginProcess, sys.executable, "-c", "import sys; sys.exit('not me')")
    report = await run([process_suite(IMPATIENT, server.url, launch=launched)])
    (text,) = failures(report).values()
    assert text.startswith("expected that a child process shakes hands, and says that it serves; seen: ")
    assert text.endswith("not me")
    assert not_run(report) == set(PHASES) - {"start", "teardown"}
    assert report.results[-1].text == "no stream was made, so that none is to be removed"


@pytest.mark.seed("S-71")
async def test_a_cancelled_run_leaves_neither_process_nor_stream(server: NatsServer) -> None:
    launched, begun = Launched(), asyncio.Event()

    def tell(result: Result) -> None:
        if result.phase == "publish ten":
            begun.set()

    running = asyncio.create_task(run([process_suite(Candidate.nats(), server.url, launch=launched)], tell=tell))
    await begun.wait()
    assert len(await streams(server.url)) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await streams(server.url) == set()
    assert not launched.is_running()
