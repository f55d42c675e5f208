"""What turns the declaration of a bus into resources: NATS here, other brokers by plug-ins (S-1).

A plug-in is a package that names an object with the verbs of `Provider` under the entry-point group
`eventbus_runtime.providers`, by the word that stands in a bus's `provider`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple, Protocol, cast

from eventbus_runtime.config.model import BusConfig, RuntimeConfig
from eventbus_runtime.config.targets import MATRIX, NATS
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.provisioning.findings import Finding
from eventbus_runtime.provisioning.objects import ConsumerSpec, StreamSpec
from eventbus_runtime.provisioning.probe import Probed
from eventbus_runtime.provisioning.resources import Resource, State

GROUP = "eventbus_runtime.providers"
"""The entry-point group of plug-ins."""

_VERBS = ("name", "targets", "resources", "warnings", "connection_string", "stream_resources", "probe")


class DeclaredBus(NamedTuple):
    """A bus as a configuration declares it: what a provider starts from.

    Args:
        config: the whole configuration, complete.
        name: of the bus.
        text: the file, where there is one; the worker gets it.
        where: the file's name, for errors.
    """

    config: RuntimeConfig
    name: str
    text: str = ""
    where: str = ""

    @property
    def section(self) -> BusConfig:
        """`[buses.NAME]`."""
        return self.config.buses[self.name]


class Provider(Protocol):
    """A kind of broker, and how it comes to be (S-1)."""

    @property
    def name(self) -> str:
        """What `provider` of a bus says."""

    @property
    def targets(self) -> Sequence[str]:
        """The deploy targets that it can be put on."""

    def resources(self, bus: DeclaredBus, target: str) -> Sequence[Resource]:
        """What is to be made for a bus; never refuses for a target's practical limits, which `warnings` says.

        Raises:
            ConfigError: the pair is not in the matrix (S-5), the version is not pinned (S-7), or the target is not
                implemented (S-11).
        """

    def warnings(self, bus: DeclaredBus, target: str) -> Sequence[Finding]:
        """What would not work there as it should, or hurt some day. No errors; raises as `resources`."""

    def connection_string(self, state: State, env: str = "") -> str:
        """The bus's address (S-12). It may hold a secret.

        Args:
            state: of the provisioned bus.
            env: the environment, whose own address is taken where there is one.

        Raises:
            ConfigError: it has not been provisioned.
        """

    def stream_resources(
        self, streams: Iterable[StreamSpec | None], state: State, consumers: Iterable[ConsumerSpec | None] = ()
    ) -> Sequence[Resource]:
        """One resource for each stream, then one for each consumer (S-13).

        Raises:
            ConfigError: one has no name, or a stream no subjects.
        """

    async def probe(self, uri: str, *, timeout: float = 5.0) -> Probed:
        """What the broker at an address is like now, within `timeout` seconds (S-14)."""


class Providers:
    """The providers that there are: NATS, those of installed plug-ins, and what is registered here.

    Looks for plug-ins when it is made, and imports one when it is asked for.
    """

    def __init__(self) -> None:
        self._registered: dict[str, Provider] = {}
        self._plug_ins: Mapping[str, EntryPoint] = {one.name: one for one in entry_points(group=GROUP)}

    def register(self, provider: Provider) -> None:
        """Add one that no package brings; in place of a plug-in's of the same name.

        Raises:
            ConfigError: it lacks a verb, or NATS is its name.
        """
        _check(provider, provider.name, "what was registered")
        self._registered[provider.name] = provider

    @property
    def names(self) -> tuple[str, ...]:
        """The known words for `provider`, whether or not what they stand for is installed."""
        return tuple(dict.fromkeys((*MATRIX, *sorted(self._plug_ins), *self._registered)))

    def get(self, name: str) -> Provider:
        """The provider of that name.

        Raises:
            ConfigError: it is unknown, and the known ones are listed; or no plug-in has it; or that can't be used.
        """
        if name == NATS:
            from eventbus_runtime.provisioning.nats.provider import NatsProvider

            return NatsProvider()
        if name in self._registered:
            return self._registered[name]
        if name in self._plug_ins:
            return _loaded(self._plug_ins[name])
        if name in MATRIX:
            raise ConfigError(
                f"provider {name} is not installed: a package that has it names it as an entry point of {GROUP}"
            )
        raise ConfigError(f'unknown provider "{name}"; known: {", ".join(self.names)}')


def not_implemented(provider: str, target: str, cure: str) -> ConfigError:
    """What a provider raises for a target of its own that it can't make yet (S-11).

    Args:
        provider, target: which pair.
        cure: what to do, or to implement.
    """
    return ConfigError(f"provisioning {provider} on {target} is not implemented: {cure}")


def _loaded(plug_in: EntryPoint) -> Provider:
    package = f" of {plug_in.dist.name}" if plug_in.dist else ""
    where = f"provider {plug_in.name}: {plug_in.value}{package}"
    try:
        provider = plug_in.load()
    except Exception as error:
        # It is somebody else's code, and may raise anything.
        raise ConfigError(f"{where} can't be imported: {type(error).__name__}: {error}") from error
    _check(provider, plug_in.name, where)
    return cast(Provider, provider)


def _check(provider: object, name: str, where: str) -> None:
    if name == NATS:
        raise ConfigError(f"{where}: {NATS} is built in; give it another name")
    if missing := [verb for verb in _VERBS if not hasattr(provider, verb)]:
        raise ConfigError(f"{where} is no provider: it has no {', '.join(missing)}")
