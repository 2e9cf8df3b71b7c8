"""Define the types of single policy values, such as durations, margins, names and shares."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema

from surefoot.core.naming.model_names import MAX_MODEL_NAME_LENGTH, is_model_name
from surefoot.core.policy.violations import describe_type, rule_error

_T = TypeVar("_T")

MAX_NUMBER = 2**53 - 1
"""Largest number that a policy may hold: JSON and the journal carry no larger whole number."""
_DURATION_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""Units of a duration [seconds]."""
_DURATION_PATTERN = r"^([0-9]+(?:\.[0-9]+)?)([smhd])$"
_MARGIN_PATTERN = r"^([0-9]+(?:\.[0-9]+)?)(pp|%)$"
_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
NOT_A_NUMBER_MESSAGE = "is not a number that can be compared"
MIN_INTERVAL_S = 5.0
"""Shortest time between two looks [seconds]."""


@dataclass(frozen=True, slots=True)
class Margin:
    """Largest degradation that the owner accepts.

    Attributes:
        amount: A share of the champion's value where it is relative, otherwise in the unit of the metric.
        relative: Whether it is a share of the champion's value.
    """

    amount: float
    relative: bool = False


class _NeverNull:
    """Marks an optional key: it may be left out, but not be written as null."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the value alone."""
        schema = handler(source)
        return schema["schema"] if schema["type"] == "nullable" else schema


OptionalKey = Annotated[_T | None, _NeverNull()]


def _scaled(match: re.Match[str], scale: float) -> float:
    """The number that a text begins with, in another unit."""
    found = float(match[1])
    if not found <= MAX_NUMBER:
        raise rule_error(f"a number ({found:g}) {NOT_A_NUMBER_MESSAGE}")
    return found * scale


def parse_duration(value: object) -> float:
    """Read a duration such as 30s, 10m, 2h or 7d [seconds].

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(_DURATION_PATTERN, value) if isinstance(value, str) else None
    if not match:
        raise rule_error(f"expected a duration such as 30s, 10m, 2h or 7d, found {describe_type(value)}")
    return _scaled(match, _DURATION_UNITS_S[match[2]])


def _some_time(seconds: float) -> float:
    if seconds <= 0.0:
        raise rule_error("must be above 0s: nothing happens in no time")
    return seconds


def _read_block(value: object) -> float:
    """A length, or "none" where each request is for itself."""
    return 0.0 if value == "none" else parse_duration(value)


def _read_margin(value: object) -> Margin:
    """A margin: "0.5pp" (points), "20%" (of the champion) or a number in the metric's unit."""
    if isinstance(value, str):
        match = re.fullmatch(_MARGIN_PATTERN, value)
        if not match:
            raise rule_error(f"expected a margin such as 0.5pp, 20% or 0.01, found {describe_type(value)}")
        return Margin(_scaled(match, 1.0) / 100.0, match[2] == "%")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise rule_error(f"expected a margin such as 0.5pp, 20% or 0.01, found {describe_type(value)}")
    if not -MAX_NUMBER <= value <= MAX_NUMBER:  # false for NaN as well
        raise rule_error(f"{describe_type(value)} {NOT_A_NUMBER_MESSAGE}")
    if value < 0:
        raise rule_error(f"must be at least 0, found {value:g}")
    return Margin(float(value))


def _above_zero(margin: Margin) -> Margin:
    if margin.amount <= 0.0:
        raise rule_error("must be above 0: no amount of traffic proves equality")
    return margin


def _relative_only(what: str) -> AfterValidator:
    """Demands a share of the champion's value."""

    def check(margin: Margin) -> Margin:
        if not margin.relative:
            raise rule_error(f"a {what} margin is a share of the champion's, such as 20%")
        return margin

    return AfterValidator(check)


def _read_interval(value: object) -> float:
    found = parse_duration(value)
    if found < MIN_INTERVAL_S:
        raise rule_error(f"a look every {value} asks more often than it can answer: {MIN_INTERVAL_S:g}s or longer")
    return found


def _whole(value: object) -> object:
    """A number without a fraction as an integer; YAML and JSON may write 300.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _listed(value: object) -> object:
    """One item as a list of it."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str):
        return (value,)
    raise rule_error(f"expected a list, found {describe_type(value)}")


