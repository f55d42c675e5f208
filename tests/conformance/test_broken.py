"""The suite can fail: each fault makes the phase fail that is there for it, with a text that helps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.config.model import TriggerConfig
from eventbus_runtime.conformance import (
    Candidate,
    Report,
    Verdict,
    provider_suite,
    run,
    targets_suite,
    trigger_suite,
)
from eventbus_runtime.conformance.trigger import MakeTrigger
from eventbus_runtime.message import Message, rfc3339
from eventbus_runtime.pipelines.base import Delivery, Pipeline
from eventbus_runtime.provisioning.nats.provider import NatsProvider
from eventbus_runtime.testing.server import NatsServer
from eventbus_runtime.triggers.base import Trigger
from eventbus_runtime.triggers.subscribe import SubscribeTrigger
from tests.conformance import broken
from tests.conformance.broken import opening
from tests.conformance.test_suites import TWELVE, passed, streams
from tests.triggers.live import connected, nothing_to_prepare

IMPATIENT = Candidate(NatsProvider(), "self_hosted", patience=2.0)


def failures(report: Report) -> dict[str, str]:
    """Texts of the phases that failed."""
    return {one.phase: one.text for one in report.results if one.verdict is Verdict.FAILED}


@pytest.mark.seed("S-70")
@pytest.mark.parametrize(
    ("fault", "phase", "text"),
    [
        (
            broken.LosesAcks,
            "ack",
            "expected the broker to say Count(pending=0, unacknowledged=7) within 2 s; "
            "seen: Count(pending=0, unacknowledged=8)",
        ),
        (broken.DropsHeaders, "consume", "expected header X-Number of message 1 '0'; seen: None"),
        (broken.ConfirmsTooMuch, "publish", "expected messages in the stream 10 within 2 s; seen: 0"),
        (broken.ForgetsLastWords, "drain", "expected messages in the stream 20 within 2 s; seen: 10"),
    ],
)
async def test_a_broken_bus_fails_where_it_is_broken(
    server: NatsServer, fault: Callable[[Bus], object], phase: str, text: str
) -> None:
    candidate = Candidate(NatsProvider(), "self_hosted", patience=2.0, open_bus=opening(fault))
    report = await run([provider_suite(candidate, server.url)])
    assert failures(report) == {phase: text}
    assert await streams(server.url) == set()


@pytest.mark.seed("S-70", "S-3", "S-12", "S-14")
@pytest.mark.parametrize(
    ("provider", "target", "phase", "text"),
    [
        (
            broken.WithoutStorage(),
            "digitalocean.app_platform",
            "provision",
            "expected resources of kind infra.storage on digitalocean.app_platform; seen: infra.container_service",
        ),
        (
            broken.DeafToEnvironments(),
            "self_hosted",
            "connect override",
            "expected the address of output uri.staging; seen: another address",
        ),
        (
            broken.AlwaysConnects(),
            "self_hosted",
            "connect missing state",
            "expected a state without address refused, with a text that says 'provisioned'; "
            "seen: it was taken, with the result 'nats://127.0.0.1:4222'",
        ),
        (
            broken.NeverReached(),
            "self_hosted",
            "probe",
            "expected status 'healthy'; seen: 'unreachable: not implemented'",
        ),
    ],
)
async def test_a_broken_provider_fails_where_it_is_broken(
    server: NatsServer, provider: NatsProvider, target: str, phase: str, text: str
) -> None:
    candidate = Candidate(provider, target, kinds=Candidate.nats().kinds)
    report = await run([provider_suite(candidate, server.url)])
    assert failures(report) == {phase: text}


@pytest.mark.seed("S-3")
async def test_a_provider_that_shows_secrets_fails(server: NatsServer) -> None:
    report = await run([provider_suite(Candidate(broken.ShowsSecrets(), "self_hosted"), server.url)])
    assert failures(report) == {
        "streams": "expected no sensitive value of the state in a resource (S-3); seen: the address"
    }


@pytest.mark.seed("S-70")
async def test_resources_are_found_by_kind_and_never_by_position(server: NatsServer) -> None:
    candidate = Candidate(broken.OtherOrder(), "digitalocean.app_platform", kinds=Candidate.nats().kinds)
    report = await run([provider_suite(candidate, server.url)])
    assert passed(report) == TWELVE, report.text()


@pytest.mark.seed("S-70")
async def test_a_forgotten_teardown_is_told_and_so_is_what_is_left(server: NatsServer) -> None:
    candidate = Candidate(NatsProvider(), "self_hosted", patience=2.0, broker=broken.ForgetsTeardown)
    report = await run([provider_suite(candidate, server.url)])
    (left,) = await streams(server.url)
    assert failures(report) == {
        "teardown": f"expected messages in stream {left} (None: it is gone) None within 2 s; seen: 20",
        "clean-up": f"expected nothing left behind; seen: expected no stream {left} any more; seen: it is still there",
    }


@pytest.mark.seed("S-5", "S-11")
async def test_a_provider_that_takes_any_target_fails() -> None:
    found = failures(await run([targets_suite(broken.TakesAnyTarget())]))
    assert list(found) == ["refused pairs", "latest"]
    assert found["refused pairs"].startswith(
        "expected nats on digitalocean.managed_kafka refused, "
        "with a text that says 'nats' and 'digitalocean.managed_kafka'; "
        "seen: it was taken, with the result [Resource(kind='infra.anything'"
    )


@pytest.mark.seed("S-11")
async def test_nothing_without_a_word_is_no_way_to_say_that_a_target_is_not_implemented() -> None:
    found = failures(await run([targets_suite(broken.YieldsNothing())]))
    text = (
        "expected resources for nats on aws.eks, or a ConfigError that says 'not implemented' and names the target; "
        "seen: [], which is neither"
    )
    assert found == {"all targets": text, "latest": text}


@pytest.mark.seed("S-53", "S-70", "S-72")
async def test_a_time_in_another_zone_fails_the_message_and_the_trigger(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = 3600 * 10**9
    monkeypatch.setattr("eventbus_runtime.message.rfc3339", lambda timestamp_ns: rfc3339(timestamp_ns + hour))
    found = failures(await run([provider_suite(IMPATIENT, server.url), trigger_suite(IMPATIENT, server.url)]))
    assert list(found) == ["consume", "six fields"]
    assert found["consume"].startswith("expected published_at of message 1 within 600 s of this machine's clock")
    assert found["six fields"].startswith("expected published_at within 600 s of this machine's clock")


@pytest.mark.seed("S-53", "S-72")
async def test_another_messages_sequence_fails_the_trigger(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    as_dict = Message.as_dict
    monkeypatch.setattr(Message, "as_dict", lambda message: as_dict(message) | {"sequence": "7"})
    report = await run([trigger_suite(IMPATIENT, server.url)])
    assert failures(report) == {"six fields": "expected sequence '1'; seen: '7'"}


class Swallows:
    """A pipeline that hides what its handler raises."""

    name, blocking = "swallows", False

    def __init__(self, pipeline: Pipeline) -> None:
        self.outgoing, self._pipeline = pipeline.outgoing, pipeline

    async def fire(self, delivery: Delivery) -> Any:
        try:
            return await self._pipeline.fire(delivery)
        except Exception:  # noqa: BLE001 - the fault that is made here
            return None


class StartsTwice(SubscribeTrigger):
    """Takes a second start, and does nothing then."""

    started = False

    async def run(self) -> None:
        if self.started:
            return
        self.started = True
        await super().run()


class LeavesATask(SubscribeTrigger):
    """Forgets one of its tasks when it ends."""

    async def run(self) -> None:
        self.left = asyncio.create_task(asyncio.sleep(0.5), name="left over")
        await super().run()


def made(kind: type[SubscribeTrigger] = SubscribeTrigger, **changed: object) -> MakeTrigger:
    def make(config: TriggerConfig, bus: Bus, pipeline: Pipeline) -> Trigger:
        section = config.model_copy(update=changed)
        return kind("t", section, bus, pipeline, tell=lambda fact: None, prepare=nothing_to_prepare)

    return make


def swallowing(config: TriggerConfig, bus: Bus, pipeline: Pipeline) -> Trigger:
    return made()(config, bus, Swallows(pipeline))


@pytest.mark.seed("S-72", "S-51", "S-52")
@pytest.mark.parametrize(
    ("make", "phase", "text"),
    [
        (
            swallowing,
            "failing callback",
            "expected the callback to get {b'good': 1, b'bad': 1, b'fine': 1} within 2 s; "
            "seen: {b'good': 1, b'fine': 1}",
        ),
        (
            made(max_in_flight=9),
            "in flight",
            "expected the broker to say Count(pending=16, unacknowledged=4) within 2 s; "
            "seen: Count(pending=11, unacknowledged=9)",
        ),
        (
            made(StartsTwice),
            "double start",
            "expected a second start refused; seen: it was taken, with the result None",
        ),
        (made(LeavesATask), "cancelled", "expected no task of it after the end; seen: ['left over']"),
    ],
)
async def test_a_broken_trigger_fails_where_it_is_broken(
    server: NatsServer, make: MakeTrigger, phase: str, text: str
) -> None:
    report = await run([trigger_suite(IMPATIENT, server.url, make=make)])
    assert failures(report) == {phase: text}
    async with connected(server.url) as bus:
        assert not (await bus.api("STREAM.NAMES")).get("streams")
