"""What the process says of itself: manifest, types, schemas of the modules, contracts (S-40, S-60, S-61)."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.metadata import version
from typing import Any

from eventbus_runtime.contracts.fields import Contract, Field, fields
from eventbus_runtime.contracts.model import PACKAGE, Message
from eventbus_runtime.contracts.registry import BUS, CONSUMER, CONTRACTS, STREAM, SUBSCRIBE, Spec
from eventbus_runtime.contracts.wire import file_descriptor_set, full_name
from eventbus_runtime.plugin.messages import Proto, message, number

NAME = "workflow-plugin-eventbus"
AUTHOR = "eventbus-runtime"
DESCRIPTION = (
    "Event bus over NATS JetStream: provisioned streams and consumers, publish, consume and ack steps, triggers."
)
ENGINE = "0.53.0"
"""The oldest release of the engine that it is for."""

ALIASES = {"eventbus.broker": BUS, "eventbus.stream": STREAM, "eventbus.consumer": CONSUMER}
"""What later releases of the origin call the modules."""

MODULE_TYPES = (BUS, STREAM, CONSUMER, SUBSCRIBE, *ALIASES)
STEP_TYPES = tuple(spec.name for spec in CONTRACTS if spec.kind == "step")
TRIGGER_TYPES = (SUBSCRIBE,)

_REQUIRED = {
    BUS: {"provider", "deploy_target"},
    STREAM: {"name", "subjects"},
    CONSUMER: {"name", "stream_name"},
    SUBSCRIBE: {"name", "stream_name"},
}
_LABELS = {
    BUS: "Event bus",
    STREAM: "Event bus stream",
    CONSUMER: "Event bus consumer",
    SUBSCRIBE: "Event bus subscription",
}
_KINDS = {"string": "string", "bytes": "string", "bool": "boolean", "int32": "number", "int64": "number", "map": "map"}
_RELEASE = re.compile(r"\d+(?:\.\d+){0,2}")


@cache
def plugin_version() -> str:
    """Our version as the host's semantic version: the release, three numbers."""
    found = _RELEASE.match(version("eventbus-runtime"))
    parts = (found[0] if found else "0").split(".")
    return ".".join([*parts, "0", "0"][:3])


def manifest() -> Proto:
    """Who this is."""
    return message("Manifest")(name=NAME, version=plugin_version(), author=AUTHOR, description=DESCRIPTION)


def contract_registry() -> Proto:
    """The seven contracts, all strict, and every protobuf file that their messages need."""
    files = file_descriptor_set().SerializeToString(deterministic=True)
    digest = f"sha256:{hashlib.sha256(files).hexdigest()}"
    registry = message("ContractRegistry")(contracts=[_contract(spec, digest) for spec in CONTRACTS])
    registry.file_descriptor_set.MergeFromString(files)
    return registry


def _contract(spec: Spec, digest: str) -> Proto:
    names = {side: full_name(held) for side in ("config", "input", "output") if (held := getattr(spec, side))}
    used = list(names.values())
    if spec.kind == "step":
        # The engine sends every strict step a typed config, and fails where that has no name. What a workflow writes as
        # a step's config are fields of its input.
        names["config"] = names["input"]
    return message("ContractDescriptor")(
        kind=number("ContractKind", f"CONTRACT_KIND_{spec.kind.upper()}"),
        mode=number("ContractMode", "CONTRACT_MODE_STRICT_PROTO"),
        proto_package=PACKAGE,
        message_names=used,
        schema_digest=digest,
        protocol_version="1",
        **{f"{spec.kind}_type": spec.name},
        **{f"{side}_message": name for side, name in names.items()},
    )


def module_schemas() -> Proto:
    """What the engine's editor shows of the module types."""
    schemas = []
    for kind in MODULE_TYPES:
        known = ALIASES.get(kind, kind)
        config = next(spec.config for spec in CONTRACTS if spec.name == known)
        assert config is not None, f"{known} has a config"
        schema = message("ModuleSchema")(
            type=kind,
            label=_LABELS[known],
            category="triggers" if known == SUBSCRIBE else "messaging",
            description=(config.__doc__ or "").strip(),
            config_fields=[_field(field, config, known) for field in fields(config)],
        )
        if known == SUBSCRIBE:
            schema.outputs.add(name="message", type=full_name(Message), description=(Message.__doc__ or "").strip())
        schemas.append(schema)
    return message("ModuleSchemaList")(schemas=schemas)


def _field(field: Field, config: type[Contract], kind: str) -> Proto:
    described: dict[str, Any] = {"type": _KINDS.get(field.kind, "json")}
    if field.kind == "enum" and field.type is not None:
        described = {"type": "select", "options": [value.name for value in field.type]}  # type: ignore[union-attr]  # an enum
    elif field.kind == "message" and field.type is not None and field.type.__name__ == "Duration":
        described = {"type": "duration"}
    if field.repeated:
        described = {"type": "array"}
    required = field.name in _REQUIRED[kind]
    return message("ConfigFieldDef")(name=field.name, description=field.text, required=required, **described)
