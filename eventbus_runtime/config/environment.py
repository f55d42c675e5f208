"""Values from variables: `EVENTBUS__TRIGGERS__BILLING__MAX_IN_FLIGHT=32`.

pydantic-settings' own source lower-cases table names, ignores unknown variables and reads no nested secrets. This one
matches names without regard to case, with `-` and `.` as `_`, against what the tables declare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from eventbus_runtime.config.fields import is_table_of_names, model_of, value_of
from eventbus_runtime.config.model import RuntimeConfig
from eventbus_runtime.config.overrides import read_value
from eventbus_runtime.config.tables import Tables

PREFIX = "EVENTBUS__"


class Variable(NamedTuple):
    """A variable that stands for a value of the tables."""

    name: str
    value: Any


class EnvironmentSource(PydanticBaseSettingsSource):
    """The variables of one environment, or the files of a secrets folder by their names.

    Attributes:
        pending: variables that stood for nothing that the tables declare so far.
    """

    def __init__(self, variables: Mapping[str, str], tables: Tables) -> None:
        # The base class only reads the model's fields and settings, which any model has.
        super().__init__(cast(type[BaseSettings], RuntimeConfig))
        self._tables = tables
        self.pending = {name: value for name, value in sorted(variables.items()) if name.upper().startswith(PREFIX)}

    def __call__(self) -> dict[Any, Variable]:
        """Take the pending variables that the tables have a place for by now: by the keys of that place."""
        found: dict[Any, Variable] = {}
        for name, field in self.settings_cls.model_fields.items():
            found |= self.get_field_value(field, name)[0]
        for variable in found.values():
            del self.pending[variable.name]
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[dict[Any, Variable], str, bool]:
        """What the pending variables say of one section: by the keys of each value."""
        places = {_normal(keys): keys for keys in self._below((field_name,), field.annotation)}
        found = {}
        for name, text in self.pending.items():
            if keys := places.get(name.upper().removeprefix(PREFIX)):
                found[keys] = Variable(name, read_value(keys, text.strip()))
        return found, field_name, False

    def known(self) -> list[str]:
        """The names of all variables that would stand for something, for did-you-mean."""
        fields = self.settings_cls.model_fields.items()
        return [PREFIX + _normal(keys) for name, field in fields for keys in self._below((name,), field.annotation)]

    def _below(self, keys: tuple[str, ...], annotation: Any) -> Iterator[tuple[str, ...]]:
        """The keys of every value that may stand at or below `keys`."""
        model = model_of(annotation)
        if model is not None:
            for name, field in model.model_fields.items():
                yield from self._below((*keys, name), field.annotation)
        elif is_table_of_names(annotation):
            declared = self._tables.get(*keys)
            for name in declared if isinstance(declared, dict) else ():
                yield from self._below((*keys, name), value_of(annotation))
            return
        yield keys


def _normal(keys: tuple[str, ...]) -> str:
    return "__".join(keys).upper().replace("-", "_").replace(".", "_")
