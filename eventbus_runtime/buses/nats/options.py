"""Addresses, credentials and encryption of a bus, as nats-py's connect options. Files are read anew at each attempt."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from nats.aio.client import RawCredentials

from eventbus_runtime.config.model import AuthConfig, BusConfig, TlsConfig
from eventbus_runtime.config.targets import cannot_run
from eventbus_runtime.errors import ConfigError, Problem

_DEFAULT_PORT = 4222
# Seconds between our own PINGs, and how many may stay unanswered: a silent server is given up after a minute.
_PING_INTERVAL, _MAX_PINGS = 20, 2


class Endpoint(NamedTuple):
    """One server's address, its credentials taken out of the url.

    Args:
        url: scheme, host and port.
        host: the host alone.
        user: user name, or the token where there is no password; empty for none.
        password: password, or empty.
        certificate_name: the name that its certificate must bear, where that is not the host; or empty.
    """

    url: str
    host: str
    user: str = ""
    password: str = ""
    certificate_name: str = ""

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}>"  # without the password

    @property
    def address(self) -> str:
        """The url with its credentials."""
        if not self.user:
            return self.url
        scheme, _, netloc = self.url.partition("://")
        password = f":{quote(self.password, safe='')}" if self.password else ""
        return f"{scheme}://{quote(self.user, safe='')}{password}@{netloc}"

    @property
    def encrypted(self) -> bool:
        """Whether the address itself asks for TLS."""
        return self.url.startswith("tls:")


def endpoints(bus: str, urls: Iterable[str]) -> list[Endpoint]:
    """Read the addresses of a bus.

    Raises:
        ConfigError: there is none (S-23), or one can't be used.
    """
    found = [_endpoint(bus, url) for url in urls]
    if not found:
        variable = f"EVENTBUS_{bus.upper().replace('-', '_')}_URI"
        raise _problem(f"buses.{bus}.url", f"the bus has no address: set it here, or {variable}, or NATS_URL")
    return found


def check_names(bus: str, config: BusConfig) -> None:
    """Make sure that the parts of subjects in a bus's section can be such, and that it is a NATS bus at all.

    Raises:
        ConfigError: one can't, or it is not.
    """
    if why := cannot_run(config.provider):
        raise _problem(f"buses.{bus}.provider", why)
    for key in ("inbox_prefix", "domain", "api_prefix"):
        value = getattr(config, key)
        if value is not None and (not value or set(value) & set(" \t\r\n*>")):
            raise _problem(f"buses.{bus}.{key}", f"{value!r} must not be empty, nor hold spaces, * or >")


def discovered(origin: Endpoint, netlocs: Iterable[str]) -> list[Endpoint]:
    """Servers that `origin` told of (`host:port`), with its scheme and credentials. A bare IP address must show the
    certificate of `origin`'s name, as in the other NATS clients."""
    scheme = origin.url.partition("://")[0]
    made = []
    for netloc in netlocs:
        host = urlsplit(f"//{netloc}").hostname or ""
        name = (origin.certificate_name or origin.host) if _is_address(host) else ""
        made.append(origin._replace(url=f"{scheme}://{netloc}", host=host, certificate_name=name))
    return made


def connect_options(bus: str, config: BusConfig, endpoint: Endpoint) -> dict[str, Any]:
    """What `nats.aio.client.Client.connect` needs for one attempt at `endpoint`.

    Raises:
        ConfigError: a file of credentials or certificates can't be read or used; the text names its key.
    """
    options: dict[str, Any] = {
        "servers": endpoint.url,
        "name": config.name or bus,
        "inbox_prefix": config.inbox_prefix,
        "connect_timeout": config.connect_timeout,
        "ping_interval": _PING_INTERVAL,
        "max_outstanding_pings": _MAX_PINGS,
        "allow_reconnect": False,  # we reconnect ourselves; 1 and 0 below keep nats-py from going on for ever
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0,
        **_credentials(bus, config.auth, endpoint),
    }
    if config.tls is not None or endpoint.encrypted:
        tls = config.tls or TlsConfig()
        options["tls"] = _context(f"buses.{bus}.tls", tls)
        options["tls_handshake_first"] = tls.handshake_first
        if tls.hostname or endpoint.certificate_name:
            options["tls_hostname"] = tls.hostname or endpoint.certificate_name
    return options


