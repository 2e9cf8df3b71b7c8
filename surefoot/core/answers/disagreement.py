"""Find the requests on which two versions decide differently."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from surefoot.core.answers.answer_values import (
    Floats,
    answer_number,
    answer_numbers,
    are_class_probabilities,
    check_class_probabilities,
    unwrap_single_value,
)
from surefoot.core.answers.class_names import convert_to_class_name
from surefoot.core.answers.losses import compute_predicted_classes
from surefoot.core.errors import InvariantBroken

_EQUAL_TOLERANCE = 1e-3
"""Relative difference of two numbers that are one decision."""
_ABSOLUTE_TOLERANCE = 1e-8
"""Difference of two numbers near zero that are one decision."""


def find_disagreeing_requests(
    first: Sequence[object] | Floats, second: Sequence[object] | Floats, threshold: float
) -> NDArray[np.bool_]:
    """On which requests two versions decide differently, shape (n,).

    Texts are compared as classes, two distributions by their decision, several outputs one by one.

    Raises:
        InvariantBroken: An answer holds neither a number nor a class.
    """
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        one, other = (compute_predicted_classes(answer_numbers(side), threshold) for side in (first, second))
        allowed = np.maximum(_EQUAL_TOLERANCE * np.maximum(np.abs(one), np.abs(other)), _ABSOLUTE_TOLERANCE)
        return np.asarray(np.abs(one - other) > allowed)
    return np.array([_apart(one, other, threshold) for one, other in zip(first, second, strict=True)], dtype=bool)


def _apart(one: object, other: object, threshold: float) -> bool:
    """Whether two answers are two decisions."""
    one, other = unwrap_single_value(one), unwrap_single_value(other)
    if isinstance(one, list | dict) or isinstance(other, list | dict):
        if _decided(one) and _decided(other):
            return _decision(one, threshold) != _decision(other, threshold)
        return _outputs_apart(one, other)
    if isinstance(one, str) or isinstance(other, str):
        return _decision(one, threshold) != _decision(other, threshold)
    first, second = (_at_threshold(answer_number(side), threshold) for side in (one, other))
    return not math.isclose(first, second, rel_tol=_EQUAL_TOLERANCE, abs_tol=_ABSOLUTE_TOLERANCE)


def _outputs_apart(one: object, other: object) -> bool:
    """Whether some of several outputs differ; probabilities are no decisions among them."""
    one, other = unwrap_single_value(one), unwrap_single_value(other)
    if any(isinstance(side, list | dict) and not side for side in (one, other)):
        raise InvariantBroken("an answer is empty")
    if isinstance(one, list) and isinstance(other, list):
        pairs = list(zip(one, other, strict=False))
        return any([_outputs_apart(a, b) for a, b in pairs]) or len(one) != len(other)  # noqa: C419 - all are read
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(one[key], other[key]) for key in one if key in other]
        return any([_outputs_apart(a, b) for a, b in pairs]) or one.keys() != other.keys()  # noqa: C419 - same
    if isinstance(one, list | dict) or isinstance(other, list | dict):
        return True
    if isinstance(one, str) or isinstance(other, str):
        return convert_to_class_name(one) != convert_to_class_name(other)
    return not math.isclose(
        answer_number(one), answer_number(other), rel_tol=_EQUAL_TOLERANCE, abs_tol=_ABSOLUTE_TOLERANCE
    )


def _at_threshold(number: float, threshold: float) -> float:
    return float(number >= threshold) if 0.0 < number < 1.0 else number


def _decided(value: object) -> bool:
    """Whether an answer is a decision: a class, a number, or probabilities of classes."""
    if isinstance(value, list | dict):
        return are_class_probabilities(list(value.values()) if isinstance(value, dict) else value)
    return True


def _decision(value: object, threshold: float) -> str:
    """The class that an answer stands for."""
    if isinstance(value, list | dict):
        named = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        row = check_class_probabilities([cell for _, cell in named])
        if len(row) == 2 and isinstance(value, list):  # noqa: PLR2004 - no and yes have a threshold, in this order
            return convert_to_class_name(named[int(row[1] >= threshold)][0])
        return convert_to_class_name(named[int(np.argmax(row))][0])
    return convert_to_class_name(value if isinstance(value, str) else _at_threshold(answer_number(value), threshold))