def _several(value: object) -> object:
    """One number as a list of it."""
    return tuple(value) if isinstance(value, list) and value else (value,)


_DURATION_SCHEMA = {"type": "string", "pattern": _DURATION_PATTERN, "examples": ["30s", "10m", "2h", "7d"]}
_TEXT_SCHEMA = {"type": "string", "minLength": 1}
_QUANTILE_SCHEMA = {"type": "number", "minimum": 0.01, "maximum": 0.999}


def one_or_more_schema(item: dict[str, Any], least: int = 0) -> WithJsonSchema:
    """JSON Schema of one item, or of a list of them."""
    several = {"type": "array", "items": item} | ({"minItems": least} if least else {})
    return WithJsonSchema({"anyOf": [item, several]})


Duration = Annotated[float, PlainValidator(parse_duration), WithJsonSchema(_DURATION_SCHEMA)]
"""A duration as people write it [seconds once it is read]."""
PositiveDuration = Annotated[Duration, AfterValidator(_some_time)]
"""A duration above 0 [seconds once it is read]."""
Interval = Annotated[float, PlainValidator(_read_interval), WithJsonSchema(_DURATION_SCHEMA)]
"""A time between two looks [seconds once it is read]."""
BlockLength = Annotated[
    float, PlainValidator(_read_block), WithJsonSchema({"anyOf": [_DURATION_SCHEMA, {"const": "none"}]})
]
"""Length of a block [seconds once it is read]; 0 where each request is for itself."""
_MARGIN_SCHEMA = {"type": "string", "pattern": _MARGIN_PATTERN, "examples": ["0.5pp", "20%"]}
AnyMargin = Annotated[
    Margin,
    PlainValidator(_read_margin),
    WithJsonSchema({"anyOf": [_MARGIN_SCHEMA, {"type": "number", "minimum": 0}]}),
]
MarginAboveZero = Annotated[
    AnyMargin,
    AfterValidator(_above_zero),
    WithJsonSchema({"anyOf": [_MARGIN_SCHEMA, {"type": "number", "exclusiveMinimum": 0}]}),
]
_RELATIVE_SCHEMA = WithJsonSchema(
    {"type": "string", "pattern": _MARGIN_PATTERN.replace("(pp|%)", "%"), "examples": ["20%"]}
)
RelativeLatencyMargin = Annotated[MarginAboveZero, _relative_only("latency"), _RELATIVE_SCHEMA]
RelativeResourceMargin = Annotated[MarginAboveZero, _relative_only("resource"), _RELATIVE_SCHEMA]
RelativeGaugeMargin = Annotated[AnyMargin, _relative_only("gauge"), _RELATIVE_SCHEMA]

Text = Annotated[str, Field(min_length=1)]


def _model_name(value: str) -> str:
    if not is_model_name(value):
        raise rule_error("expected the name of a registered model, without '/' and ':', at most 256 characters")
    return value


ModelName = Annotated[
    str,
    AfterValidator(_model_name),
    WithJsonSchema({"type": "string", "pattern": "^[^/:]+$", "maxLength": MAX_MODEL_NAME_LENGTH}),
]
"""A name that MLflow accepts for a registered model."""
Name = Annotated[str, Field(pattern=_NAME_PATTERN)]
"""A name that is safe in paths, URLs and logs."""
Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed), one_or_more_schema(_TEXT_SCHEMA)]
"""One text or a list of texts."""
Names = Annotated[
    tuple[Name, ...], BeforeValidator(_listed), one_or_more_schema({"type": "string", "pattern": _NAME_PATTERN})
]
"""One name or a list of names."""

Number = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=MAX_NUMBER), BeforeValidator(_whole)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=1e-6, le=1.0 - 1e-6, allow_inf_nan=False)]
Quantile = Annotated[float, Field(ge=0.01, le=0.999, allow_inf_nan=False)]
Quantiles = Annotated[tuple[Quantile, ...], BeforeValidator(_several), one_or_more_schema(_QUANTILE_SCHEMA, 1)]
"""One quantile or a list of them."""


def optional_duration(default: str, description: str) -> Any:
    """An optional duration; the JSON Schema shows its default as people write it."""
    return Field(parse_duration(default), description=description, json_schema_extra={"default": default})
