"""A provider that a package brings can be put through the suite, from Python and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus_runtime.conformance import Candidate, Verdict, provider_suite, run, targets_suite
from eventbus_runtime.provisioning.providers import Providers
from eventbus_runtime.testing.server import NatsServer
from tests.cli.command import eventbus
from tests.conformance.test_suites import TWELVE, passed
from tests.provisioning.plug_in import install

pytestmark = pytest.mark.seed("S-1", "S-5", "S-11", "S-70")

# A hosted NATS: its own targets, and what it provisions is talked to as any NATS.
HOSTED = """
from eventbus_runtime.config.targets import target_problem, version_problem
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.nats.provider import NatsProvider
from eventbus_runtime.provisioning.providers import not_implemented
from eventbus_runtime.provisioning.resources import Resource


class Provider(NatsProvider):
    name = "{name}"
    targets = ("kubernetes", "aws.eks")

    def resources(self, bus, target):
        {body}
        if why := target_problem(self.name, target, self.targets) or version_problem(bus.section.version):
            raise ConfigError(f"{self.name} on {target}: {why}")
        if target == "aws.eks":
            raise not_implemented(self.name, target, "write it in {name}_plug_in")
        return [Resource("infra.{name}", bus.name)]


provider = Provider()
"""


async def test_a_plug_in_conforms(server: NatsServer, tmp_path: Path) -> None:
    install(tmp_path / "site", "hosted", "pass", HOSTED)
    provider = Providers().get("hosted")
    candidate = Candidate(provider, "kubernetes", kinds={"kubernetes": ["infra.hosted"]})
    report = await run([targets_suite(provider), provider_suite(candidate, server.url)])
    assert report.passed, report.text()
    assert passed(report)[-12:] == TWELVE
    told = {one.phase: one.text for one in report.results}
    assert told["all targets"] == "yield resources: kubernetes; not implemented: aws.eks"
    assert told["provision"] == "1 resources: infra.hosted"


async def test_a_target_that_is_not_implemented_is_not_applicable_and_the_bus_is_held_all_the_same(
    server: NatsServer, tmp_path: Path
) -> None:
    install(tmp_path / "site", "hosted", "pass", HOSTED)
    report = await run([provider_suite(Candidate(Providers().get("hosted"), "aws.eks"), server.url)])
    first = report.results[0]
    assert (first.verdict, first.text) == (
        Verdict.NOT_APPLICABLE,
        "hosted on aws.eks is not implemented, and says so",
    )
    assert passed(report) == TWELVE[1:]
    assert report.passed


def test_the_command_knows_it(server: NatsServer, tmp_path: Path) -> None:
    install(tmp_path / "site", "hosted", "pass", HOSTED)
    arguments = ("--provider", "hosted", "--target", "kubernetes", "--bus", server.url, "--only", "provider")
    done = eventbus("conformance", *arguments, environ={"PYTHONPATH": str(tmp_path / "site")})
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert done.stdout.decode().startswith("hosted on kubernetes, ")


async def test_one_that_forgets_the_pinned_version_or_the_targets_name_is_told(tmp_path: Path) -> None:
    install(tmp_path / "site", "careless", "if target != 'kubernetes': raise ConfigError('no')", HOSTED)
    report = await run([targets_suite(Providers().get("careless"))])
    told = {one.phase: one.text for one in report.results if one.verdict is Verdict.FAILED}
    assert told == {
        "refused pairs": "expected careless on digitalocean.app_platform refused, with a text that says "
        "'careless' and 'digitalocean.app_platform'; seen: no",
        "all targets": "expected resources for careless on aws.eks, or a ConfigError that says 'not implemented' "
        "and names the target; seen: no",
        "latest": "expected resources for careless on aws.eks, or a ConfigError that says 'not implemented' "
        "and names the target; seen: no",
    }
