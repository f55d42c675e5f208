"""Whatever is asked for: what is written is the same each time, whole, quoted, fits itself, and holds no secret."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.config.deploy import DeployConfig
from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.provisioning.findings import Level
from eventbus_runtime.provisioning.inputs import Inputs, resolve
from eventbus_runtime.provisioning.nats import eks, kubernetes
from tests.provisioning.k8s_lint import lint

SECRET = "s3cr3t-0f-the-bus"

_labels = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
_names = st.from_regex(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True)
_values = st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", fullmatch=True)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
_amounts = st.integers(1, 1 << 44)
_asset_names = st.text(string.ascii_letters + string.digits + "_-é!", min_size=1, max_size=20)


@st.composite
def _streams(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(_asset_names, max_size=4, unique=True))
    return {
        name: {
            "bus": "",
            "subjects": [f"s{number}.>"],
            "storage": draw(st.sampled_from(["file", "memory"])),
            "num_replicas": draw(st.integers(0, 5)),
            "max_age": draw(st.integers(0, 10**6)),
            "description": draw(_texts),
        }
        for number, name in enumerate(names)
    }


@st.composite
def _deploy(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "worker": {
            "name": draw(st.none() | _labels.map("w-{}".format)),
            "image": draw(st.none() | st.just("shop:1")),
            "folder": draw(st.sampled_from(["/app", "/", "", "/a b/"])),
            "replicas": draw(st.integers(1, 100)),
            "creds_secret": draw(st.none() | st.just("") | _labels),
        },
        "kubernetes": {
            "namespace": draw(_labels),
            "labels": draw(st.dictionaries(_labels, _values, max_size=3)),
            "storage_class": draw(st.none() | _labels),
            "spread": draw(st.sampled_from(["hard", "soft"])),
            "nack": draw(st.booleans()),
            "reload": draw(st.sampled_from(["rollout", "sidecar"])),
            "auth_secret": draw(st.none() | st.just("") | _labels),
        },
        "eks": {
            "zones": draw(st.lists(_labels, max_size=4)),
            "auto_mode": draw(st.booleans()),
            "iops": draw(st.none() | st.integers(3000, 80_000)),
            "throughput": draw(st.none() | st.integers(125, 2000)),
        },
    }


@st.composite
def _inputs(draw: st.DrawFn) -> Inputs:
    bus, streams = draw(_names), draw(_streams())
    for stream in streams.values():
        stream["bus"] = bus
    config = RuntimeConfig.model_validate(
        {
            "runtime": {"http": f"127.0.0.1:{draw(st.integers(0, 65535))}", "http_token": SECRET},
            "buses": {
                bus: {
                    "url": [f"nats://user:{SECRET}@127.0.0.1:4222"],
                    "auth": {"user": "user", "password": SECRET},
                    "jetstream": {
                        "enabled": draw(st.booleans()),
                        "max_storage_bytes": draw(st.integers(-1, 1 << 40)),
                        "max_memory_bytes": draw(st.integers(-1, 1 << 40)),
                    },
                }
            },
            "streams": streams,
            "deploy": draw(_deploy()),
        }
    )
    found = resolve(config, bus, "kubernetes", text=draw(_texts), where="app.toml")
    return replace(found, replicas=draw(st.integers(1, 7)), cpu=draw(_amounts), memory=draw(_amounts))


@pytest.mark.parametrize("renderer", [kubernetes.RENDERER, eks.RENDERER], ids=["kubernetes", "eks"])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_anything(renderer: kubernetes.Kubernetes, data: st.DataObject) -> None:
    inputs = data.draw(_inputs())
    files = renderer.files(inputs)
    assert renderer.files(replace(inputs, deploy=DeployConfig(**inputs.deploy.model_dump()))) == files
    bodies = [one.body for one in renderer.manifests(inputs)]
    assert [one for text in files.values() for one in yaml.safe_load_all(text)] == bodies
    assert [one for one in lint(bodies) if not one.startswith(("Stream ", "Consumer "))] == []
    assert not any(SECRET in text for text in files.values())
    plain = {
        token.value
        for text in files.values()
        for token in yaml.scan(text)
        if isinstance(token, yaml.ScalarToken) and token.plain
    }
    assert {value for value in plain if not value.lstrip("-").isdigit()} <= {"true", "false"}


@settings(deadline=None)
@given(inputs=_inputs())
def test_names_that_would_be_one_object_are_always_refused(inputs: Inputs) -> None:
    doubled = [one for one in lint(m.body for m in kubernetes.RENDERER.manifests(inputs)) if "more than once" in one]
    refused = [one for one in kubernetes.RENDERER.findings(inputs) if "would be one object" in one.text]
    assert bool(doubled) == bool(refused)
    assert all(one.level is Level.ERROR for one in refused)
