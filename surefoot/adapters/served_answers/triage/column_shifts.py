"""Find columns whose values have shifted since an incident's onset, and undo their shifts."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from surefoot.adapters.champion_watch.logged_day_counts import is_calendar_column
from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.adapters.served_answers.triage.code_swaps import describe_pairs, find_swaps_in_requests, swap_codes
from surefoot.core.canonical_text import canonical_text
from surefoot.core.triage.triage_facts import CauseDetail, ColumnShift

MIN_ROWS = 30
"""Fewer rows than this tell nothing of a distribution or of a mean [count]."""
_NOISE = 1.95
"""Scale of the largest difference of two samples that chance makes in one of a thousand comparisons.

Source: Smirnov (1948), Annals of Mathematical Statistics 19(2), for the limit of its distribution.
"""

_HOUR_COLUMNS = frozenset({"hour", "hr", "hour_of_day", "hourofday", "dep_hour", "request_hour"})
_FOLLOWS_TIME = 0.4
"""A column follows the time of the requests when so many are equally far from it [fraction]."""
_GONE = 0.2
"""An hour that was usual has gone when it is less than so much as frequent as before [fraction]."""
_FACTORS = {
    "100": 100.0,
    "1,000": 1000.0,
    "10": 10.0,
    "60": 60.0,
    "3.6": 3.6,
    "1.609": 1.609344,
    "2.237": 2.236936,
    "33.86": 33.8639,
}
UNIT_CHANGES = {
    **{f"multiplied by {text}": (factor, 0.0) for text, factor in _FACTORS.items()},
    **{f"divided by {text}": (1.0 / factor, 0.0) for text, factor in _FACTORS.items()},
    "with the other sign": (-1.0, 0.0),
    "converted from Fahrenheit to Celsius": (1.0 / 1.8, -32.0 / 1.8),
    "converted from Celsius to Fahrenheit": (1.8, 32.0),
}
"""Changes between units that people mix up, each as factor and offset."""
_CONVERTED = 0.25
"""Another unit moves a column's distribution at least so far [largest difference of the distribution functions]."""
_EXPLAINED = 0.2
"""A change of unit is one when it leaves less than so much of the distance [fraction]."""
_STAYS, _VARIED = 0.9, 0.6
"""A column is frozen when so many values are one, and before no value was so frequent [fraction]."""
_SAME_CODES = 0.5
"""Codes are swapped when the frequencies without their names differ by less than so much of the whole [fraction]."""

_NEW_CODES, _OWN_NEW_CODES = 0.3, 0.05
"""Codes are new when so many requests have one, and no more than this had one within the time before [fractions]."""
_LEAST_SWAPPED = 0.02
"""Swapped codes that fewer requests have are no cause of an incident [fraction]."""


def column_shifts(before: Sequence[LoggedRequest], after: Sequence[LoggedRequest]) -> dict[str, ColumnShift]:
    """Measure how far the distribution of each named column has shifted.

    Columns of the calendar move by themselves: only hours of the day are compared, with the time of the request.
    """
    if min(len(before), len(after)) < MIN_ROWS:
        return {}
    names = dict.fromkeys(name for row in (*before, *after) for name in row.features)
    found, texts = {}, []
    for name in names:
        if is_hour_column(name):
            if (moved := _shifted_hours(name, before, after)) is not None:
                found[name] = moved
        elif not is_calendar_column(name):
            old, new = ([row.features.get(name) for row in rows] for rows in (before, after))
            if (shift := _shift_of(old, new)) is not None:
                found[name] = shift
                if any(map(_text, old)):
                    texts.append(name)
    return {**found, **_swapped_codes({name: found[name] for name in texts}, before, after)}


