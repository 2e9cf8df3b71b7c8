"""Convert pydantic validation errors to policy violations with an explanation."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from surefoot.core.policy.evidence.evidence_section import LABEL_SOURCES, PREDICTION_SOURCES
from surefoot.core.policy.gates.any_gate import GATE_CLASSES
from surefoot.core.policy.gates.metrics import Metric
from surefoot.core.policy.policy import Policy
from surefoot.core.policy.recovery.data_layer import SOURCE_CLASSES
from surefoot.core.policy.scalars import MAX_NUMBER, NOT_A_NUMBER_MESSAGE
from surefoot.core.policy.sections import Wait
from surefoot.core.policy.steps import STEP_CLASSES
from surefoot.core.policy.violations import (
    RULE_ERROR_TYPE,
    KeyPath,
    Violation,
    ViolationKind,
    describe_type,
    missing_key_violation,
    one_line_text,
)

_TAGGED = {"gates", "steps", "data_layer"}
"""Keys under which pydantic's path holds, third, which member of a union was tried."""
_EVIDENCE_SOURCES: dict[str, dict[str, type[BaseModel]]] = {"predictions": PREDICTION_SOURCES, "labels": LABEL_SOURCES}
"""Keys of the section `evidence` under which it does so too."""
_NAME_SIGN = "[key]"
"""What pydantic puts behind a name of a mapping that is wrong itself."""
_BOUNDS = {
    "greater_than": "must be above",
    "greater_than_equal": "must be at least",
    "less_than": "must be below",
    "less_than_equal": "must be at most",
}


def convert_pydantic_error(
    error: ValidationError, value: object, under: KeyPath = (), root: type[BaseModel] = Policy
) -> list[Violation]:
    """What is broken in a policy, in the order in which pydantic found it.

    Args:
        error: What pydantic says.
        value: The whole policy as it was written.
        under: Keys that lead to the part of it that was validated.
        root: What the whole file is.
    """
    found = error.errors(include_url=False)
    return [violation for details in found for violation in _translated(details, value, under, root)]


def find_unknown_keys(error: ValidationError) -> list[KeyPath]:
    """Places of the keys that are not known, in a whole policy."""
    lines = error.errors(include_url=False, include_context=False)
    return [_keys(line["loc"]) for line in lines if line["type"] == "extra_forbidden"]


def _translated(details: ErrorDetails, value: object, under: KeyPath, root: type[BaseModel]) -> Iterator[Violation]:
    kind, found, context = details["type"], details.get("input"), details.get("ctx", {})
    place = (*under, *details["loc"])
    path = _path(place, value)
    if kind == RULE_ERROR_TYPE:
        for violation in context["broken"]:
            yield Violation((*path, *violation.path), violation.rule, violation.mistake, violation.key)
    elif kind == "missing":
        yield missing_key_violation(path[:-1], str(path[-1]))
    elif kind == "extra_forbidden":
        known = ", ".join(_known_keys(place, root))
        rule = f"unknown key {one_line_text(path[-1])}; known here: {known}"
        yield Violation(path, rule, ViolationKind.UNKNOWN_KEY, str(path[-1]))
    elif kind.startswith("union_tag"):
        yield _unknown_kind(path, found)
    else:
        strange = ViolationKind.STRANGE_NAME if kind == "string_pattern_mismatch" else ViolationKind.OTHER
        yield Violation(path, _rule(kind, found, context), strange)


def _rule(kind: str, found: object, context: Mapping[str, Any]) -> str:
    """What is demanded of a single value."""
    bound = next((context[key] for key in ("gt", "ge", "lt", "le") if key in context), None)
    if kind in {"float_type", "int_type"} and type(found) in {int, float}:
        if kind == "int_type" and abs(found) <= MAX_NUMBER:  # type: ignore[arg-type]
            return f"expected a whole number from 0, found {describe_type(found)}"
        return f"{describe_type(found)} {NOT_A_NUMBER_MESSAGE}"
    if kind in {"float_type", "int_type"}:
        return f"expected a number, found {describe_type(found)}"
    if kind == "finite_number" or (bound is not None and abs(bound) >= MAX_NUMBER):
        return f"{describe_type(found)} {NOT_A_NUMBER_MESSAGE}"
    if kind in _BOUNDS:
        return f"{_BOUNDS[kind]} {bound:g}, found {one_line_text(found)}"
    if kind == "string_pattern_mismatch":
        return f"expected a name of letters, digits, '-' and '_', found {describe_type(found)}"
    if kind == "string_unicode":
        return f"{found!a} holds half a character, which cannot be written down"
    if kind.startswith("string"):
        return f"expected text, found {describe_type(found)}"
    if kind in {"literal_error", "enum"}:
        allowed = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"expected one of {', '.join(allowed)}, found {describe_type(found)}"
    return f"expected a mapping, found {describe_type(found)}"


