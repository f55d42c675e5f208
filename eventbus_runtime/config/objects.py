"""Streams and consumers by the server's own field names (`server/stream.go` and `server/consumer.go`, up to 2.15).

Only what a file sets goes to the server: what it leaves out stays as the server has it, or as the server chooses.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, NoReturn, Self, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from eventbus_runtime.config.units import Bytes, Nanoseconds
from eventbus_runtime.subjects import is_subject

_NOT_IN_NAMES = re.compile(r"[\s.*>/\\]")
_GROUP = re.compile(r"[A-Za-z0-9_/=-]{1,16}")


def check_name(name: str) -> str:
    """Return `name` if a stream or consumer can bear it.

    Raises:
        ValueError: it is empty, longer than 255 characters, or holds what the server refuses (`isValidAssetName`).
    """
    if not name or len(name) > 255 or _NOT_IN_NAMES.search(name):
        raise ValueError(
            f"{name!r} can't be a name: streams and consumers have 1 to 255 characters, "
            "and no spaces, '.', '*', '>', '/' or '\\'"
        )
    return name


def safe_name(text: str) -> str:
    """`text` with `_` for each character that a stream or consumer name can't have."""
    return _NOT_IN_NAMES.sub("_", text)


def too_few_pending(most: int, wanted: int) -> str:
    """What to say of a `max_ack_pending` below what the triggers of its consumer can have in flight."""
    text = f"{most} is less than the {wanted} deliveries that may be in flight (workers x max_in_flight)"
    return f"{text}; the rest of the slots stays empty"


def check_subject(subject: str) -> str:
    """Return `subject` if it can be stored or filtered by; wildcards may be in it.

    Raises:
        ValueError: an empty token, white space, `>` before the end, or a wildcard that is only part of a token: the
            server takes that one by the letter, which nobody means.
    """
    if not is_subject(subject):
        raise ValueError(
            f"{subject!r} is not a subject: tokens joined by single dots, no spaces, and '>' only at the end"
        )
    if any(len(token) > 1 and not {"*", ">"}.isdisjoint(token) for token in subject.split(".")):
        raise ValueError(f"{subject!r} is not a subject: '*' and '>' stand for whole tokens, not for parts of one")
    return subject


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _refuse_push(value: object) -> NoReturn:
    raise ValueError("belongs to push consumers; triggers use pull consumers, so leave it out")


Name: TypeAlias = Annotated[str, AfterValidator(check_name)]
"""A stream's or a consumer's name."""

Subject: TypeAlias = Annotated[str, AfterValidator(check_subject)]
"""A subject, wildcards allowed."""

_T = TypeVar("_T")

Items: TypeAlias = Annotated[tuple[_T, ...], Field(strict=False)]
"""A list of a file, kept as a tuple."""

Subjects: TypeAlias = Annotated[
    Items[Subject],
    BeforeValidator(_as_tuple),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, mode="validation"),
]
"""One subject, or a list of them."""

Timestamp: TypeAlias = Annotated[
    AwareDatetime, Field(strict=False), PlainSerializer(datetime.isoformat, return_type=str)
]
"""A moment, with its offset from UTC."""

_PushOnly: TypeAlias = SkipJsonSchema[Annotated[None, BeforeValidator(_refuse_push)]]


class ServerTable(BaseModel):
    """A table whose keys go to the server as they are; nothing is converted in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True)


class Placement(ServerTable):
    """`placement`: which servers hold a stream."""

    cluster: str = Field("", description="Name of the cluster.")
    tags: Items[str] = Field((), description="Tags that each server must have.")


class SubjectTransform(ServerTable):
    """`subject_transform`: how subjects are rewritten before they are stored."""

    src: str = Field("", description="Subjects that are rewritten; empty: all.")
    dest: str = Field(description='What they become, as "orders.{{wildcard(1)}}".')


class Republish(ServerTable):
    """`republish`: what is stored is also published again."""

    src: str = Field(">", description="Subjects that are published again.")
    dest: str = Field(description="Where they go.")
    headers_only: bool = Field(False, description="Publish the headers without the payload.")


class ConsumerLimits(ServerTable):
    """`consumer_limits`: bounds and defaults of a stream's consumers."""

    inactive_threshold: Nanoseconds = Field(0, description="Longest inactive_threshold, and the default.")
    max_ack_pending: int = Field(0, description="Largest max_ack_pending, and the default.")


