"""A closed schema of NACK's Stream and Consumer, after deploy/crds.yml of nats-io/nack (commit f6dad09); stricter where
its defaults lose data."""

from __future__ import annotations

from typing import Any

_TEXT, _WHOLE, _TRUTH = {"type": "string"}, {"type": "integer", "minimum": -1}, {"type": "boolean"}
_GO = {"type": "string", "pattern": r"^(\d+(\.\d+)?(ns|us|ms|s|m|h))+$"}
_TEXTS = {"type": "array", "items": _TEXT}
_METADATA = {"type": "object", "additionalProperties": _TEXT}


def _closed(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _all(kind: dict[str, Any], names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), kind)


def _one_of(words: str) -> dict[str, Any]:
    return {"enum": words.split()}


_TRANSFORM = _closed("source dest", source=_TEXT, dest=_TEXT)
_SOURCE = _closed(
    "name",
    **_all(_TEXT, "name optStartTime filterSubject externalApiPrefix externalDeliverPrefix"),
    optStartSeq=_WHOLE,
    subjectTransforms={"type": "array", "items": _TRANSFORM},
)
_OURS = {"servers": _TEXTS, "preventDelete": {"const": True}}
_STREAM = _closed(
    "name retention storage discard replicas servers preventDelete",
    **_all(_TEXT, "name description"),
    **_all(_WHOLE, "maxConsumers maxMsgs maxBytes maxMsgsPerSubject maxMsgSize firstSequence"),
    **_all(_TRUTH, "discardPerSubject noAck sealed denyDelete denyPurge allowRollup allowDirect mirrorDirect"),
    **_all(_TRUTH, "allowMsgTtl allowMsgCounter allowAtomicPublish allowMsgSchedules"),
    **_all(_GO, "maxAge duplicateWindow subjectDeleteMarkerTtl"),
    subjects=_TEXTS,
    retention=_one_of("limits interest workqueue"),
    storage=_one_of("file memory"),
    discard=_one_of("old new"),
    replicas={"type": "integer", "minimum": 1, "maximum": 5},
    placement=_closed(cluster=_TEXT, tags=_TEXTS),
    mirror=_SOURCE,
    sources={"type": "array", "items": _SOURCE},
    compression=_one_of("none s2"),
    subjectTransform=_TRANSFORM,
    republish=_closed("source destination", source=_TEXT, destination=_TEXT),
    persistMode=_one_of("default async"),
    consumerLimits=_closed(inactiveThreshold=_GO, maxAckPending=_WHOLE),
    metadata=_METADATA,
    **_OURS,
)
_CONSUMER = _closed(
    "durableName streamName deliverPolicy ackPolicy ackWait maxDeliver replicas servers preventDelete",
    **_all(_TEXT, "durableName streamName description optStartTime filterSubject sampleFreq pauseUntil"),
    **_all(_WHOLE, "optStartSeq maxDeliver maxAckPending maxWaiting maxRequestBatch maxRequestMaxBytes replicas"),
    **_all(_TRUTH, "headersOnly memStorage"),
    **_all(_GO, "ackWait maxRequestExpires inactiveThreshold pinnedTtl"),
    deliverPolicy=_one_of("all last new byStartSequence byStartTime lastPerSubject"),
    ackPolicy=_one_of("explicit all none"),
    backoff={"type": "array", "items": _GO},
    filterSubjects=_TEXTS,
    replayPolicy=_one_of("instant original"),
    priorityPolicy=_one_of("none overflow pinned_client prioritized"),
    priorityGroups=_TEXTS,
    metadata=_METADATA,
    **_OURS,
)


def _object(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = _closed("name namespace labels", name=_TEXT, namespace=_TEXT, labels=_METADATA)
    return _closed(
        "apiVersion kind metadata spec",
        apiVersion={"const": "jetstream.nats.io/v1beta2"},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )


SCHEMA = {"oneOf": [_object("Stream", _STREAM), _object("Consumer", _CONSUMER)]}
