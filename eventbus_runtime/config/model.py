"""The configuration as frozen values. Each field's text stands here once; schema, docs and errors take it from here.

A `RuntimeConfig` that the loader returns is complete: names that the short form leaves out (bus, stream, consumer,
pipeline of a trigger) are filled in, and every reference holds.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr

from eventbus_runtime.config.deploy import DeployConfig
from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.config.section import FilePath, Section, Texts
from eventbus_runtime.config.steps import PipelineConfig
from eventbus_runtime.config.units import Bytes, Seconds

EMBEDDED = "embedded"
"""The address of a private server."""


def _mask(urls: tuple[str, ...]) -> list[str]:
    """Addresses without the credentials that may stand in them."""
    return [re.sub(r"//.*@", "//********@", url) for url in urls]


def _check_address(value: str) -> str:
    found = re.fullmatch(r"(?:\[[^]]*\]|[^:]*):(\d{1,5})", value, re.ASCII)
    if not found or int(found[1]) > 65535:
        raise ValueError(
            f'"{value}" is no address; expected host and port, as "127.0.0.1:8080", "[::1]:8080" or ":8080"'
        )
    return value


class RuntimeSection(Section):
    """`[runtime]`"""

    imports: Texts | None = Field(
        None,
        description="Modules, or files relative to the configuration, that register pipelines. "
        "Left out: handlers.py beside the file, if it is there.",
    )
    workers: int = Field(
        1, ge=1, description="Processes; each runs every trigger, and JetStream shares the load between them."
    )
    shutdown_timeout: Seconds = Field(
        30.0, description="How long running handlers may go on after a stop was asked for."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level that is logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto is console on a terminal, else JSON."
    )
    http: Annotated[str, AfterValidator(_check_address)] | None = Field(
        None, description='Address of /livez, /readyz, /metrics and /status, as "127.0.0.1:8080".'
    )
    http_token: SecretStr | None = Field(
        None, description="Bearer token that opens /status when bound beyond loopback."
    )
    http_public: bool = Field(
        False, description="Open /status without a token when bound beyond loopback (reads only)."
    )
    listeners: Texts = Field((), description='The user\'s events.Listener objects, as "package.module:name".')


class AuthConfig(Section):
    """`[buses.NAME.auth]`: one of user and password, token, nkey_seed_file, creds."""

    user: str | None = Field(None, description="User name; goes with password.")
    password: SecretStr | None = Field(None, description="Password; goes with user.")
    token: SecretStr | None = Field(None, description="Token.")
    nkey_seed_file: FilePath | None = Field(None, description="File that holds an nkey seed.")
    creds: FilePath | None = Field(None, description="Credentials file (JWT and seed), as nsc writes it.")


class TlsConfig(Section):
    """`[buses.NAME.tls]`"""

    ca: FilePath | None = Field(None, description="Certificate authority to trust, PEM; left out: the system's.")
    cert: FilePath | None = Field(None, description="Our client certificate, PEM; goes with key.")
    key: FilePath | None = Field(None, description="Private key of the client certificate, PEM.")
    hostname: str | None = Field(
        None, description="Name that the server's certificate must bear; left out: the url's host."
    )
    handshake_first: bool = Field(
        False, description="Encrypt before the server's greeting (server 2.10.4, `handshake_first`)."
    )


class JetStreamLimits(Section):
    """`[buses.NAME.jetstream]`: for provisioning, and for an embedded server."""

    enabled: bool = Field(True, description="Whether the provisioned server has JetStream.")
    max_storage_bytes: Bytes = Field(0, description="Most bytes on disk; 0: the server's own choice.")
    max_memory_bytes: Bytes = Field(0, description="Most bytes in memory; 0: the server's own choice.")


class ResourceLimits(Section):
    """`[buses.NAME.limits]`: for provisioning."""

    cpu: str = Field("", description='Processor share, as "500m".')
    memory: str = Field("", description='Memory, as "512Mi".')
    storage: str = Field("", description='Disk, as "10Gi".')


class BusConfig(Section):
    """`[buses.NAME]`: one broker connection."""

    provider: str = Field("nats", description="What kind of broker it is.")
    url: Annotated[Texts, PlainSerializer(_mask, return_type=list[str], when_used="json")] = Field(
        (),
        description='Address or addresses, as "nats://127.0.0.1:4222"; "embedded" starts a private server. '
        "Left out: EVENTBUS_<NAME>_URI, else NATS_URL.",
    )
    store: FilePath | None = Field(
        None, description="Where an embedded server keeps its data; left out: nowhere after the end."
    )
    server: FilePath | None = Field(
        None,
        description="nats-server binary of an embedded bus; left out: EVENTBUS_NATS_SERVER, "
        "beside the interpreter, on PATH.",
    )
    name: str | None = Field(
        None, description="Connection name, as the server's monitoring shows it; left out: the bus's name."
    )
    inbox_prefix: str = Field("_INBOX", description="First part of our reply subjects.")
    domain: str | None = Field(None, description="JetStream domain.")
    api_prefix: str | None = Field(None, description='JetStream API prefix; left out: "$JS.API", or the domain\'s.')
    connect_timeout: Seconds = Field(5.0, gt=0, description="How long one attempt to connect may take.")
    auth: AuthConfig = Field({}, validate_default=True, description="Credentials.")
    tls: TlsConfig | None = Field(None, description="Encryption.")
    deploy_target: str | None = Field(None, description="Where provisioning puts it, as kubernetes.")
    version: str = Field("", description="Server version that provisioning pins; empty: the one that we test with.")
    replicas: int = Field(0, description="Servers that provisioning makes; 0: one.")
    jetstream: JetStreamLimits = Field({}, validate_default=True, description="JetStream's limits, for provisioning.")
    limits: ResourceLimits = Field({}, validate_default=True, description="Resource limits, for provisioning.")


def uri_variable(bus: str) -> str:
    """The variable that holds a bus's address (S-23)."""
    return f"EVENTBUS_{bus.upper().replace('-', '_').replace('.', '_')}_URI"