class External(ServerTable):
    """`external`: a source in another account or domain."""

    api: str = Field(description='API prefix there, as "$JS.hub.API".')
    deliver: str = Field("", description="Prefix of the subjects by which it delivers.")


class SourceConsumer(ServerTable):
    """`consumer` of a source: a consumer that someone else has made for it (server 2.14)."""

    name: Name = Field(description="Its name.")
    deliver_subject: str = Field(description="The subject to which it delivers.")


class Source(ServerTable):
    """`mirror`, or one of `sources`: a stream whose messages are copied."""

    name: Name = Field(description="The origin stream.")
    opt_start_seq: int = Field(0, ge=0, description="First sequence that is copied.")
    opt_start_time: Timestamp | None = Field(None, description="Copy what was stored since then.")
    filter_subject: Subject | None = Field(None, description="Copy these subjects only.")
    subject_transforms: Items[SubjectTransform] = Field((), description="Copy these subjects only, rewritten.")
    external: External | None = Field(None, description="Where it is, if in another account or domain.")
    consumer: SourceConsumer | None = Field(None, description="A consumer made beforehand to copy with.")


class ServerObject(ServerTable):
    """A stream or a consumer: what goes to the server, and a few keys of ours beside it."""

    declare: bool = Field(True, description="false: attach only, never created or changed.")

    def _set_fields(self, ours: set[str]) -> dict[str, Any]:
        fields = self.model_dump(exclude_unset=True, exclude_none=True, exclude={"declare", *ours})
        return {key: _plain(value) for key, value in fields.items()}

    def _attach_only(self, ours: set[str]) -> None:
        if not self.declare and (extra := sorted(self.model_fields_set - {"declare", *ours})):
            raise ValueError(
                f"declare = false only attaches to what is there, so it can't set {', '.join(extra)}: "
                "leave these out, or leave declare out"
            )