def _unknown_kind(path: KeyPath, found: object) -> Violation:
    """What is wrong with a mapping of which not even the kind is known."""
    if not isinstance(found, Mapping):
        return Violation(path, f"expected a mapping, found {describe_type(found)}")
    if path[0] == "steps":
        return Violation(path, "a step is 'shadow: {...}', 'weight: N' with 'hold: {...}', or 'approve: {...}'")
    if path[0] == "data_layer":
        if "kind" not in found:
            return missing_key_violation(path, "kind", f": one of {', '.join(SOURCE_CLASSES)}")
        kinds = f"expected one of {', '.join(SOURCE_CLASSES)}, found {describe_type(found['kind'])}"
        return Violation((*path, "kind"), kinds)
    if path[0] == "evidence":
        sources = _EVIDENCE_SOURCES[str(path[1])]
        if "source" not in found:
            return missing_key_violation(path, "source", f": one of {', '.join(sources)}")
        kinds = f"expected one of {', '.join(sources)}, found {describe_type(found['source'])}"
        return Violation((*path, "source"), kinds)
    if "metric" not in found:
        return missing_key_violation(path, "metric")
    known = ", ".join(metric for metric in Metric if metric in GATE_CLASSES)
    return Violation((*path, "metric"), f"expected one of {known}, found {describe_type(found['metric'])}")


def _path(place: Sequence[str | int], value: object) -> KeyPath:
    """Keys of the file that lead to a place of pydantic's, which also names members of unions and items of a text."""
    keys = _keys(place)
    if keys and isinstance(keys[-1], int) and not isinstance(_at(value, keys[:-1]), list):
        return keys[:-1]
    return keys


def _keys(place: Sequence[str | int]) -> KeyPath:
    """The place without what is third in gates, steps and tables, the tag of a union, and without a sign for a name."""
    place = place[:-1] if place and place[-1] == _NAME_SIGN else place
    return tuple(key for index, key in enumerate(place) if index != 2 or not _is_tagged(place))  # noqa: PLR2004


def _is_tagged(place: Sequence[str | int]) -> bool:
    """Whether a place of pydantic's holds, third, which member of a union was tried."""
    return place[0] in _TAGGED or (place[0] == "evidence" and place[1] in _EVIDENCE_SOURCES)


def _at(value: object, path: KeyPath) -> object:
    """What the file holds at a place; None when it is not there."""
    for key in path:
        if isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = dict(enumerate(value))
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _known_keys(place: Sequence[str | int], root: type[BaseModel]) -> list[str]:
    """The keys that are known where an unknown one stands, without those that are old names."""
    model = root
    rest = list(place[:-1])
    if len(place) > 3 and _is_tagged(place):  # noqa: PLR2004 - section, name, tag, key
        tag = str(place[2])
        model = _tagged_model(str(place[0]), str(place[1]), tag)
        rest = rest[3:]
    for key in rest:
        # A place in a list, or a name that the author has chosen, leads to no other mapping.
        model = next((_model_in(field.annotation) for alias, field in _fields(model) if alias == key), model)
    return sorted(alias for alias, field in _fields(model) if not (field.json_schema_extra or {}).get("deprecated"))


def _tagged_model(section: str, name: str, tag: str) -> type[BaseModel]:
    """The mapping that the member of a union stands for."""
    if section == "evidence":
        return _EVIDENCE_SOURCES[name][tag]
    if section == "data_layer":
        return SOURCE_CLASSES[tag]
    return STEP_CLASSES[tag] if section == "steps" else GATE_CLASSES[Metric(tag)]


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Fields of a mapping by the key that the file has for them."""
    return ((field.alias or name, field) for name, field in model.model_fields.items())


def _model_in(annotation: Any) -> type[BaseModel]:
    """The mapping that a field holds, also in a list or by a name; that of a wait where it is a reaction."""
    return next(_models_in(annotation), Wait)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
