"""Map a classifier's answers and labels to classes, and decide what ambiguous numbers mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from surefoot.core.answers.answer_values import Floats, answer_number, check_class_probabilities, unwrap_single_value
from surefoot.core.answers.class_names import convert_to_class_name, is_missing_value, is_numeric_class_name
from surefoot.core.errors import InvariantBroken

_MAX_ODD_SHARE = 0.01
"""Up to this share of a version's numbers may be of the other kind: they are odd, and tell nothing of the others."""


class NumberInterpretation(StrEnum):
    """Whether numbers in a version's answers are names of classes or probabilities."""

    NAMES = "names of classes"
    PROBABILITIES = "probabilities of the second class"


@lru_cache(256)
def _class_positions(classes: tuple[str, ...]) -> Mapping[str, int]:
    """Position of each class by its name."""
    return {
        name if is_missing_value(name) else convert_to_class_name(name): index for index, name in enumerate(classes)
    }


@lru_cache(256)
def has_ambiguous_numbers(classes: tuple[str, ...]) -> bool:
    """Whether a number may be the name of a class or the probability of another: with "1" and "2" the 1 may be both."""
    known = _class_positions(classes)
    if len(known) != 2 or known == {"0": 0, "1": 1}:  # noqa: PLR2004 - only of two is one number a distribution
        return False
    return any(is_numeric_class_name(name) and 0.0 <= float(name) <= 1.0 for name in known)


def _class_index(classes: tuple[str, ...], value: object) -> int | None:
    """Position of a class by its name, or by its number where no class is named by a number; None for neither."""
    known = _class_positions(classes)
    try:
        text = convert_to_class_name(value)
    except InvariantBroken:
        return None
    if text in known:
        return known[text]
    if isinstance(value, str | bool) or not text.isdecimal() or any(map(is_numeric_class_name, known)):
        return None
    return int(text) if int(text) < len(known) else None


def find_class_indices(labels: Sequence[object] | Floats, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Position of every label among the classes; a label may be the name of a class or its number.

    Raises:
        InvariantBroken: A label is none of the classes.
    """
    if isinstance(labels, np.ndarray):
        some, where = np.unique(labels, return_inverse=True)
        return find_class_indices(some.tolist(), classes)[where]
    made = []
    for label in labels:
        index = _class_index(classes, unwrap_single_value(label))
        if index is None:
            raise InvariantBroken(f"the label {label!r:.80} is none of the classes {', '.join(classes)}")
        made.append(index)
    return np.array(made, dtype=np.int64)


def _inside(value: object, classes: tuple[str, ...]) -> object:
    """What stands in an answer; the name of a class is not taken away from its only probability."""
    if not isinstance(value, list | dict):
        return value
    if isinstance(value, dict) and len(value) == 1 and _class_index(classes, next(iter(value))) is not None:
        return value
    inside = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(inside, dict) and len(inside) == 1:
        inside = next(iter(inside.values()))
    return inside if inside is value else _inside(inside, classes)


def read_class_probabilities(value: object, classes: tuple[str, ...], reading: NumberInterpretation) -> list[float]:
    """Probabilities in one answer, in the order of the classes; one number is that of the second of two.

    Raises:
        InvariantBroken: There are none.
    """
    value = _inside(value, classes)
    if isinstance(value, dict):
        known = _class_positions(classes)
        named = {
            known[convert_to_class_name(key)]: cell
            for key, cell in value.items()
            if convert_to_class_name(key) in known
        }
        if len(named) != len(value):
            raise InvariantBroken(f"expected probabilities of {', '.join(classes)}, found those of other classes")
        value = [named.get(index) for index in range(len(classes))]
    if isinstance(value, list):
        if len(value) != len(classes):
            raise InvariantBroken(f"expected {len(classes)} class probabilities, found {len(value)}")
        return check_class_probabilities(value)
    named_only = has_ambiguous_numbers(classes) and reading is NumberInterpretation.NAMES
    if isinstance(value, str) or len(classes) != 2 or named_only:  # noqa: PLR2004 - two classes are one number
        raise InvariantBroken(f"expected {len(classes)} class probabilities, found {value!r:.80}")
    found = answer_number(value)
    return check_class_probabilities([1.0 - found, found])


def find_named_class_index(value: object, classes: tuple[str, ...], reading: NumberInterpretation) -> int | None:
    """Position of the class that an answer names; None where it holds probabilities.

    Raises:
        InvariantBroken: It is a text, or a number of a version that answers with names, and no class has this name.
    """
    value = _inside(value, classes)
    if isinstance(value, list | dict):
        return None
    ambiguous = has_ambiguous_numbers(classes)
    if ambiguous and reading is NumberInterpretation.PROBABILITIES and not isinstance(value, str):
        return None
    index = _class_index(classes, value)
    if index is None and (ambiguous or isinstance(value, str) or len(classes) != 2):  # noqa: PLR2004 - as above
        raise InvariantBroken(f"the answer {value!r:.80} is none of the classes {', '.join(classes)}")
    return index


@dataclass
class NumberInterpretationCounts:
    """Counts of a version's numbers that can only be class names, only be probabilities, or be either.

    Law: the counts do not depend on how the answers are cut, so neither does the reading.

    Attributes:
        names: Names of classes outside 0 to 1: no probability [count].
        probabilities: Numbers between 0 and 1 that name no class [count].
        either: Numbers that can be both [count].
    """

    names: int = 0
    probabilities: int = 0
    either: int = 0

    def add(self, classes: tuple[str, ...], items: Sequence[object] | Floats) -> None:
        """Count some answers."""
        for item in items.tolist() if isinstance(items, np.ndarray) else items:
            value = _inside(item, classes)
            if not isinstance(value, int | float):
                continue
            named, possible = _class_index(classes, value) is not None, 0 <= value <= 1
            self.either += named and possible
            self.names += named and not possible
            self.probabilities += possible and not named

    def merge(self, other: "NumberInterpretationCounts") -> None:
        """Count what another has counted of other answers."""
        self.names += other.names
        self.probabilities += other.probabilities
        self.either += other.either

    def interpretation(self) -> NumberInterpretation | None:
        """What these numbers are; None where nothing tells.

        Raises:
            InvariantBroken: A few say otherwise than all others could.
        """
        if not self.names and not self.probabilities:
            return None
        total = self.names + self.probabilities + self.either
        if not self.names and self.probabilities <= _MAX_ODD_SHARE * total:
            raise InvariantBroken("numbers may be names of classes or probabilities")
        return NumberInterpretation.PROBABILITIES if self.probabilities > self.names else NumberInterpretation.NAMES


def decide_number_interpretations(
    one: NumberInterpretationCounts, other: NumberInterpretationCounts
) -> tuple[NumberInterpretation, NumberInterpretation]:
    """What the numbers of two versions are: each by its own answers, else by the other's; names where nothing tells.

    Raises:
        InvariantBroken: It cannot be told.
    """
    first, second = one.interpretation(), other.interpretation()
    return first or second or NumberInterpretation.NAMES, second or first or NumberInterpretation.NAMES
