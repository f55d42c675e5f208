"""Configurations of many kinds, for what must hold of all that is rendered."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from eventbus_runtime.provisioning.findings import Level
from eventbus_runtime.provisioning.render import renderer
from tests.provisioning.deployments import findings_of, inputs_of

COMPOSE, APP = "self_hosted", "digitalocean.app_platform"

_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,12}[a-z0-9])", fullmatch=True)
_COMMENTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")))
_BYTES = st.sampled_from(["4Gi", "8Gi", "16GiB", "5000000000"])
_IMAGES = st.sampled_from(["acme/shop:1", "ghcr.io/acme/shop:1.4.2", "acme/$shop:1"])
_FOLDERS = st.sampled_from(["/", "/srv/it's here", "/$HOME"])


def toml(tables: dict[str, dict[str, Any]]) -> str:
    """Tables of plain values."""
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


@st.composite
def files(draw: st.DrawFn, target: str = "") -> str:  # long: one table
    """A file with a bus, and perhaps a stream, a worker, and what targets take.

    Args:
        draw: of hypothesis.
        target: where most of it works; left out: much of it works nowhere.
    """

    def some(**values: st.SearchStrategy[Any]) -> dict[str, Any]:
        return {key: draw(value) for key, value in values.items() if draw(st.booleans())}

    bus, ephemeral = draw(_NAMES), draw(st.booleans())
    replicas, storage = [0, 1, 3, 5], st.integers(1, 3 << 29)
    if target == APP:
        replicas = [0, 1] if ephemeral else [0, 1, 2, 3]
    jetstream = some(enabled=st.booleans(), max_memory_bytes=st.integers(0, 1 << 30))
    app = some(name=_NAMES, region=st.sampled_from(["fra", "nyc"]))
    app |= {"allow_ephemeral": True} if ephemeral else {"external_url_secret": "NATS_URL"}
    worker = {"image": draw(_IMAGES)} if draw(st.booleans()) or not ephemeral else {}
    tables = {
        "runtime": some(http=st.sampled_from([":8080", "127.0.0.1:9000"]), shutdown_timeout=st.sampled_from([0, "9m"])),
        f"buses.{bus}": some(version=st.sampled_from(["2.12.8", "2.14"]), replicas=st.sampled_from(replicas)),
        f"buses.{bus}.jetstream": {"max_storage_bytes": draw(storage), **jetstream},
        f"buses.{bus}.limits": some(cpu=st.sampled_from(["500m", "2", "7.5"]), memory=_BYTES, storage=_BYTES),
        "deploy.worker": worker
        | some(
            name=_NAMES,
            folder=_FOLDERS,
            replicas=st.integers(1, 5),
            cpu=st.sampled_from(["1", "250m", "4"]),
            memory=_BYTES,
            creds_secret=st.sampled_from(["", "1-creds", "./creds/one"]),
        ),
        "deploy.compose": some(
            project=_NAMES, host_port_base=st.integers(1, 65535), auth_secret=st.sampled_from(["", "auth.conf", "/a"])
        ),
        "deploy.app_platform": app,
    }
    if not target:
        tables["deploy.worker"] |= some(folder=st.just("app"), image=st.just("quay.io/a b:2"), cpu=st.just("16"))
        tables[f"buses.{bus}.limits"] |= some(cpu=st.just("99"), storage=st.just("1Ki"))
        tables["streams.S"] = {"bus": bus, "subjects": ["s.>"], **some(num_replicas=st.integers(1, 5))}
        tables["deploy.app_platform"] |= some(size=st.just("big"), external_url_secret=st.just("x y"))
    return f"{toml(tables)}# {draw(_COMMENTS)}\n"


def rendered(toml: str, target: str) -> dict[str, str]:
    """What is written; only of files that nothing speaks against."""
    assume(not [one for one in findings_of(toml, target) if one.level is Level.ERROR])
    return dict(renderer(target).files(inputs_of(toml, target)))
