"""Whether evidence consists of numbers that can be computed with; what does not is an ERROR, never a verdict."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from surefoot.core.evidence import Evidence, Expectation, FeatureShift, PairedLosses

LARGEST_COUNT = 2**53 - 1
"""Largest count that the journal can carry."""
LARGEST = 1e100
"""Largest measurement; its square is still a number."""


def _flaws(name: str, value: object) -> Iterator[str]:
    if isinstance(value, int) and not 0 <= value <= LARGEST_COUNT:
        yield f"{name} is not a count"
    elif isinstance(value, float) and not (math.isfinite(value) and abs(value) <= LARGEST):
        yield f"{name} is {value}, not a number that can be compared"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flaws(name, key)
            yield from _flaws(f"{name} of {key}" if key else name, item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _flaws(name, item)
    elif is_dataclass(value) and not isinstance(value, Expectation):
        for field in fields(value):
            yield from _flaws(field.name.replace("_", " "), getattr(value, field.name))
        if isinstance(value, FeatureShift) and not 0.0 <= value.distance <= 1.0:
            yield f"the distance of {value.name} is {value.distance}, not between 0 and 1"
        if isinstance(value, PairedLosses) and max(value.labelled, value.unscored) > value.requests:
            yield "more requests are labelled or unscored than there are"


def flaw(evidence: Evidence) -> str:
    """What is wrong with the numbers, in one sentence; empty when nothing is."""
    return next(_flaws("the evidence", evidence), "")
