"""What a bus needs before it can be dialled: its address (S-23), one kind of credentials, files that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from eventbus_runtime.config.model import EMBEDDED, RuntimeConfig, uri_variable
from eventbus_runtime.config.report import Report, did_you_mean, listed
from eventbus_runtime.config.tables import Keys, Rank, Table, Tables, texts
from eventbus_runtime.config.targets import MATRIX, NATS, TARGETS, cannot_run, target_problem, version_problem
from eventbus_runtime.errors import ConfigError, Problem

_SCHEMES = ("nats", "tls", "ws", "wss")
_FILES = (("auth", "nkey_seed_file"), ("auth", "creds"), ("tls", "ca"), ("tls", "cert"), ("tls", "key"), ("server",))
_KINDS_OF_AUTH = ("user", "token", "nkey_seed_file", "creds")


class Variables(NamedTuple):
    """The environment, or the secrets.

    Args:
        values: texts by name.
        rank: which of them it is.
        where: what stands before a variable's name in errors.
    """

    values: Mapping[str, str]
    rank: Rank
    where: str = ""


def apply_addresses(tables: Tables, sources: Sequence[Variables]) -> None:
    """Take addresses from variables (S-23): EVENTBUS_<BUS>_URI beats the file, NATS_URL only fills a gap,
    and for NATS alone.

    Args:
        tables: the tables.
        sources: where variables may stand, the strongest first.
    """
    for name, bus in tables.section("buses").items():
        fills_gap = not bus.get("url") and bus.get("provider", NATS) == NATS
        for variable in (uri_variable(name), *(("NATS_URL",) if fills_gap else ())):
            source = next((source for source in sources if source.values.get(variable)), None)
            if source:
                addresses = [part.strip() for part in source.values[variable].split(",") if part.strip()]
                tables.override(("buses", name, "url"), addresses, source.where + variable, source.rank)
                break


def require_addresses(config: RuntimeConfig, path: Path) -> None:
    """Make sure that each bus can be dialled; only who runs needs it, a check does not (S-23).

    Raises:
        ConfigError: a bus has no address, and names both variables; or it is of a provider that nothing here talks to.
    """
    text = "has no address; write url in the file, or set {} or NATS_URL"
    problems = []
    for name, bus in config.buses.items():
        if why := cannot_run(bus.provider):
            problems.append(Problem(str(path), f"buses.{name}.provider", why))
        elif not bus.url:
            problems.append(Problem(str(path), f"buses.{name}", text.format(uri_variable(name))))
    if problems:
        raise ConfigError(problems)


def check_connections(tables: Tables, folder: Path, report: Report) -> None:
    """Report what keeps a bus from being dialled, and make its paths relative to the file's folder."""
    for name, bus in tables.section("buses").items():
        at = ("buses", name)
        _check_deployment(tables, name, bus, report)
        _check_url((*at, "url"), texts(bus.get("url")), report)
        if EMBEDDED not in texts(bus.get("url")):
            for key in ("store", "server"):
                if key in bus:
                    report.error((*at, key), f'works only with url = "{EMBEDDED}"; remove it, or set the url')
        _check_auth((*at, "auth"), bus.get("auth"), report)
        _check_tls((*at, "tls"), bus.get("tls"), report)
        _place_files(at, bus, folder, report)


def _check_deployment(tables: Tables, name: str, bus: Table, report: Report) -> None:
    """S-5 and S-7, before any resource exists."""
    provider, target, version = bus.get("provider", NATS), bus.get("deploy_target"), bus.get("version")
    at = ("buses", name)
    if isinstance(version, str) and (why := version_problem(version)):
        report.error((*at, "version"), why)
    if not isinstance(provider, str):
        return
    try:
        targets = MATRIX.get(provider) or _plugged_in(provider)
    except ConfigError as error:
        report.error((*at, "provider"), str(error))
        return
    if isinstance(target, str) and (why := target_problem(provider, target, targets)):
        report.error((*at, "deploy_target"), why + ("" if target in TARGETS else did_you_mean(target, targets)))
    users = [
        f"{section}.{user}"
        for section in ("streams", "triggers")
        for user, table in tables.section(section).items()
        if table.get("bus") == name
    ]
    if users and (why := cannot_run(provider)):
        report.error((*at, "provider"), f"{why} (on it: {listed(users)})")


def _plugged_in(provider: str) -> tuple[str, ...]:
    """The deploy targets of a provider that only a plug-in can know.

    Raises:
        ConfigError: none does; lists the known ones.
    """
    # Looking for plug-ins takes longer than all other checks, and hardly a file names one.
    from eventbus_runtime.provisioning.providers import Providers

    providers = Providers()
    if provider not in providers.names:
        near = did_you_mean(provider, providers.names)
        raise ConfigError(f'unknown provider "{provider}"; known: {listed(providers.names)}{near}')
    return tuple(providers.get(provider).targets)


def is_address(url: str) -> bool:
    """Whether a text can be the address of a server: a host, with or without scheme, credentials and port."""
    try:
        parts = urlsplit(url if "//" in url else f"nats://{url}")
        return parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def has_credentials(url: str) -> bool:
    """Whether a user, password or token stands in an address."""
    return "@" in urlsplit(url if "//" in url else f"nats://{url}").netloc


def _check_url(keys: Keys, urls: tuple[str, ...], report: Report) -> None:
    if EMBEDDED in urls and len(urls) > 1:
        report.error(keys, f'"{EMBEDDED}" stands alone: a private server has one address')
    for url in urls:
        if not is_address(url):  # the url itself is not shown: it may hold a password
            report.error(keys, f'is not an address; expected "nats://host:4222" ({listed(_SCHEMES)}) or "{EMBEDDED}"')


def _check_auth(keys: Keys, auth: object, report: Report) -> None:
    if not isinstance(auth, dict):
        return
    given = [kind for kind in _KINDS_OF_AUTH if kind in auth]
    if len(given) > 1:
        report.error((*keys, given[1]), f"one kind of credentials only; given are {listed(given)}")
    if ("user" in auth) != ("password" in auth):
        there, missing = ("user", "password") if "user" in auth else ("password", "user")
        report.error((*keys, there), f"goes with {missing}, which is missing")


def _check_tls(keys: Keys, tls: object, report: Report) -> None:
    if isinstance(tls, dict) and ("cert" in tls) != ("key" in tls):
        there, missing = ("cert", "key") if "cert" in tls else ("key", "cert")
        report.error((*keys, there), f"goes with {missing}, which is missing")


def _place_files(at: Keys, bus: Table, folder: Path, report: Report) -> None:
    """Paths in a configuration are relative to its folder, wherever the command was started."""
    for keys in (*_FILES, ("store",)):
        table: Any = bus
        for key in keys[:-1]:
            table = table.get(key) if isinstance(table, dict) else None
        value = table.get(keys[-1]) if isinstance(table, dict) else None
        if not isinstance(value, str):
            continue
        path = folder / Path(value).expanduser()
        table[keys[-1]] = str(path)
        if keys != ("store",) and not path.is_file():
            report.error((*at, *keys), f"there is no file {path}")
