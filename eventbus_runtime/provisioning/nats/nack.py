"""Streams and consumers as objects of NACK, `jetstream.nats.io/v1beta2`.

NACK's own defaults lose data: storage memory, ackPolicy none, ackWait 1ns, one replica. So what they would stand for is
always written. An API server drops the keys that NACK's definitions (deploy/crds.yml) do not have: those are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.provisioning.findings import Finding, error
from eventbus_runtime.provisioning.inputs import Inputs
from eventbus_runtime.provisioning.nats import conf
from eventbus_runtime.provisioning.nats.k8s_objects import Body, bus_selector, described, namespace
from eventbus_runtime.provisioning.renderer import Manifest

_VERSION = "jetstream.nats.io/v1beta2"
_OTHER_NAMES = {
    # of streams
    "allow_atomic": "allowAtomicPublish",
    "allow_rollup_hdrs": "allowRollup",
    "discard_new_per_subject": "discardPerSubject",
    "first_seq": "firstSequence",
    "num_replicas": "replicas",
    # of consumers
    "max_batch": "maxRequestBatch",
    "max_expires": "maxRequestExpires",
    "priority_timeout": "pinnedTtl",
}
_DURATIONS = {
    "ack_wait",
    "backoff",
    "duplicate_window",
    "inactive_threshold",
    "max_age",
    "max_expires",
    "priority_timeout",
    "subject_delete_marker_ttl",
}
_UNKNOWN_OF_STREAMS = {"allow_batched"}
_POLICIES = {
    "by_start_sequence": "byStartSequence",
    "by_start_time": "byStartTime",
    "last_per_subject": "lastPerSubject",
}


def nack_manifests(inputs: Inputs) -> list[Manifest]:
    """An object for each stream and consumer that is declared; none unless `deploy.kubernetes.nack`."""
    if not inputs.deploy.kubernetes.nack:
        return []
    return [
        *(
            Manifest("infra.k8s.nack_stream", _name(inputs, name), _stream(inputs, name, stream))
            for name, stream in inputs.streams.items()
            if stream.declare
        ),
        *(
            Manifest("infra.k8s.nack_consumer", _name(inputs, name), _consumer(inputs, name, consumer))
            for name, consumer in inputs.consumers.items()
            if consumer.declare
        ),
    ]


def nack_findings(inputs: Inputs) -> Iterator[Finding]:
    """What NACK can't hold."""
    for section, objects in (("streams", inputs.streams), ("consumers", inputs.consumers)):
        names: dict[str, str] = {}
        for name, one in objects.items():
            if not one.declare:
                continue
            other = names.setdefault(_name(inputs, name), name)
            if other != name:
                text = f"and {other} would be one object of NACK, {_name(inputs, name)}; rename one"
                yield error(f"{section}.{name}", text)
            for key in _unknown(one):
                cure = "leave it out, or nack = false"
                yield error(f"{section}.{name}.{key}", f"has no place in an object of NACK; {cure}")


def _unknown(one: StreamConfig | ConsumerConfig) -> Iterator[str]:
    if isinstance(one, ConsumerConfig):
        return
    yield from sorted(one.model_fields_set & _UNKNOWN_OF_STREAMS)
    if one.republish and one.republish.headers_only:
        yield "republish.headers_only"
    for source in (*one.sources, *((one.mirror,) if one.mirror else ())):
        if source.consumer:
            yield "mirror.consumer" if source is one.mirror else "sources.consumer"


def _name(inputs: Inputs, name: str) -> str:
    """Name of an object: those of streams may have capitals, and more that Kubernetes has not."""
    return f"{inputs.bus}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'x'}"


def _object(inputs: Inputs, kind: str, name: str, spec: Body) -> Body:
    ours = {"preventDelete": True, "servers": [f"nats://{inputs.bus}.{namespace(inputs)}.svc:{conf.CLIENTS}"]}
    return {
        **described(_VERSION, kind, _name(inputs, name), inputs, bus_selector(inputs)),
        "spec": {**spec, **ours},
    }


def _stream(inputs: Inputs, name: str, stream: StreamConfig) -> Body:
    always = {
        "retention": stream.retention,
        "storage": stream.storage,
        "discard": stream.discard,
        "num_replicas": max(1, stream.num_replicas),
    }
    fields = {key: one for key, one in stream.to_server(name).items() if key not in _UNKNOWN_OF_STREAMS}
    return _object(inputs, "Stream", name, _spec({**fields, **always}))


def _consumer(inputs: Inputs, name: str, consumer: ConsumerConfig) -> Body:
    always = {
        "deliver_policy": _POLICIES.get(consumer.deliver_policy, consumer.deliver_policy),
        "ack_wait": consumer.backoff[0] if consumer.backoff else consumer.ack_wait,
        "replay_policy": consumer.replay_policy,
        "max_ack_pending": consumer.max_ack_pending,
        "max_waiting": consumer.max_waiting,
        "num_replicas": consumer.num_replicas,
    }
    fields = {key: value for key, value in consumer.to_server(name).items() if key != "name"}
    spec = _spec({**fields, **always})
    if "maxBytes" in spec:  # a stream's key of that name is another thing
        spec["maxRequestMaxBytes"] = spec.pop("maxBytes")
    return _object(inputs, "Consumer", name, {"streamName": consumer.stream, **spec})


def _spec(fields: dict[str, Any]) -> Body:
    """The server's JSON in NACK's words."""
    return {_OTHER_NAMES.get(key) or _camel(key): _value(key, value) for key, value in fields.items()}


def _value(key: str, value: Any) -> Any:
    if key in _DURATIONS:
        return [_go(one) for one in value] if isinstance(value, list) else _go(value)
    if key == "metadata":
        return value
    if key == "mirror":
        return _source(value)
    if key == "sources":
        return [_source(one) for one in value]
    if key == "subject_transform":
        return _transform(value)
    if key == "republish":
        return {"source": value.get("src", ">"), "destination": value["dest"]}
    return _spec(value) if isinstance(value, dict) else value


def _source(source: dict[str, Any]) -> Body:
    external = source.get("external", {})
    plain = {key: one for key, one in source.items() if key not in ("external", "subject_transforms", "consumer")}
    found = _spec(plain)
    for key, name in (("api", "externalApiPrefix"), ("deliver", "externalDeliverPrefix")):
        if external.get(key):
            found[name] = external[key]
    if "subject_transforms" in source:
        found["subjectTransforms"] = [_transform(one) for one in source["subject_transforms"]]
    return found


def _transform(transform: dict[str, Any]) -> Body:
    return {"source": transform["src"], "dest": transform["dest"]}


def _camel(key: str) -> str:
    first, *others = key.split("_")
    return first + "".join(part.capitalize() for part in others)


def _go(nanoseconds: int) -> str:
    """A duration as Go reads it, which knows no days."""
    return f"{nanoseconds // 10**9}s" if nanoseconds % 10**9 == 0 else f"{nanoseconds}ns"
