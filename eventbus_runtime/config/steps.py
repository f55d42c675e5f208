"""`[pipelines.NAME]`: the steps of a pipeline, and the values that they take from the message. There is no template
language: a value is a literal text, or one part of the message."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_serializer

from eventbus_runtime.config.section import Section
from eventbus_runtime.config.units import Seconds
from eventbus_runtime.headers import encode
from eventbus_runtime.subjects import check_target

PARTS = (
    "payload",
    "subject",
    "sequence",
    "published_at",
    "ack_token",
    "correlation_id",
    "stream",
    "consumer",
    "delivery_count",
)
"""The parts of a message that a value may be; besides them `headers.NAME`, and a JSON pointer into the payload."""

HEADERS = "headers."

_ID = "Nats-Msg-Id"

_BAD_ESCAPE = re.compile("~(?![01])")
_HOW = (
    f'a part is one of {", ".join(PARTS)}, "{HEADERS}NAME", or a JSON pointer into the payload as "/customer/id" '
    "(RFC 6901)"
)


def check_part(text: str) -> str:
    """Return `text` if it names a part of a message.

    Raises:
        ValueError: it does not; the text says what would.
    """
    if text.startswith("/"):
        if _BAD_ESCAPE.search(text):
            raise ValueError(f'"{text}" is no JSON pointer: "~" is written ~0, and "/" within a name ~1 (RFC 6901)')
        return text
    if text in PARTS or (text.startswith(HEADERS) and len(text) > len(HEADERS)):
        return text
    raise ValueError(f'the message has no part "{text}"{_near(text, PARTS)}; {_HOW}')


def tokens(pointer: str) -> tuple[str, ...]:
    """The names and indices that a JSON pointer leads through (RFC 6901)."""
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def _near(word: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches  # costs time that only a mistake may take

    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


class Part(Section):
    """A part of the message: `{ from = "/customer/id" }`."""

    from_: Annotated[str, AfterValidator(check_part)] = Field(
        alias="from",
        description="payload, subject, sequence, published_at, ack_token, correlation_id, stream, consumer, "
        "delivery_count, headers.NAME, or a JSON pointer into the payload, as /customer/id.",
    )

    @model_serializer
    def _as_written(self) -> dict[str, str]:
        return {"from": self.from_}


def _check_value(value: object) -> object:
    if not isinstance(value, str | dict | Part):
        raise ValueError('expected a text, or { from = "…" }')
    return value


def _check_line(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise ValueError("it holds a line end; headers are one line each")
    return value


def _check_name(name: str) -> str:
    encode([(name, "")])
    return name


def _check_id(headers: dict[str, object]) -> dict[str, object]:
    fixed = headers.get(_ID)
    if isinstance(fixed, str):
        raise ValueError(
            f'all messages would have the {_ID} "{fixed}", of which a stream keeps the first and drops the others: '
            'take it from the message, as { from = "/id" }, or leave it out'
        )
    return headers


def _check_token(value: object) -> object:
    if not isinstance(value, dict | Part):
        raise ValueError('a token is another one each time: expected { from = "…" }')
    return value


def _kind_of_value(value: object) -> str:
    return "a text" if isinstance(value, str) else "a part"


_Part: TypeAlias = Annotated[Part, Tag("a part")]
Value: TypeAlias = Annotated[
    Annotated[str, Tag("a text")] | _Part, Discriminator(_kind_of_value), BeforeValidator(_check_value)
]
"""A literal text, or a part of the message."""
Subject: TypeAlias = Annotated[
    Annotated[str, AfterValidator(check_target), Tag("a text")] | _Part,
    Discriminator(_kind_of_value),
    BeforeValidator(_check_value),
]
Line: TypeAlias = Annotated[
    Annotated[str, AfterValidator(_check_line), Tag("a text")] | _Part,
    Discriminator(_kind_of_value),
    BeforeValidator(_check_value),
]
Name: TypeAlias = Annotated[str, AfterValidator(_check_name)]


class PublishOptions(Section):
    """What a publish step takes."""

    subject: Subject = Field(description="Where to.")
    payload: Value | None = Field(None, description="The body; left out: the payload as the steps before have left it.")
    headers: Annotated[dict[Name, Line], AfterValidator(_check_id)] = Field({}, description="Headers; left out: none.")
    correlation_id: Line | None = Field(None, description="Becomes the header Nats-Correlation-Id.")


class ConsumeOptions(Section):
    """What a consume step takes."""

    consumer: str = Field(description="A declared consumer of the trigger's bus.")
    batch_size: int = Field(1, ge=1, le=1000, description="Most messages.")
    max_wait: Seconds = Field(5.0, gt=0, description="How long to wait for them.")


class AckOptions(Section):
    """What an ack step takes."""

    ack_token: Annotated[Part, BeforeValidator(_check_token)] | None = Field(
        None, description="Which delivery; left out: the one that the pipeline runs for."
    )


class CallEntry(Section):
    """`{ call = "module:function" }`"""

    call: str = Field(description='A function, as "orders.handlers:enrich"; or the name of a registered pipeline.')


class PublishEntry(Section):
    """`{ publish = { … } }`"""

    publish: PublishOptions = Field(description="Publishes, and waits until a stream has stored it.")


class ConsumeEntry(Section):
    """`{ consume = { … } }`"""

    consume: ConsumeOptions = Field(description="Fetches messages; they are the payload of the steps behind it.")


class AckEntry(Section):
    """`{ ack = {} }`"""

    ack: AckOptions = Field(description="Acknowledges a delivery.")


_KINDS = ("call", "publish", "consume", "ack")


def kind_of(entry: object) -> str:
    """What a step does; empty where it is none."""
    if isinstance(entry, dict):
        return next((kind for kind in _KINDS if kind in entry), "")
    return next((kind for kind in _KINDS if hasattr(entry, kind)), "")


def _check_entry(entry: object) -> object:
    if isinstance(entry, Section):
        return entry
    how = 'a step is one of { call = "module:function" }, { publish = { … } }, { consume = { … } } and { ack = {} }'
    if not isinstance(entry, dict):
        raise ValueError(f"expected a table; {how}")
    if len(entry) == 1 and kind_of(entry):
        return entry
    if len(entry) > 1:
        raise ValueError(f"one step does one thing, and this has {' and '.join(map(str, entry))}; {how}")
    near = "".join(_near(str(key), _KINDS) for key in entry)
    raise ValueError(f"{''.join(f'there is no step {key}' for key in entry) or 'it is empty'}{near}; {how}")


Entry: TypeAlias = Annotated[
    Annotated[CallEntry, Tag("call")]
    | Annotated[PublishEntry, Tag("publish")]
    | Annotated[ConsumeEntry, Tag("consume")]
    | Annotated[AckEntry, Tag("ack")],
    Discriminator(kind_of),
    BeforeValidator(_check_entry),
]
"""One step: a table with a single key, which says what it does."""


class PipelineConfig(Section):
    """`[pipelines.NAME]`"""

    steps: tuple[Entry, ...] = Field(min_length=1, strict=False, description="Steps, run in order.")
