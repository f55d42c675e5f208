"""The JSON schema of the file, for editors that complete and check TOML. Each text comes from its model's field."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from eventbus_runtime.config.model import RuntimeConfig


class _TomlSchema(GenerateJsonSchema):
    """TOML has no null, and a title that repeats its key says nothing."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of what a file may say; references and user code are beyond it."""
    schema = RuntimeConfig.model_json_schema(mode="validation", schema_generator=_TomlSchema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "eventbus-runtime"}