class StreamConfig(ServerObject):
    """`[streams.NAME]`"""

    bus: str = Field("", description="The bus; may be left out when there is exactly one.")
    description: str = Field("", max_length=4096, description="What it is for.")
    subjects: Subjects = Field((), description="Subjects that it stores.")
    retention: Literal["limits", "interest", "workqueue"] = Field("limits", description="When messages go.")
    storage: Literal["file", "memory"] = Field("file", description="Where messages are kept.")
    num_replicas: int = Field(1, ge=0, le=5, description="Servers that keep a copy.")
    max_age: Nanoseconds = Field(0, description="Oldest message kept; 0: no limit.")
    max_bytes: Bytes = Field(-1, description="Most bytes kept; -1: no limit.")
    max_msgs: int = Field(-1, ge=-1, description="Most messages kept; -1: no limit.")
    max_msgs_per_subject: int = Field(-1, ge=-1, description="Most messages kept of each subject; -1: no limit.")
    max_msg_size: Bytes = Field(-1, description="Largest message that is stored; -1: no limit.")
    max_consumers: int = Field(-1, ge=-1, description="Most consumers; -1: no limit.")
    discard: Literal["old", "new"] = Field("old", description="At a limit: delete the oldest, or refuse the new.")
    discard_new_per_subject: bool = Field(False, description="Refuse the new at max_msgs_per_subject too.")
    duplicate_window: Nanoseconds = Field(0, description="How long message ids are remembered; 0: the server's choice.")
    no_ack: bool = Field(False, description="Publishes are not confirmed.")
    compression: Literal["none", "s2"] = Field("none", description="How files are compressed (server 2.10).")
    first_seq: int = Field(0, ge=0, description="Sequence of the first message of a new stream (server 2.10).")
    placement: Placement | None = Field(None, description="Which servers hold it.")
    mirror: Source | None = Field(None, description="The stream that it copies whole.")
    sources: Items[Source] = Field((), description="Streams that it copies from.")
    subject_transform: SubjectTransform | None = Field(None, description="Rewrite of subjects (server 2.10).")
    republish: Republish | None = Field(None, description="Publish again what was stored.")
    allow_direct: bool = Field(False, description="Any replica answers direct gets.")
    mirror_direct: bool = Field(False, description="A mirror answers direct gets for its origin.")
    sealed: bool = Field(False, description="Nothing gets in or out any more; for good.")
    deny_delete: bool = Field(False, description="Messages can't be deleted by the API; for good.")
    deny_purge: bool = Field(False, description="The stream can't be purged by the API; for good.")
    allow_rollup_hdrs: bool = Field(False, description="A message may replace all before it (Nats-Rollup).")
    consumer_limits: ConsumerLimits | None = Field(None, description="Bounds of its consumers (server 2.10).")
    allow_msg_ttl: bool = Field(False, description="Messages may have an age of their own (server 2.11); for good.")
    subject_delete_marker_ttl: Nanoseconds = Field(0, description="Age of delete markers (server 2.11); 0: none.")
    allow_msg_counter: bool = Field(False, description="It holds counters only (server 2.12).")
    allow_atomic: bool = Field(False, description="Atomic batches may be published (server 2.12).")
    allow_msg_schedules: bool = Field(False, description="Messages may be scheduled (server 2.12); for good.")
    persist_mode: Literal["default", "async"] = Field("default", description="How writes reach the disk (server 2.12).")
    allow_batched: bool = Field(False, description="Fast batches may be published (server 2.14).")
    metadata: dict[str, str] = Field({}, description="The user's own facts about it (server 2.10).")

    def to_server(self, name: str) -> dict[str, Any]:
        """What was declared, in the server's JSON: only the fields that the file sets, and the name."""
        return {**self._set_fields({"bus"}), "name": name}

    @field_validator("duplicate_window")
    @classmethod
    def _window_within_age(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("max_age", 0) > 0:
            raise ValueError("must not be above max_age: a message's id can't be remembered longer than the message")
        return value

    @field_validator("discard_new_per_subject")
    @classmethod
    def _needs_discard_new(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not (info.data.get("discard") == "new" and info.data.get("max_msgs_per_subject", 0) > 0):
            raise ValueError('needs discard = "new" and a max_msgs_per_subject')
        return value

    @field_validator("mirror")
    @classmethod
    def _mirror_alone(cls, value: Source | None, info: ValidationInfo) -> Source | None:
        if value and info.data.get("subjects"):
            raise ValueError("a mirror copies another stream whole, so it can't have subjects of its own")
        return value

    @field_validator("sources")
    @classmethod
    def _sources_or_mirror(cls, value: tuple[Source, ...], info: ValidationInfo) -> tuple[Source, ...]:
        if value and info.data.get("mirror"):
            raise ValueError("a stream has a mirror or sources, not both")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._attach_only({"bus"})
        if self.declare and not (self.subjects or self.mirror or self.sources):
            raise ValueError(
                'needs subjects, as subjects = ["orders.>"] (or mirror, or sources); '
                "declare = false attaches to a stream that is there already"
            )
        return self


class ConsumerConfig(ServerObject):
    """`[consumers.NAME]`: a durable pull consumer."""

    stream: str = Field("", description="The stream.")
    description: str = Field("", max_length=4096, description="What it is for.")
    filter_subject: Subject | None = Field(None, description="Only this subject.")
    filter_subjects: Subjects = Field((), description="Only these subjects; empty: all. Several: server 2.10.")
    deliver_policy: Literal["all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"] = Field(
        "all", description="Where a new consumer starts; counts at creation only."
    )
    opt_start_seq: int = Field(0, ge=0, description="Where it starts, with deliver_policy by_start_sequence.")
    opt_start_time: Timestamp | None = Field(None, description="Where it starts, with deliver_policy by_start_time.")
    ack_policy: Literal["explicit", "all", "none"] = Field("explicit", description="Triggers need explicit.")
    ack_wait: Nanoseconds = Field(30 * 10**9, description="How long the server waits for a settlement.")
    max_deliver: int = Field(
        -1, ge=-1, description="Deliveries of one message; -1: no limit. A limit needs a stream of the advisories."
    )
    backoff: Items[Nanoseconds] = Field((), description="A wait for each delivery, in place of ack_wait.")
    max_ack_pending: int = Field(1000, ge=-1, description="Deliveries unsettled at once, over all instances.")
    max_waiting: int = Field(512, ge=0, description="Pull requests open at once, over all instances.")
    max_batch: int = Field(0, ge=0, description="Largest batch that a pull may ask; 0: no limit.")
    max_expires: Nanoseconds = Field(0, description="Longest wait that a pull may ask; 0: no limit.")
    max_bytes: Bytes = Field(0, ge=0, description="Most bytes that a pull may ask; 0: no limit.")
    inactive_threshold: Nanoseconds = Field(0, description="Deleted when unused for so long; 0: never.")
    headers_only: bool = Field(False, description="Deliver without payloads.")
    sample_freq: str = Field("", pattern=r"^(\d+%?)?$", description='Share of acks that is reported, as "50%".')
    replay_policy: Literal["instant", "original"] = Field("instant", description="original: at the pace of publishing.")
    num_replicas: int = Field(0, ge=0, le=5, description="Servers that keep its state; 0: as its stream.")
    mem_storage: bool = Field(False, description="Keep its state in memory.")
    pause_until: Timestamp | None = Field(None, description="Deliver nothing until then (server 2.11).")
    priority_policy: Literal["none", "overflow", "pinned_client", "prioritized"] = Field(
        "none", description="How clients share it (server 2.11; prioritized: 2.12)."
    )
    priority_groups: Items[str] = Field((), max_length=1, description="The group's name, with a priority_policy.")
    priority_timeout: Nanoseconds = Field(0, description="Silence after which a pinned client loses its pin.")
    metadata: dict[str, str] = Field({}, description="The user's own facts about it (server 2.10).")
    deliver_subject: _PushOnly = None
    deliver_group: _PushOnly = None
    flow_control: _PushOnly = None
    idle_heartbeat: _PushOnly = None
    rate_limit_bps: _PushOnly = None
    direct: _PushOnly = None
    sourcing: _PushOnly = None

    def to_server(self, name: str) -> dict[str, Any]:
        """What was declared, in the server's JSON: what the file sets, and name, `ack_policy` and `max_deliver` always.

        `max_deliver` is -1 unless the file says otherwise: at a limit the server drops a message in silence.
        """
        return {
            "ack_policy": self.ack_policy,
            "max_deliver": self.max_deliver,
            **self._set_fields({"stream"}),
            "name": name,
            "durable_name": name,
        }

    @field_validator("stream")
    @classmethod
    def _stream_name(cls, value: str) -> str:
        return check_name(value) if value else value

    @field_validator("filter_subjects")
    @classmethod
    def _one_kind_of_filter(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and info.data.get("filter_subject"):
            raise ValueError("filter_subject is set too; list all subjects in filter_subjects alone")
        return value

    @field_validator("opt_start_seq")
    @classmethod
    def _sequence_has_policy(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("deliver_policy", "by_start_sequence") != "by_start_sequence":
            raise ValueError('needs deliver_policy = "by_start_sequence"')
        return value

    @field_validator("opt_start_time")
    @classmethod
    def _time_has_policy(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("deliver_policy", "by_start_time") != "by_start_time":
            raise ValueError('needs deliver_policy = "by_start_time"')
        return value

    @field_validator("backoff")
    @classmethod
    def _backoff_fits(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        limit = info.data.get("max_deliver", -1)
        if limit > 0 and len(value) > limit:
            raise ValueError(f"has {len(value)} steps, more than the {limit} deliveries that max_deliver allows")
        return value

    @field_validator("priority_groups")
    @classmethod
    def _group_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for group in value:
            if not _GROUP.fullmatch(group):
                raise ValueError(f"{group!r} can't be a group's name: 1 to 16 of A-Z a-z 0-9 _ / = -")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._attach_only({"stream"})
        if self.deliver_policy == "by_start_sequence" and not self.opt_start_seq:
            raise ValueError('deliver_policy = "by_start_sequence" needs opt_start_seq')
        if self.deliver_policy == "by_start_time" and not self.opt_start_time:
            raise ValueError('deliver_policy = "by_start_time" needs opt_start_time')
        if (self.priority_policy == "none") != (not self.priority_groups):
            raise ValueError("priority_policy and priority_groups go together: a policy, and one group")
        if self.backoff and "ack_wait" in self.model_fields_set and self.ack_wait != self.backoff[0]:
            raise ValueError("backoff replaces ack_wait: leave ack_wait out, or make it the first step of backoff")
        return self
