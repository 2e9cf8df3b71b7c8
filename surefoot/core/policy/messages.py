"""Turn pydantic's errors into violations: the keys that lead to the place, and one line in the policy's words."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from surefoot.core.policy.gates.metrics import Metric
from surefoot.core.policy.gates.union import GATE_CLASSES
from surefoot.core.policy.policy import Policy
from surefoot.core.policy.scalars import LARGEST, NOT_A_NUMBER
from surefoot.core.policy.sections import Wait
from surefoot.core.policy.steps import APPROVE, STEP_CLASSES
from surefoot.core.policy.violations import RULES, Mistake, Path, Violation, describe, missing, shown

TAGGED = {"gates", "steps"}
"""Keys under which pydantic's path holds, third, which member of a union was tried."""
BOUNDS = {
    "greater_than": "must be above",
    "greater_than_equal": "must be at least",
    "less_than": "must be below",
    "less_than_equal": "must be at most",
}


def violations_of(error: ValidationError, value: object, under: Path = ()) -> list[Violation]:
    """What is broken in a policy, in the order in which pydantic found it.

    Args:
        error: What pydantic says.
        value: The whole policy as it was written.
        under: Keys that lead to the part of it that was validated.
    """
    return [found for details in error.errors(include_url=False) for found in _translated(details, value, under)]


def unknown_keys(error: ValidationError) -> list[Path]:
    """Places of the keys that are not known, in a whole policy."""
    lines = error.errors(include_url=False, include_context=False)
    return [_keys(line["loc"]) for line in lines if line["type"] == "extra_forbidden"]


def _translated(details: ErrorDetails, value: object, under: Path) -> Iterator[Violation]:
    kind, found, context = details["type"], details.get("input"), details.get("ctx", {})
    place = (*under, *details["loc"])
    path = _path(place, value)
    if kind == RULES:
        for violation in context["broken"]:
            yield Violation((*path, *violation.path), violation.rule, violation.mistake, violation.key)
    elif kind == "missing":
        yield missing(path[:-1], str(path[-1]))
    elif kind == "extra_forbidden":
        known = ", ".join(_known_keys(place))
        rule = f"unknown key {shown(path[-1])}; known here: {known}"
        yield Violation(path, rule, Mistake.UNKNOWN_KEY, str(path[-1]))
    elif kind.startswith("union_tag"):
        yield _unknown_kind(path, found)
    else:
        strange = Mistake.STRANGE_NAME if kind == "string_pattern_mismatch" else Mistake.OTHER
        yield Violation(path, _rule(kind, found, context), strange)


def _rule(kind: str, found: object, context: Mapping[str, Any]) -> str:
    """What is demanded of a single value."""
    bound = next((context[key] for key in ("gt", "ge", "lt", "le") if key in context), None)
    if kind in {"float_type", "int_type"} and type(found) in {int, float}:
        if kind == "int_type" and abs(found) <= LARGEST:  # type: ignore[arg-type]
            return f"expected a whole number from 0, found {describe(found)}"
        return f"{describe(found)} {NOT_A_NUMBER}"
    if kind in {"float_type", "int_type"}:
        return f"expected a number, found {describe(found)}"
    if kind == "finite_number" or (bound is not None and abs(bound) >= LARGEST):
        return f"{describe(found)} {NOT_A_NUMBER}"
    if kind in BOUNDS:
        return f"{BOUNDS[kind]} {bound:g}, found {shown(found)}"
    if kind == "string_pattern_mismatch":
        return f"expected a name of letters, digits, '-' and '_', found {describe(found)}"
    if kind == "string_unicode":
        return f"{found!a} holds half a character, which cannot be written down"
    if kind.startswith("string"):
        return f"expected text, found {describe(found)}"
    if kind in {"literal_error", "enum"}:
        allowed = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"expected one of {', '.join(allowed)}, found {describe(found)}"
    return f"expected a mapping, found {describe(found)}"


def _unknown_kind(path: Path, found: object) -> Violation:
    """What is wrong with a mapping of which not even the kind is known."""
    if not isinstance(found, Mapping):
        return Violation(path, f"expected a mapping, found {describe(found)}")
    if path[0] == "steps":
        steps = "a step is 'shadow: {...}' or 'weight: N' with 'hold: {...}'"
        return Violation(path, APPROVE if "approve" in found else steps)
    if "metric" not in found:
        return missing(path, "metric")
    known = ", ".join(metric for metric in Metric if metric in GATE_CLASSES)
    return Violation((*path, "metric"), f"expected one of {known}, found {describe(found['metric'])}")


def _path(place: Sequence[str | int], value: object) -> Path:
    """Keys of the file that lead to a place of pydantic's, which also names members of unions and items of a text."""
    keys = _keys(place)
    if keys and isinstance(keys[-1], int) and not isinstance(_at(value, keys[:-1]), list):
        return keys[:-1]
    return keys


def _keys(place: Sequence[str | int]) -> Path:
    """The place without what is third in gates and steps: the tag of a union, or a sign that the name is meant."""
    return tuple(key for index, key in enumerate(place) if index != 2 or place[0] not in TAGGED)  # noqa: PLR2004


def _at(value: object, path: Path) -> object:
    """What the file holds at a place; None when it is not there."""
    for key in path:
        if isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = dict(enumerate(value))
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _known_keys(place: Sequence[str | int]) -> list[str]:
    """The keys that are known where an unknown one stands, without those that are old names."""
    model: type[BaseModel] = Policy
    rest = list(place[:-1])
    if place[0] in TAGGED and len(place) > 3:  # noqa: PLR2004 - section, name, tag, key
        tag = str(place[2])
        model = STEP_CLASSES[tag] if place[0] == "steps" else GATE_CLASSES[Metric(tag)]
        rest = rest[3:]
    for key in rest:
        model = next((_model_in(field.annotation) for alias, field in _fields(model) if alias == key), Wait)
    return sorted(alias for alias, field in _fields(model) if not (field.json_schema_extra or {}).get("deprecated"))


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Fields of a mapping by the key that the file has for them."""
    return ((field.alias or name, field) for name, field in model.model_fields.items())


def _model_in(annotation: Any) -> type[BaseModel]:
    """The mapping that a field holds; that of a wait where it is a reaction."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return Wait
