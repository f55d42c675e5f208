"""Keys, JWTs and certificates, made when a test runs."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import nkeys

_UNLIMITED = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
_JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


def new_key(prefix: int) -> Any:
    """A key pair: `nkeys.PREFIX_BYTE_USER` and the like."""
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), prefix)))


def public(key: Any) -> str:
    """The public key as text."""
    text: str = key.public_key.decode()
    return text


class Operator:
    """An operator with one account, as `nsc` would make them; signs JWTs by hand (NATS JWT v2)."""

    def __init__(self) -> None:
        self._operator = new_key(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = new_key(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system = new_key(nkeys.PREFIX_BYTE_ACCOUNT)  # JetStream wants one

    def server_config(self) -> str:
        """What a server that trusts this operator is configured with."""
        operator = _jwt(self._operator, self._operator, {"type": "operator", "version": 2})
        limits = {**_UNLIMITED, **_JETSTREAM, "wildcards": True}
        system = self._account_jwt(self._system, {**_UNLIMITED, "wildcards": True})
        account = self._account_jwt(self._account, limits)
        return (
            f"operator: {operator}\nresolver: MEMORY\nsystem_account: {public(self._system)}\n"
            f"resolver_preload: {{ {public(self._account)}: {account}, {public(self._system)}: {system} }}\n"
        )

    def _account_jwt(self, account: Any, limits: dict[str, Any]) -> str:
        return _jwt(self._operator, account, {"type": "account", "version": 2, "limits": limits})

    def creds(self, path: Path, *, valid: float | None = None) -> Path:
        """Write a user's credentials file; `valid` is how many seconds its JWT lasts."""
        user = new_key(nkeys.PREFIX_BYTE_USER)
        limits = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
        jwt = _jwt(self._account, user, limits, expires=None if valid is None else int(time.time() + valid))
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n",
            encoding="utf-8",
        )
        return path


def _jwt(issuer: Any, subject: Any, claims: dict[str, Any], expires: int | None = None) -> str:
    body = {
        "jti": base64.b32encode(os.urandom(32)).decode().rstrip("="),
        "iat": int(time.time()),
        "iss": public(issuer),
        "name": "test",
        "sub": public(subject),
        "nats": claims,
    }
    if expires is not None:
        body["exp"] = expires
    signed = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
    signature = base64.urlsafe_b64encode(issuer.sign(signed.encode())).decode().rstrip("=")
    return f"{signed}.{signature}"


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


class Certificates(NamedTuple):
    """PEM files of a little authority: itself, a server's and a client's certificate with their keys."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    @classmethod
    def make(cls, folder: Path, *names: str) -> Certificates:
        """Make them with the `openssl` command.

        Args:
            folder: where to.
            names: what the server's certificate stands for, as `DNS:localhost`.
        """
        ca = _self_signed(folder, "ca")
        files = [ca[0]]
        for name, alternatives in (("server", ",".join(names)), ("client", "DNS:client")):
            files += _signed(folder, name, ca, alternatives)
        return cls(*files)

    def server_config(self, more: str = "") -> str:
        """A server's `tls` block."""
        return f'tls {{ cert_file: "{self.server}", key_file: "{self.server_key}", ca_file: "{self.ca}"\n {more} }}\n'


def _self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    extension = ("-addext", "keyUsage=critical,keyCertSign")
    _openssl("req", "-x509", *_new_key(key), "-out", certificate, "-subj", f"/CN={name}", "-days", "2", *extension)
    return certificate, key


def _signed(folder: Path, name: str, ca: tuple[Path, Path], alternatives: str) -> tuple[Path, Path]:
    certificate, key, request = (folder / f"{name}.{ending}" for ending in ("pem", "key", "csr"))
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={alternatives}\n", encoding="utf-8")
    _openssl("req", *_new_key(key), "-out", request, "-subj", f"/CN={name}")
    signing = ("-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial", "-days", "2", "-extfile", extensions)
    _openssl("x509", "-req", "-in", request, "-out", certificate, *signing)
    return certificate, key


def _new_key(path: Path) -> tuple[str | Path, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