class RetryConfig(Section):
    """`retry` of a trigger."""

    delays: tuple[Seconds, ...] = Field(
        (1.0, 5.0, 30.0),
        min_length=1,
        strict=False,
        description="Wait before the second, third … delivery; the last one repeats.",
    )
    jitter: float = Field(0.1, ge=0, le=1, description="Each delay varies by this share, up and down.")


class TriggerConfig(Section):
    """`[triggers.NAME]`: what makes a pipeline run."""

    type: Literal["subscribe"] = Field("subscribe", description="The kind of trigger.")
    enabled: bool = Field(True, description="false: declared, checked, not run.")
    bus: str = Field("", description="The bus; left out: its stream's.")
    stream: str = Field(
        "",
        description="The stream; left out: the consumer's, or the only one whose subjects cover the filters.",
    )
    consumer: str = Field(
        "",
        description="The consumer; left out: the declared one of the trigger's name, else one is declared for it.",
    )
    filter_subjects: Texts = Field((), description="Subjects of the consumer that is declared for it.")
    pipeline: str = Field("", description="The pipeline; left out: the trigger's name.")
    max_in_flight: int = Field(
        256, ge=1, le=100_000, description="Deliveries unsettled at once in this process; never exceeded."
    )
    max_bytes: Bytes | None = Field(None, gt=0, description="Bound of the bytes in flight.")
    batch: Any = Field(None, description="The handler gets a list.")
    ack: Literal["on_success", "manual"] = Field(
        "on_success", description="manual: the handler settles by its Delivery."
    )
    ack_confirm: bool = Field(False, description="Wait for the server's confirmation of each ack.")
    ordering: Literal["none", "key", "strict"] = Field("none", description="Which deliveries wait for each other.")
    ordering_key: str | None = Field(None, description='What makes two deliveries belong together, as "subject:2".')
    timeout: Seconds | None = Field(None, gt=0, description="Time limit per delivery; left out: none.")
    retry: RetryConfig = Field(
        {}, validate_default=True, description="Waits between deliveries of a message that failed."
    )
    dead_letter: str | None = Field(None, description="Subject for what can't be handled; left out: retries never end.")
    declare_dead_letter: bool = Field(
        True,
        description="Give a dead-letter subject that no stream stores a stream of its own, DEAD_<TRIGGER>.",
    )
    attempts: int | None = Field(None, ge=1, description="Deliveries before the dead letter; 5 with one.")
    on_exhausted: Literal["dead_letter", "terminate"] = Field(
        "dead_letter", description="terminate: drop what used up its attempts."
    )
    filter: dict[str, str] = Field(
        {},
        description='Deliveries that do not match are acknowledged unseen, as { "header:type" = "invoice" }.',
    )
    filter_discards: bool = Field(False, description="Allow `filter` where acknowledging unseen deletes for others.")


class RuntimeConfig(Section):
    """The whole file."""

    runtime: RuntimeSection = Field({}, validate_default=True, description="The process.")
    buses: dict[str, BusConfig] = Field({}, description="Broker connections, by name.")
    streams: dict[str, StreamConfig] = Field({}, description="Streams, by name.")
    consumers: dict[str, ConsumerConfig] = Field({}, description="Consumers, by name.")
    triggers: dict[str, TriggerConfig] = Field({}, description="Triggers, by name.")
    pipelines: dict[str, PipelineConfig] = Field({}, description="Pipelines made of steps, by name.")
    deploy: DeployConfig = Field({}, validate_default=True, description="Inputs of provisioning, by target.")
