"""Which provider goes on which deploy target, and which version, said when the configuration is loaded (S-4 to S-8)."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.config.connections import require_addresses
from eventbus_runtime.config.loader import load_buses
from eventbus_runtime.config.model import BusConfig
from eventbus_runtime.config.targets import MATRIX, TARGETS, target_problem
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning import providers
from tests.cli.command import eventbus
from tests.config.project import SHORT, Project
from tests.provisioning.plug_in import install

NATS_TARGETS = "digitalocean.app_platform, aws.ecs, aws.eks, kubernetes, self_hosted"
KAFKA_TARGETS = "digitalocean.managed_kafka, aws.msk, kubernetes, self_hosted"
CANNOT_RUN = (
    "can be declared to be provisioned by a plug-in, and no more: eventbus-run and the commands talk to nats alone; "
    'give this bus provider = "nats", or take it out of the file that is run'
)


def bus(*lines: str) -> str:
    """A file with this bus, and nothing on it."""
    return "\n".join(["[buses.main]", *lines])


@pytest.mark.seed("S-4", "S-5")
def test_the_matrix_is_that_of_the_rules() -> None:
    """S-4, S-5."""
    assert set(TARGETS) == {
        "digitalocean.app_platform",
        "digitalocean.managed_kafka",
        "aws.ecs",
        "aws.eks",
        "aws.msk",
        "aws.kinesis",
        "kubernetes",
        "self_hosted",
    }
    assert {provider: set(targets) for provider, targets in MATRIX.items()} == {
        "nats": {"digitalocean.app_platform", "aws.ecs", "aws.eks", "kubernetes", "self_hosted"},
        "kafka": {"digitalocean.managed_kafka", "aws.msk", "kubernetes", "self_hosted"},
        "kinesis": {"aws.kinesis"},
    }


@pytest.mark.seed("S-5")
@pytest.mark.parametrize(("provider", "target"), list(product(MATRIX, TARGETS)))
def test_a_pair_is_taken_or_refused_by_both_names(project: Project, provider: str, target: str) -> None:
    """S-5."""
    toml = bus(f'provider = "{provider}"', f'deploy_target = "{target}"')
    if target in MATRIX[provider]:
        assert project.load(toml).config.buses["main"].deploy_target == target
    else:
        assert project.problem(toml) == (
            f"app.toml:3: buses.main.deploy_target: {provider} can't be put on {target}; "
            f"targets of {provider}: {', '.join(MATRIX[provider])}"
        )


@pytest.mark.seed("S-5")
@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (
            ('provider = "natz"',),
            'app.toml:2: buses.main.provider: unknown provider "natz"; '
            "known: nats, kafka and kinesis; did you mean nats?",
        ),
        (
            ('provider = "rabbitmq"', 'deploy_target = "kubernetes"'),
            'app.toml:2: buses.main.provider: unknown provider "rabbitmq"; known: nats, kafka and kinesis',
        ),
        (
            ('deploy_target = "kubernets"',),
            'app.toml:2: buses.main.deploy_target: there is no deploy target "kubernets" for nats; '
            f"targets of nats: {NATS_TARGETS}; did you mean kubernetes?",
        ),
        (
            ('deploy_target = ""',),
            "app.toml:2: buses.main.deploy_target: is empty; leave it out, or name where nats is put; "
            f"targets of nats: {NATS_TARGETS}",
        ),
        (
            ('provider = "kafka"', 'deploy_target = "aws.ecs"'),
            f"app.toml:3: buses.main.deploy_target: kafka can't be put on aws.ecs; targets of kafka: {KAFKA_TARGETS}",
        ),
    ],
)
def test_what_is_in_no_row_is_refused_with_what_is(project: Project, lines: tuple[str, ...], text: str) -> None:
    """S-5."""
    assert project.problem(bus(*lines)) == text


@pytest.mark.seed("S-7")
@pytest.mark.parametrize("version", ["latest", "LATEST", "Latest", " latest "])
def test_latest_is_refused_with_the_reason_and_an_example(project: Project, version: str) -> None:
    """S-7."""
    assert project.problem(bus(f'version = "{version}"')) == (
        f'app.toml:2: buses.main.version: "{version}" is not pinned, so that no deployment can be repeated; '
        'give a full version such as "2.14.6"'
    )


def test_all_three_mistakes_of_a_bus_show_at_once(project: Project) -> None:
    toml = bus('provider = "kafka"', 'deploy_target = "aws.ecs"', 'version = "latest"')
    streams = '\n[streams.S]\nsubjects = "s"'
    keys = [line.split(": ")[1] for line in project.problems(toml + streams)]
    assert keys == ["buses.main.provider", "buses.main.deploy_target", "buses.main.version"]


def test_what_is_for_provisioning_is_no_warning(project: Project) -> None:
    lines = 'deploy_target = "kubernetes"\nversion = "2.14.6"\nreplicas = 3\nlimits = { cpu = "1" }'
    assert project.warnings(SHORT.replace("[buses.main]", f"[buses.main]\n{lines}")) == []


@pytest.mark.seed("S-8")
@pytest.mark.parametrize("replicas", [-1, 0])
def test_no_replicas_can_be_said(project: Project, replicas: int) -> None:
    """S-8: `inputs.resolve` takes it for 1."""
    assert project.load(bus(f"replicas = {replicas}")).config.buses["main"].replicas == replicas


def test_a_bus_of_another_provider_can_be_declared_but_nothing_put_on_it(project: Project) -> None:
    events = '[buses.events]\nprovider = "kafka"\ndeploy_target = "aws.msk"\n'
    project.load(SHORT.replace("[streams.ORDERS]", '[streams.ORDERS]\nbus = "main"') + events)
    used = events + '[streams.A]\nsubjects = "a"\n[triggers.billing]\nfilter_subjects = "a"\n'
    assert project.problem(used) == (
        f'app.toml:2: buses.events.provider: "kafka" {CANNOT_RUN} (on it: streams.A and triggers.billing)'
    )


def test_a_bus_of_another_provider_is_not_dialled(project: Project) -> None:
    loaded = project.load('[buses.events]\nprovider = "kafka"\nurl = "kafka:9092"')
    with pytest.raises(ConfigError) as caught:
        require_addresses(loaded.config, Path("app.toml"))
    assert str(caught.value) == f'app.toml: buses.events.provider: "kafka" {CANNOT_RUN}'
    with pytest.raises(ConfigError, match=r'buses\.events\.provider: "kafka" can be declared'):
        NatsBus("events", BusConfig(provider="kafka"), urls=["kafka:9092"])


def test_a_command_that_talks_to_it_says_so(project: Project) -> None:
    path = project.write("app.toml", '[buses.events]\nprovider = "kafka"\nurl = "kafka:9092"')
    done = eventbus("publish", path, "orders.created", "x")
    assert (done.returncode, done.stderr.decode()) == (2, f'buses.events.provider: "kafka" {CANNOT_RUN}\n')


@pytest.mark.seed("S-23")
def test_nats_url_is_no_address_of_another_provider(project: Project) -> None:
    """S-23."""
    path = project.write("app.toml", '[buses.events]\nprovider = "kafka"\n[buses.main]')
    found = load_buses(path, environ={"NATS_URL": "nats://a"})
    assert (found["events"].url, found["main"].url) == ((), ("nats://a",))
    assert load_buses(path, environ={"EVENTBUS_EVENTS_URI": "kafka:9092"})["events"].url == ("kafka:9092",)


def test_a_plug_in_is_known_by_name_and_targets(project: Project, tmp_path: Path) -> None:
    install(tmp_path / "site", "pulsar", 'targets = ("kubernetes",)')
    assert project.load(bus('provider = "pulsar"', 'deploy_target = "kubernetes"')).config.buses
    assert project.problem(bus('provider = "pulsar"', 'deploy_target = "aws.ecs"')) == (
        "app.toml:3: buses.main.deploy_target: pulsar can't be put on aws.ecs; targets of pulsar: kubernetes"
    )
    assert project.problem(bus('provider = "pulsr"')).endswith(
        'unknown provider "pulsr"; known: nats, kafka, kinesis and pulsar; did you mean pulsar?'
    )


def test_a_plug_in_that_can_not_be_imported_is_named(project: Project, tmp_path: Path) -> None:
    install(tmp_path / "site", "pulsar", "raise RuntimeError('no licence')")
    assert project.problem(bus('provider = "pulsar"')) == (
        "app.toml:2: buses.main.provider: provider pulsar: pulsar_plug_in:provider of pulsar-plug-in "
        "can't be imported: RuntimeError: no licence"
    )


def test_plug_ins_are_not_looked_for_where_the_provider_is_known(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[str]()

    def look(group: str) -> tuple[()]:
        looked.append(group)
        return ()

    monkeypatch.setattr(providers, "entry_points", look)
    project.load(SHORT)
    project.load(bus('provider = "kafka"', 'deploy_target = "aws.msk"'))
    assert looked == []
    project.problem(bus('provider = "pulsar"'))
    assert looked == ["eventbus_runtime.providers"]


def test_a_target_problem_names_both() -> None:
    assert target_problem("kinesis", "aws.kinesis", MATRIX["kinesis"]) == ""
    assert target_problem("kinesis", "aws.msk", MATRIX["kinesis"]).startswith("kinesis can't be put on aws.msk")
