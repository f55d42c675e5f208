"""What every table of ours is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema


def _as_tuple(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Texts: TypeAlias = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_tuple),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, mode="validation"),
]
"""One text, or a list of them."""

FilePath: TypeAlias = Annotated[Path, Field(strict=False)]
"""A path; the loader makes it relative to the folder of the configuration."""


# Nested tables default to {} and not to an instance: making one would build its validator at import, and a second time
# inside RuntimeConfig's, which costs a tenth of the start.
class Section(BaseModel):
    """A table of the file: unknown keys are errors, nothing is converted in silence, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True)
