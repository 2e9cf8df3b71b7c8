"""Find pairs of category codes that are swapped in requests or in a version's answers."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from surefoot.adapters.champion_watch.logged_day_counts import is_calendar_column

_Row = Mapping[str, object]
_CodePairs = dict[str, str]
"""Each swapped code with the one that it stands for, in both directions."""
_AnswerNumbers = Callable[[Sequence[dict[str, object]]], "np.ndarray | None"]
"""Answers of a version to rows, as numbers; None where it fails them."""
_Places = dict[str, "np.ndarray"]

_MOST_CODES = 40
"""Codes of a column that are compared, the most frequent first [count]."""
_LEAST_REQUESTS = 15
"""A code with fewer requests before or after the onset is not compared [count]."""
_COMPARED_VALUES = 12
"""Values of another text column whose shares are compared, the most frequent first [count]."""
_ALIKE = 0.5
"""Two codes are swapped when their differences shrink to less than this with each in the other's place [fraction]."""
_UNLIKE = 6.0
"""And when they differ so much in their own places; chance alone makes about 2 [mean squared standard errors]."""
_ASKED_ROWS = 150
"""Rows that are asked with every code [count]."""
_ASKED_CODES = 16
"""Codes that versions are asked about, the most frequent first [count]."""
_ASKED_SHARE = 0.3
"""A column of which these codes are fewer than this is free text [share of the rows]."""
_ANSWERED_ALIKE = 0.48
"""The answers to two codes are swapped when their differences shrink to less than this [fraction]."""


def find_swaps_in_requests(name: str, before: Sequence[_Row], after: Sequence[_Row]) -> _CodePairs:
    """Find pairs of codes that have come with each other's kind of requests since the onset.

    A code is known by how often it comes, and by the values that the other columns have in its requests.

    Args:
        name: The column.
        before: Rows of requests before the onset.
        after: Rows after it.
    """
    old, new = (_places(name, rows) for rows in (before, after))
    codes = [code for code in old if code in new][:_MOST_CODES]
    if len(codes) < 2:  # noqa: PLR2004 - a pair
        return {}
    differences = [_differences(*(_shares(codes, side, rows) for side, rows in ((new, after), (old, before))))]
    for then, now in _other_columns(name, before, after):
        differences.append(_differences(_moments(codes, new, now), _moments(codes, old, then)))
    return _best_pairs(codes, np.nanmean(np.stack(differences), axis=0), _ALIKE, _UNLIKE)


def _places(name: str, rows: Sequence[_Row]) -> _Places:
    """The places of the rows of each frequent code, the most frequent code first."""
    values = [row.get(name) for row in rows]
    known = Counter(value for value in values if isinstance(value, str))
    frequent = [code for code, count in known.most_common() if count >= _LEAST_REQUESTS]
    return {code: np.array([place for place, value in enumerate(values) if value == code]) for code in frequent}


def _shares(codes: Sequence[str], places: _Places, rows: Sequence[_Row]) -> "np.ndarray":
    """Share of the requests of each code, and the variance of that share; shape (2, codes)."""
    shares = np.array([len(places[code]) / len(rows) for code in codes])
    return np.stack([shares, shares * (1.0 - shares) / len(rows)])


