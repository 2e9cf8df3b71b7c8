"""Check that evidence holds only finite numbers within valid ranges."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass

from surefoot.core.judging.data_validation import FailedExpectation
from surefoot.core.judging.evidence import (
    Evidence,
    FeatureShift,
    GoldenRows,
    MeasurementCounts,
    MeasurementStratum,
    PairedBlock,
    PairedSums,
)

MAX_COUNT = 2**53 - 1
"""Largest count that the journal can carry."""
_MAX_MEASUREMENT = 1e100
"""Largest measurement; its square is still a number."""


def _signed(name: str, values: Iterable[int]) -> Iterator[str]:
    """Sums and bucket numbers may be negative, but not larger than the journal can carry."""
    if any(not abs(value) <= MAX_COUNT for value in values):  # false for NaN as well
        yield f"{name} is not a whole number that can be added up"


def _counted(value: PairedBlock | MeasurementStratum | MeasurementCounts) -> Iterator[str]:
    """What is wrong with sums by block and with histograms."""
    if isinstance(value, PairedBlock):
        if _whole(value):
            return
        yield from _flaws("n", value.n)
        yield from _signed("a sum of losses", (*value.champion, *value.candidate))
        if len(value.champion) != len(value.candidate):
            yield "the two versions were not counted alike"
        return
    for field in fields(value):
        item = getattr(value, field.name)
        if field.name in {"candidate", "champion", "baseline"}:
            yield from _signed("a bucket", (bucket for bucket, _ in item))
            yield from _flaws("a bucket's count", tuple(count for _, count in item))
        else:
            yield from _flaws(field.name, item)


def _whole(block: PairedBlock) -> bool:
    """Whether all numbers of a block are whole and fit the journal; there are very many blocks."""
    sums = (*block.champion, *block.candidate)
    whole = {*map(type, sums), type(block.n)} == {int} and len(block.champion) == len(block.candidate)
    return whole and 0 <= block.n <= MAX_COUNT and max(sums, default=0) <= MAX_COUNT >= -min(sums, default=0)


def _flaws(name: str, value: object) -> Iterator[str]:
    if isinstance(value, PairedBlock | MeasurementStratum | MeasurementCounts):
        yield from _counted(value)
    elif isinstance(value, GoldenRows):  # but for its samples: rows as they came, with NaN and all
        yield from _flaws("a count of golden rows", (value.rows, value.wrong))
        yield from _flaws("the largest difference", value.worst)
        yield from _rules(value)
    elif isinstance(value, int) and not 0 <= value <= MAX_COUNT:
        yield f"{name} is not a count"
    elif isinstance(value, float) and not (math.isfinite(value) and abs(value) <= _MAX_MEASUREMENT):
        yield f"{name} is {value}, not a number that can be compared"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flaws(name, key)
            yield from _flaws(f"{name} of {key}" if key else name, item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _flaws(name, item)
    elif is_dataclass(value) and not isinstance(value, FailedExpectation):
        for field in fields(value):
            yield from _flaws(field.name.replace("_", " "), getattr(value, field.name))
        yield from _rules(value)


def _rules(value: object) -> Iterator[str]:
    """What holds between the numbers of one value."""
    if isinstance(value, FeatureShift) and not 0.0 <= value.distance <= 1.0:
        yield f"the distance of {value.name} is {value.distance}, not between 0 and 1"
    if isinstance(value, PairedSums) and max(value.labelled, value.unscored) > value.requests:
        yield "more requests are labelled or unscored than there are"
    if isinstance(value, GoldenRows) and value.wrong > value.rows:
        yield "more golden rows are wrong than there are"


def validate_evidence(evidence: Evidence) -> str:
    """What is wrong with the numbers, in one sentence; empty when nothing is."""
    return next(_flaws("the evidence", evidence), "")