def credentials_key(bus: str, config: BusConfig, endpoint: Endpoint) -> str:
    """The key of the file that holds what the server refuses; `buses.NAME.auth` where nothing is given."""
    auth = config.auth
    for name, value in (("creds", auth.creds), ("nkey_seed_file", auth.nkey_seed_file), ("token", auth.token)):
        if value is not None:
            return f"buses.{bus}.auth.{name}"
    if auth.user is not None:
        return f"buses.{bus}.auth.password"
    return f"buses.{bus}.url" if endpoint.user else f"buses.{bus}.auth"


def _credentials(bus: str, auth: AuthConfig, endpoint: Endpoint) -> dict[str, Any]:
    key = f"buses.{bus}.auth"
    if auth.creds is not None:
        return {"user_credentials": RawCredentials(_credentials_text(f"{key}.creds", auth.creds))}
    if auth.nkey_seed_file is not None:
        return {"nkeys_seed_str": _seed(f"{key}.nkey_seed_file", auth.nkey_seed_file)}
    if auth.token is not None:
        return {"token": auth.token.get_secret_value()}
    if auth.user is not None:
        return {"user": auth.user, "password": auth.password.get_secret_value() if auth.password else ""}
    if endpoint.password:
        return {"user": endpoint.user, "password": endpoint.password}
    return {"token": endpoint.user} if endpoint.user else {}


def _endpoint(bus: str, url: str) -> Endpoint:
    key = f"buses.{bus}.url"
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        host, port = parts.hostname, parts.port or _DEFAULT_PORT
    except ValueError:
        # Whose text quotes what it takes for the port: with a "/" or "#" in a password that is the password.
        text = (
            "an address can't be read: write it as nats://HOST:PORT, and what is no letter or digit in its user or "
            "password as %2F"
        )
        raise _problem(key, text) from None
    if parts.scheme not in ("nats", "tls") or not host:
        raise _problem(key, f"{parts.scheme}://{host or ''} can't be used; write nats://HOST:PORT or tls://HOST:PORT")
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # nats-py would send the credentials of a url as they stand, percent signs included.
    return Endpoint(f"{parts.scheme}://{netloc}", host, unquote(parts.username or ""), unquote(parts.password or ""))


def _credentials_text(key: str, path: Path) -> str:
    """A credentials file, checked: in one without its two sections nats-py would search for ever."""
    text = _read(key, path)
    lines = [line.strip() for line in text.splitlines()]
    for section in ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"):
        at = next((i for i, line in enumerate(lines) if section in line), None)
        if at is None or at + 1 >= len(lines) or not lines[at + 1]:
            raise _problem(key, f'{path} is not a credentials file: there is nothing under "{section}"')
        if section == "BEGIN USER NKEY SEED":
            _check_seed(key, path, lines[at + 1])
    return "\n".join([*lines, ""])


def _seed(key: str, path: Path) -> str:
    seed = _read(key, path).strip()
    _check_seed(key, path, seed)
    return seed


def _check_seed(key: str, path: Path, seed: str) -> None:
    import nkeys  # costs 20 ms, and most buses do without

    try:
        nkeys.from_seed(bytearray(seed.encode())).wipe()
    except (nkeys.NkeysError, ValueError):
        raise _problem(key, f"{path} does not hold an nkey seed (a line that begins with SU)") from None


def _context(key: str, tls: TlsConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError as error:
        raise _unreadable(f"{key}.ca", tls.ca, error, "certificate authority") from None
    if tls.cert is not None:
        try:
            # The password callback keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
        except OSError as error:
            named = f"{tls.cert} with {tls.key}" if tls.key else tls.cert
            raise _unreadable(f"{key}.cert", named, error, "client certificate and its key") from None
    return context


def _unreadable(key: str, path: object, error: OSError, what: str) -> ConfigError:
    why = "not PEM of a" if isinstance(error, ssl.SSLError) else f"{error.strerror or error}; it should be the"
    return _problem(key, f"{path} can't be used: {why} {what}")


def _read(key: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise _problem(key, f"{path} can't be read: {why}") from None


def _problem(key: str, text: str) -> ConfigError:
    return ConfigError([Problem("", key, text)])


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
