"""Compare each column of logged requests before and after a time, to find columns whose values have moved."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from surefoot.adapters.champion_watch.logged_day_counts import follows_calendar
from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.core.canonical_text import canonical_text
from surefoot.core.incidents.triage import ColumnShift

MIN_ROWS = 30
"""Fewer rows than this tell nothing of a distribution or of a mean [count]."""
_NOISE = 1.95
"""Scale of the largest difference of two samples that chance makes in one of a thousand comparisons.

Source: Smirnov (1948), Annals of Mathematical Statistics 19(2), for the limit of its distribution.
"""


def column_shifts(before: Sequence[LoggedRequest], after: Sequence[LoggedRequest]) -> dict[str, ColumnShift]:
    """How far each column has moved; columns of the calendar, and values without a name, are left out."""
    if min(len(before), len(after)) < MIN_ROWS:
        return {}
    names = dict.fromkeys(name for row in (*before, *after) for name in row.features)
    found = {}
    for name in names:
        if not follows_calendar(name):
            old, new = ([row.features.get(name) for row in rows] for rows in (before, after))
            if (shift := _shift_of(old, new)) is not None:
                found[name] = shift
    return found


def _shift_of(old: Sequence[object], new: Sequence[object]) -> ColumnShift | None:
    """How far one column has moved: the largest difference of its distributions, or of its shares of missing values."""
    noise = _NOISE * math.sqrt((len(old) + len(new)) / (len(old) * len(new)))
    numbers = [[float(v) for v in values if isinstance(v, int | float) and not math.isnan(v)] for values in (old, new)]
    texts = [sum(isinstance(v, str) for v in values) for values in (old, new)]
    if any(texts) and any(numbers):
        changed = (texts[1] > 0) != (texts[0] > 0)
        return (
            ColumnShift(1.0, noise, "its values became of another kind")
            if changed
            else _category_shift(old, new, noise)
        )
    if not any(numbers):
        return _category_shift(old, new, noise) if any(texts) else None
    missing = [1.0 - len(kept) / len(values) for kept, values in zip(numbers, (old, new), strict=True)]
    gap = abs(missing[1] - missing[0])
    distance = _largest_difference(numbers[0], numbers[1]) if all(numbers) else 0.0
    if gap > distance:
        return ColumnShift(gap, noise, f"missing in {missing[0]:.0%} -> {missing[1]:.0%}")
    middles = [float(np.median(kept)) if kept else math.nan for kept in numbers]
    return ColumnShift(distance, noise, f"median {middles[0]:.6g} -> {middles[1]:.6g}")


def _largest_difference(old: Sequence[float], new: Sequence[float]) -> float:
    """Largest difference of two empirical distribution functions."""
    one, other = np.sort(old), np.sort(new)
    every = np.concatenate([one, other])
    below = [np.searchsorted(side, every, side="right") / len(side) for side in (one, other)]
    return float(np.max(np.abs(below[0] - below[1])))


def _category_shift(old: Sequence[object], new: Sequence[object], noise: float) -> ColumnShift:
    """Half the sum of the differences of the values' shares."""
    one, other = (Counter(value_text(value) for value in values) for values in (old, new))
    gaps = {value: other[value] / len(new) - one[value] / len(old) for value in {*one, *other}}
    furthest = max(gaps, key=lambda value: (abs(gaps[value]), str(value)))
    named = "missing" if furthest is None else furthest
    before, after = one[furthest] / len(old), other[furthest] / len(new)
    room = math.sqrt(max(len(gaps) - 1, 1))
    return ColumnShift(
        0.5 * sum(map(abs, gaps.values())), min(noise * room, 1.0), f"{named} in {before:.0%} -> {after:.0%}"
    )


def value_text(value: object) -> str | None:
    """A value as one text whatever its spelling; None where it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return canonical_text(value)


def values_as_before(old: Sequence[object], new: Sequence[object]) -> Iterator[list[object]]:
    """A column after the onset with values of before: drawn in their order, and numbers by their rank as well.

    A unit that has changed keeps the order of the values, so that those of the same rank are what they should be.
    """
    yield [old[place % len(old)] for place in range(len(new))]
    kept = sorted(float(v) for v in old if isinstance(v, int | float) and not math.isnan(v))
    ranked = sorted(float(v) for v in new if isinstance(v, int | float) and not math.isnan(v))
    if not kept or not ranked:
        return
    mapped: list[object] = []
    for value in new:
        if isinstance(value, int | float) and not math.isnan(value):
            middle = (np.searchsorted(ranked, value, "left") + np.searchsorted(ranked, value, "right")) / 2.0
            mapped.append(kept[min(int(middle * len(kept) / len(ranked)), len(kept) - 1)])
        else:
            mapped.append(value)
    yield mapped