def _swapped_codes(
    shifts: Mapping[str, ColumnShift], before: Sequence[LoggedRequest], after: Sequence[LoggedRequest]
) -> dict[str, ColumnShift]:
    """The column whose codes have come with each other's requests since the onset, if there is one.

    Codes that are swapped in one column change the requests that codes of others come with: the most requests decide.
    """
    found = []
    rows = [[row.features for row in side] for side in (before, after)]
    for name, shift in shifts.items():
        if pairs := find_swaps_in_requests(name, *rows):
            touched = sum(row.get(name) in pairs for row in rows[1]) / len(after)
            if touched < _LEAST_SWAPPED:
                continue
            what = f"{describe_pairs(pairs)} come with each other's requests"
            distance = max(shift.distance, touched)
            swapped = replace(
                shift, distance=distance, what=what, detail=CauseDetail.CODES, swapped=pairs, is_certain=True
            )
            found.append((touched, name, swapped))
    return {name: shift for _, name, shift in sorted(found, key=lambda one: one[:2])[-1:]}


def is_hour_column(name: str) -> bool:
    """Whether a column holds hours of the day, by its name."""
    return name.lower().replace("-", "_") in _HOUR_COLUMNS


def _shifted_hours(name: str, before: Sequence[LoggedRequest], after: Sequence[LoggedRequest]) -> ColumnShift | None:
    """How an hour of the day has moved against the time of the requests; None where it does not follow that time."""
    apart = [Counter(_hours_apart(row, name) for row in rows) for rows in (before, after)]
    (old, count), *_ = apart[0].most_common(1)
    (new, count_new), *_ = apart[1].most_common(1)
    if old is None or count / len(before) < _FOLLOWS_TIME:
        return None
    noise = _NOISE * math.sqrt((len(before) + len(after)) / (len(before) * len(after)))
    values = [[row.features.get(name) for row in rows] for rows in (before, after)]
    if _has_frozen(*values):
        said = f"{value_text(values[1][0])} in nearly every request"
        return ColumnShift(1.0 - count_new / len(after), noise, said, detail=CauseDetail.FROZEN)
    if new is None or count_new / len(after) < _FOLLOWS_TIME:
        return None
    step = (new - old + 12) % 24 - 12
    distance = abs(apart[1][new] / len(after) - apart[0][new] / len(before))
    detail = CauseDetail.HOURS if step else CauseDetail.NONE
    said = f"{step:+d} h against the time of the request"
    # Summer time moves a local hour by one hour against UTC, and requests of another region come beside the old ones.
    certain = abs(step) > 1 and apart[1][old] / len(after) < _GONE * count / len(before)
    return ColumnShift(distance if step else 0.0, noise, said, detail=detail, is_certain=certain)


def _hours_apart(row: LoggedRequest, name: str) -> int | None:
    """Hours from the request's time of day in UTC to the column's hour, 0 to 23; None without a number."""
    value = row.features.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(float(value) - row.at / 3600.0 % 24.0) % 24


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
        return ColumnShift(gap, noise, f"missing in {missing[0]:.0%} -> {missing[1]:.0%}", detail=CauseDetail.MISSING)
    middles = [float(np.median(kept)) if kept else math.nan for kept in numbers]
    detail = _numeric_detail(old, new, numbers)
    return ColumnShift(distance, noise, f"median {middles[0]:.6g} -> {middles[1]:.6g}", detail=detail)


def _numeric_detail(old: Sequence[object], new: Sequence[object], numbers: Sequence[Sequence[float]]) -> CauseDetail:
    """How numbers have changed, where that is clear: another unit, or one value that stays."""
    if _has_frozen(old, new):
        return CauseDetail.FROZEN
    if not all(len(kept) >= MIN_ROWS for kept in numbers) or _largest_difference(*numbers) < _CONVERTED:
        return CauseDetail.NONE
    from scipy.stats import wasserstein_distance  # noqa: PLC0415 - costs every command 1.5 seconds

    plain, converted = np.asarray(numbers[0]), np.asarray(numbers[1])
    # Far apart, two distributions differ by 1 whatever their unit: the distance must go on growing with the values.
    left = [wasserstein_distance(plain * factor + offset, converted) for factor, offset in UNIT_CHANGES.values()]
    explained = min(left) < _EXPLAINED * wasserstein_distance(plain, converted)
    return CauseDetail.UNIT if explained else CauseDetail.NONE


