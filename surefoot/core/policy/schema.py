"""Generate the JSON Schema of a policy file or of another settings file, for editors."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from surefoot.core.policy.policy import Policy


class _FileSchema(GenerateJsonSchema):
    """Describes what an author writes: a key that may be left out has no null as its default."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - of all fields alike
        """Give fields no title: it would repeat the key."""
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """The schema of an optional key."""
        made = super().default_schema(schema)
        if made.get("default", made) is None:
            made.pop("default")
        return made


def policy_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file: durations and margins as an author writes them.

    Law: what it refuses the parser refuses; rules between several keys are the parser's alone.
    """
    return settings_file_schema(Policy)


def settings_file_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a file that a model reads."""
    made = model.model_json_schema(schema_generator=_FileSchema, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_standard_bounds(made)}


_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
"""Pydantic's names of bounds, which it writes as they are where a validator stands before the number."""


def _standard_bounds(schema: Any) -> Any:
    """The same schema with every bound under its standard name."""
    if isinstance(schema, list):
        return [_standard_bounds(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    bounds = {name: schema[key] for key, name in _BOUNDS.items() if isinstance(schema.get(key), int | float)}
    return {
        **{key: _standard_bounds(value) for key, value in schema.items() if _BOUNDS.get(key) not in bounds},
        **bounds,
    }
