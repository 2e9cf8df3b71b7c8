"""Read the number or the probabilities in an answer or a label, and check class probabilities."""

import re
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from surefoot.core.errors import InvariantBroken

Floats = NDArray[np.float64]
PROBABILITY_SUM_TOLERANCE = 1e-3
"""How far class probabilities may be from adding up to one."""
_WHOLE = re.compile(r"-?(0|[1-9]\d*)(\.0)?")


def unwrap_single_value(value: object) -> object:
    """The value inside lists and objects that hold one value each."""
    while isinstance(value, list | dict) and len(value) == 1:
        value = value[0] if isinstance(value, list) else next(iter(value.values()))
    return value


def answer_number(value: object) -> float:
    """The single finite number in an answer or a label; "1" and true are 1.

    Raises:
        InvariantBroken: There is none, or there are several.
    """
    value = unwrap_single_value(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = float(value)
    if isinstance(value, bool | int | float) and abs(value) <= sys.float_info.max:
        return float(value)
    raise InvariantBroken(f"no number to score in the answer {value!r:.80}")


def answer_numbers(items: Sequence[object] | Floats) -> Floats:
    """The number in every answer, shape (n,); an array of numbers is taken as it is.

    Raises:
        InvariantBroken: One of them holds no single finite number.
    """
    if isinstance(items, np.ndarray):
        if not np.isfinite(items).all():
            raise InvariantBroken("no number to score in an answer that is not finite")
        return items
    return np.array([answer_number(item) for item in items], dtype=np.float64)


def check_class_probabilities(cells: Sequence[object]) -> list[float]:
    """Class probabilities: each between 0 and 1, and one together.

    Raises:
        InvariantBroken: They are none.
    """
    made = [answer_number(cell) for cell in cells if isinstance(cell, int | float)]
    if (
        len(made) < max(len(cells), 2)
        or min(made) < 0.0
        or max(made) > 1.0
        or abs(sum(made) - 1.0) > PROBABILITY_SUM_TOLERANCE
    ):
        raise InvariantBroken("class probabilities must be between 0 and 1 and add up to one")
    return made


def are_class_probabilities(cells: Sequence[object]) -> bool:
    """Whether several values are class probabilities."""
    try:
        return bool(check_class_probabilities(cells))
    except InvariantBroken:
        return False


def answer_probability(value: object) -> float:
    """The probability of yes in an answer: a number between 0 and 1, or the last of two probabilities.

    Raises:
        InvariantBroken: It is none.
    """
    value = unwrap_single_value(value)
    if isinstance(value, list) and len(value) == 2:  # noqa: PLR2004 - no and yes
        return check_class_probabilities(value)[-1]
    found = answer_number(value)
    if not 0.0 <= found <= 1.0:
        raise InvariantBroken(f"no probability between 0 and 1 in the answer {found:g}")
    return found


def answer_probabilities(items: Sequence[object] | Floats) -> Floats:
    """The probability of yes in every answer, shape (n,).

    Raises:
        InvariantBroken: One of them holds none.
    """
    if isinstance(items, np.ndarray):
        if not ((items >= 0.0) & (items <= 1.0)).all():
            raise InvariantBroken("an answer is no probability between 0 and 1")
        return items
    return np.array([answer_probability(item) for item in items], dtype=np.float64)


def pair_outputs_with_labels(given: object, true: object) -> list[tuple[float, float]]:
    """Every output of an answer beside that of its label.

    Raises:
        InvariantBroken: They are not as many numbers, in the same places.
    """
    given, true = unwrap_single_value(given), unwrap_single_value(true)
    if isinstance(given, list) and isinstance(true, list) and len(given) == len(true):
        return [pair for one, other in zip(given, true, strict=True) for pair in pair_outputs_with_labels(one, other)]
    if isinstance(given, dict) and isinstance(true, dict) and given.keys() == true.keys():
        return [pair for key in given for pair in pair_outputs_with_labels(given[key], true[key])]
    return [(answer_number(given), answer_number(true))]
