"""What must be refused before anything exists (S-5, S-7, S-11): by every provider, without any infrastructure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from eventbus_runtime.config.loader import load_buses
from eventbus_runtime.config.model import BusConfig, RuntimeConfig
from eventbus_runtime.config.targets import MATRIX, TARGETS
from eventbus_runtime.conformance.phases import NotApplicableError, Phase, Suite, UnmetError, expect, refused
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.providers import DeclaredBus, Provider, Providers
from eventbus_runtime.provisioning.resources import Resource

NAME = "targets"

_NOT_IMPLEMENTED = "not implemented"


def targets_suite(provider: Provider) -> Suite:
    """Hold a provider, and what a configuration says of all of them, to the matrix of S-5.

    Args:
        provider: which.
    """
    name = provider.name
    return Suite(
        NAME,
        (
            Phase("configuration", "each pair outside the matrix is refused when it is loaded", "S-5", _load_all),
            Phase("unknown provider", "it is refused, and the known ones are listed", "S-5", _unknown),
            Phase(
                "refused pairs",
                f"{name} refuses each target that it has not, and yields no resource",
                "S-5",
                partial(_refuse_all, provider),
            ),
            Phase(
                "all targets",
                f"each target of {name} yields resources, or says by its name that it is not implemented",
                "S-11",
                partial(_each_target, provider),
            ),
            Phase("latest", "it is no version that can be deployed", "S-7", partial(_refuse_latest, provider)),
        ),
    )


def declared(provider: str, target: str, version: str = "") -> DeclaredBus:
    """A bus `main` that is to be put on a target."""
    bus = BusConfig(provider=provider, deploy_target=target, version=version)
    return DeclaredBus(RuntimeConfig(buses={"main": bus}), "main")


def implemented(provider: Provider, target: str) -> Sequence[Resource]:
    """The resources of a bus on a target; none where it says that it is not implemented.

    Raises:
        UnmetError: it yields nothing, or raises something else.
    """
    where = f"{provider.name} on {target}"
    expected = f"resources for {where}, or a ConfigError that says {_NOT_IMPLEMENTED!r} and names the target"
    try:
        resources = provider.resources(declared(provider.name, target), target)
    except ConfigError as error:
        expect(_NOT_IMPLEMENTED in str(error) and target in str(error), expected, error)
        return ()
    except Exception as error:
        raise UnmetError(expected, f"{type(error).__name__}: {error}") from error
    expect(bool(resources), expected, f"{resources!r}, which is neither")
    wrong = [one for one in resources if not isinstance(one, Resource)]
    expect(not wrong, f"nothing but Resource objects for {where} (S-2)", wrong)
    return resources


def _pairs() -> Iterator[tuple[str, str]]:
    return ((provider, target) for provider in MATRIX for target in TARGETS if target not in MATRIX[provider])


async def _load_all() -> str:
    wrong = []
    for provider, target in _pairs():
        text = _load_error(f'[buses.main]\nprovider = "{provider}"\ndeploy_target = "{target}"\n')
        if provider not in text or target not in text:
            wrong.append(f"{provider} on {target}: {text or 'taken'}")
    expect(not wrong, "an error that names provider and target", "; ".join(wrong))
    return f"{len(list(_pairs()))} pairs refused, by both names"


async def _unknown() -> str:
    known = Providers().names
    text = _load_error('[buses.main]\nprovider = "no-such-broker"\n')
    expect(all(name in text for name in known), f"an error that lists {', '.join(known)}", text or "it was taken")
    return text.partition(": ")[2]


async def _refuse_all(provider: Provider) -> str:
    others = [target for target in TARGETS if target not in provider.targets]
    for target in others:
        await refused(f"{provider.name} on {target}", _provision(provider, target), provider.name, target)
    return f"{len(others)} targets refused, each by its name, without a resource"


async def _each_target(provider: Provider) -> str:
    done = [target for target in provider.targets if implemented(provider, target)]
    absent = [target for target in provider.targets if target not in done]
    told = [("yield resources", done), (_NOT_IMPLEMENTED, absent)]
    return "; ".join(f"{what}: {', '.join(targets)}" for what, targets in told if targets)


async def _refuse_latest(provider: Provider) -> str:
    done = [target for target in provider.targets if implemented(provider, target)]
    if not done:
        raise NotApplicableError(f"{provider.name} has no target where it could be deployed")
    for target in done:
        for version in ("latest", "LATEST"):
            what = f"{provider.name} {version} on {target}"
            told = await refused(what, _provision(provider, target, version), version, "pinned")
    return told


async def _provision(provider: Provider, target: str, version: str = "") -> object:
    return provider.resources(declared(provider.name, target, version), target)


def _load_error(text: str) -> str:
    """What is said of a configuration; empty where it is taken."""
    try:
        load_buses(None, environ={"EVENTBUS_CONFIG": text})
    except ConfigError as error:
        return str(error)
    return ""