def _other_columns(
    name: str, before: Sequence[_Row], after: Sequence[_Row]
) -> Iterator[tuple["np.ndarray", "np.ndarray"]]:
    """The other columns in numbers, before and after: numbers as ranks, and whether a text is each of its values."""
    for other in dict.fromkeys(key for row in (*before, *after) for key in row):
        if other == name or is_calendar_column(str(other)):
            continue
        old, new = ([row.get(other) for row in rows] for rows in (before, after))
        numbers = [np.array([_number(value) for value in side]) for side in (old, new)]
        if np.isfinite(numbers[0]).any():
            ranked = np.sort(numbers[0][np.isfinite(numbers[0])])
            then, now = (
                np.where(np.isfinite(side), np.searchsorted(ranked, side) / len(ranked), np.nan) for side in numbers
            )
            yield then, now
            continue
        for value, _ in Counter(one for one in old if isinstance(one, str)).most_common(_COMPARED_VALUES):
            then, now = (np.array([float(one == value) for one in side]) for side in (old, new))
            yield then, now


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _moments(codes: Sequence[str], places: _Places, values: "np.ndarray") -> "np.ndarray":
    """Mean of the values in the requests of each code, and the variance of that mean; NaN without values."""
    found = []
    for code in codes:
        known = values[places[code]]
        known = known[np.isfinite(known)]
        spread = max(float(np.var(known)), 1.0 / len(known)) / len(known) if len(known) else np.nan
        found.append((float(np.mean(known)) if len(known) else np.nan, spread))
    return np.array(found).T


def _differences(new: "np.ndarray", old: "np.ndarray") -> "np.ndarray":
    """Squared difference of each code now (row) from each code before (column) [squared standard errors]."""
    made: np.ndarray = (new[0][:, None] - old[0][None, :]) ** 2 / (new[1][:, None] + old[1][None, :])
    return made


def find_swaps_in_answers(name: str, rows: Sequence[_Row], own: _AnswerNumbers, good: _AnswerNumbers) -> _CodePairs:
    """Find pairs of codes that one version answers as the other version answers the swapped code.

    Both versions are asked about the same rows with every code; what a row adds whatever its code is left out.

    Args:
        name: The column.
        rows: Rows of requests.
        own: Asks the version that has the codes wrong, if one has.
        good: Asks the good version.
    """
    known = Counter(value for row in rows if isinstance(value := row.get(name), str))
    codes = [code for code, _ in known.most_common(_ASKED_CODES)]
    if len(codes) < 2 or sum(known[code] for code in codes) < _ASKED_SHARE * len(rows):  # noqa: PLR2004 - a pair
        return {}
    step = max(len(rows) // _ASKED_ROWS, 1)
    asked = list(rows[::step])[:_ASKED_ROWS]
    effects = []
    for ask in (own, good):
        answers = ask([{**row, name: code} for code in codes for row in asked])
        if answers is None:
            return {}
        by_code = answers.reshape(len(codes), len(asked))
        effects.append(by_code - by_code.mean(axis=0))
    cost = ((effects[0][:, None, :] - effects[1][None, :, :]) ** 2).mean(axis=2)
    return _best_pairs(codes, cost, _ANSWERED_ALIKE, 0.0)


def _best_pairs(codes: Sequence[str], cost: "np.ndarray", alike: float, unlike: float) -> _CodePairs:
    """Pairs of codes that fit better in each other's place, the best first, each code in one pair at most.

    Args:
        codes: The codes.
        cost: How far each code now (row) is from each code of before, or of the good version (column).
        alike: A pair is one when its cost shrinks to less than this share [fraction].
        unlike: And when it costs more than this in its own places.
    """
    found = []
    for i, j in itertools.combinations(range(len(codes)), 2):
        stays, swapped = cost[i, i] + cost[j, j], cost[i, j] + cost[j, i]
        if stays > unlike and swapped < alike * stays:
            found.append((float(stays - swapped), codes[i], codes[j]))
    pairs: _CodePairs = {}
    for _, one, other in sorted(found, reverse=True):
        if one not in pairs and other not in pairs:
            pairs |= {one: other, other: one}
    return pairs


def describe_pairs(pairs: Mapping[str, str]) -> str:
    """The pairs in words, such as "AA and UA, B6 and DL"."""
    return ", ".join(f"{one} and {other}" for one, other in pairs.items() if one < other)


def swap_codes(pairs: Mapping[str, str]) -> Callable[[object], object]:
    """Make a function that replaces each swapped code by its partner, to undo the swap."""

    def change(value: object) -> object:
        return pairs.get(value, value) if isinstance(value, str) else value

    return change
