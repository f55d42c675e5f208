"""Which providers there are, built in, plugged in and registered (S-1, S-5, S-11)."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.nats.provider import NatsProvider
from eventbus_runtime.provisioning.providers import DeclaredBus, Provider, Providers
from eventbus_runtime.provisioning.resources import Output, Resource, State
from tests.provisioning.plug_in import install

BUS = DeclaredBus(RuntimeConfig.model_validate({"buses": {"main": {}}}), "main")


@pytest.mark.seed("S-1")
def test_nats_is_built_in() -> None:
    """S-1."""
    provider: Provider = Providers().get("nats")
    assert isinstance(provider, NatsProvider)
    assert (provider.name, "kubernetes" in provider.targets) == ("nats", True)


def test_a_provider_of_the_matrix_that_no_package_brings_says_so() -> None:
    with pytest.raises(ConfigError, match=r"provider kafka is not installed: .* entry point of eventbus_runtime\.prov"):
        Providers().get("kafka")


@pytest.mark.seed("S-5")
def test_an_unknown_provider_lists_the_known_ones() -> None:
    """S-5."""
    with pytest.raises(ConfigError, match=r'^unknown provider "rabbit"; known: nats, kafka, kinesis$'):
        Providers().get("rabbit")


@pytest.mark.seed("S-1")
def test_a_plug_in_is_found_by_its_entry_point(tmp_path: Path) -> None:
    """S-1."""
    install(tmp_path, "kafka", 'targets = ("aws.msk", "kubernetes")')
    provider = Providers().get("kafka")
    assert provider.resources(BUS, "aws.msk") == [Resource("infra.kafka", "main")]
    assert provider.connection_string(State({"uri": Output("kafka:9092")})) == "kafka:9092"


@pytest.mark.seed("S-11")
def test_a_plug_ins_target_that_is_not_implemented_fails_by_name(tmp_path: Path) -> None:
    """S-11."""
    install(tmp_path, "pulsar", 'targets = ("aws.eks", "kubernetes")')
    providers = Providers()
    assert providers.names == ("nats", "kafka", "kinesis", "pulsar")
    with pytest.raises(ConfigError) as caught:
        providers.get("pulsar").resources(BUS, "kubernetes")
    assert str(caught.value) == "provisioning pulsar on kubernetes is not implemented: write it in pulsar_plug_in"


def test_a_plug_in_is_imported_only_when_it_is_asked_for(tmp_path: Path) -> None:
    install(tmp_path, "pulsar", "raise RuntimeError('no licence')")
    providers = Providers()
    assert providers.get("nats")
    with pytest.raises(ConfigError) as caught:
        providers.get("pulsar")
    assert str(caught.value) == (
        "provider pulsar: pulsar_plug_in:provider of pulsar-plug-in can't be imported: RuntimeError: no licence"
    )


@pytest.mark.seed("S-1")
def test_a_plug_in_that_lacks_a_verb_is_refused(tmp_path: Path) -> None:
    """S-1."""
    install(tmp_path, "pulsar", "", "class provider:\n    name = 'pulsar'\n    resources = probe = None\n")
    with pytest.raises(ConfigError, match=r"is no provider: it has no targets, warnings, connection_string, stream_r"):
        Providers().get("pulsar")


def test_a_plug_in_can_not_take_the_place_of_nats(tmp_path: Path) -> None:
    install(tmp_path, "nats", 'targets = ("kubernetes",)')
    assert isinstance(Providers().get("nats"), NatsProvider)


@pytest.mark.seed("S-1")
def test_one_can_be_registered_and_is_known_to_this_registry_alone(tmp_path: Path) -> None:
    """S-1."""
    install(tmp_path, "pulsar", 'targets = ("kubernetes",)')
    provider: Provider = import_module("pulsar_plug_in").Provider()
    providers = Providers()
    providers.register(provider)
    assert providers.get("pulsar") is provider
    assert Providers().get("pulsar") is not provider


def test_what_is_no_provider_is_not_registered() -> None:
    class Bare:
        name = "bare"

    bare: Any = Bare()
    with pytest.raises(ConfigError, match=r"^what was registered is no provider: it has no targets, resources"):
        Providers().register(bare)
    with pytest.raises(ConfigError, match=r"nats is built in; give it another name"):
        Providers().register(NatsProvider())
