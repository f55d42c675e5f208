"""What the models say of a key, found by walking them as the tables are nested."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from eventbus_runtime.config.model import RuntimeConfig


def annotation_at(keys: Sequence[str | int]) -> Any:
    """The type of the value at `keys`; None where the models know no such key."""
    annotation: Any = RuntimeConfig
    for key in keys:
        models = _models_of(annotation)
        if models:
            fields = (model.model_fields.get(str(key)) for model in models)
            annotation = next((field.annotation for field in fields if field), None)
        else:
            annotation = value_of(annotation)
    return annotation


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a table with fixed keys; None for any other type."""
    return next(iter(_models_of(annotation)), None)


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    """All that a table may be: a step has a model by its single key."""
    return [option for option in _options(annotation) if isinstance(option, type) and issubclass(option, BaseModel)]


def value_of(annotation: Any) -> Any:
    """The type of the values of a `dict[str, …]` or `tuple[…, ...]`, optional or not; else None."""
    for option in _options(annotation):
        if get_origin(option) is dict:
            return get_args(option)[1]
        if get_origin(option) is tuple:
            return get_args(option)[0]
    return None


def is_table_of_names(annotation: Any) -> bool:
    """Whether it is a table whose keys the user names, as `[triggers]`."""
    is_table = any(get_origin(option) is dict for option in _options(annotation))
    return is_table and model_of(value_of(annotation)) is not None


def is_secret(annotation: Any) -> bool:
    """Whether a value of this type must never be shown: a secret, or what stands in place of a table of secrets."""
    model = model_of(annotation)
    inner = [field.annotation for field in model.model_fields.values()] if model else []
    return any(SecretStr in _options(each) for each in (annotation, *inner))


def takes_text(annotation: Any) -> bool:
    """Whether a variable's text is the value as it stands: nothing in it is to be read as TOML."""
    return all(option in (str, SecretStr, Path) or get_origin(option) is Literal for option in _options(annotation))


def _options(annotation: Any) -> list[Any]:
    """The types of a union, without None and without what Annotated adds."""
    bare = _bare(annotation)
    options = get_args(bare) if get_origin(bare) in (Union, types.UnionType) else (bare,)
    return [_bare(option) for option in options if option is not type(None)]


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