def _has_frozen(old: Sequence[object], new: Sequence[object]) -> bool:
    """Whether nearly all values are one that was not so frequent before."""
    (value, count), *_ = Counter(map(value_text, new)).most_common(1)
    before = sum(value_text(one) == value for one in old) / len(old)
    return value is not None and count / len(new) >= _STAYS and before < _VARIED


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
    distance = 0.5 * sum(map(abs, gaps.values()))
    if not _has_frozen(old, new) and _has_new_codes(old, new):
        fresh = max((value for value in other if value not in one), key=lambda value: (other[value], str(value)))
        said = f"such as {fresh}, in {other[fresh] / len(new):.0%}"
        return ColumnShift(distance, noise, said, detail=CauseDetail.NEW_CODES)
    # The more values, the more their shares differ by chance.
    room = math.sqrt(max(len(gaps) - 1, 1))
    detail = CauseDetail.FROZEN if _has_frozen(old, new) else _swapped(one, other, distance, (len(old), len(new)))
    return ColumnShift(distance, min(noise * room, 1.0), f"{named} in {before:.0%} -> {after:.0%}", detail=detail)


def _has_new_codes(old: Sequence[object], new: Sequence[object]) -> bool:
    """Whether many values are texts that no request had before, in a column that had hardly any new ones until then."""
    half = len(old) // 2
    texts, newer = ([value for value in values if isinstance(value, str)] for values in (old, new))
    unseen = [
        sum(value not in known for value in values) / size
        for known, values, size in (
            ({*texts[:half]}, texts[half:], max(len(old) - half, 1)),
            ({*texts}, newer, max(len(new), 1)),
        )
    ]
    return unseen[0] <= _OWN_NEW_CODES and unseen[1] >= _NEW_CODES


def _swapped(
    one: Counter[str | None], other: Counter[str | None], distance: float, sizes: tuple[int, int]
) -> CauseDetail:
    """Whether the same codes have each other's frequencies."""
    if distance <= 0.0 or {*one} != {*other}:
        return CauseDetail.NONE
    shares = [sorted(count / size for count in side.values()) for side, size in zip((one, other), sizes, strict=True)]
    unnamed = 0.5 * sum(abs(a - b) for a, b in zip(*shares, strict=True))
    return CauseDetail.CODES if unnamed < _SAME_CODES * distance else CauseDetail.NONE


def value_text(value: object) -> str | None:
    """A value as one text whatever its spelling; None where it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return canonical_text(value)


def undo_column_shift(old: Sequence[object], new: Sequence[object], shift: ColumnShift) -> Iterator[list[object]]:
    """A column after the onset with values of before: in their order, by rank or frequency, and with its hours back.

    A unit that has changed keeps the order of the values, so that those of the same rank are what they should be; codes
    that were swapped keep their frequencies.
    """
    if shift.detail is CauseDetail.HOURS:
        step = int(shift.what.split()[0])
        yield [(float(v) - step) % 24.0 if isinstance(v, int | float) else v for v in new]
        return
    if shift.swapped:
        yield list(map(swap_codes(shift.swapped), new))
        return
    yield [old[place % len(old)] for place in range(len(new))]
    kept = sorted(float(v) for v in old if isinstance(v, int | float) and not math.isnan(v))
    ranked = sorted(float(v) for v in new if isinstance(v, int | float) and not math.isnan(v))
    if not kept or not ranked:
        names = [[value for value, _ in Counter(side).most_common()] for side in (map(_text, old), map(_text, new))]
        back = dict(zip(names[1], names[0], strict=False))
        yield [back.get(_text(value)) if isinstance(value, str) else value for value in new]
        return
    mapped: list[object] = []
    for value in new:
        if isinstance(value, int | float) and not math.isnan(value):
            middle = (np.searchsorted(ranked, value, "left") + np.searchsorted(ranked, value, "right")) / 2.0
            mapped.append(kept[min(int(middle * len(kept) / len(ranked)), len(kept) - 1)])
        else:
            mapped.append(value)
    yield mapped


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
