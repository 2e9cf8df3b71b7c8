"""Measure how versions' answers react to each input column, and find what explains a higher loss."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from surefoot.adapters.served_answers.triage.code_swaps import describe_pairs, swap_codes
from surefoot.adapters.served_answers.triage.column_shifts import UNIT_CHANGES, is_hour_column, value_text
from surefoot.core.answers.answer_values import answer_number, answer_probability
from surefoot.core.errors import InvariantBroken
from surefoot.core.triage.triage_facts import CauseDetail, ColumnCorrection, ColumnReaction, FailureCondition

Row = dict[str, object]
ScoreRows = Callable[[Sequence[Row]], list[object] | None]
"""Answers of a version to rows; None where it fails them."""
_ComputeLosses = Callable[[Sequence[Row], Sequence[object]], "np.ndarray | None"]
"""Losses of a version on rows with these labels; None where they cannot be computed."""

AnswerDistance = Callable[[Sequence[Row], Sequence[Row]], "np.ndarray | None"]
"""Squared distance of a version's answers to changed rows from the good version's answers to the rows as they came."""

_PROBED_ROWS = 300
"""Rows with which it is tried how answers react [count]."""
_CHOOSING_ROWS = 300
"""Rows with which changes of a column are chosen; the others confirm [count]."""
_ERRORS_OF_CHANCE = 3.0
"""Standard errors by which a mean gain differs from none by chance at most [count]."""
_AGREES = 0.55
"""A change undoes a mistake when the version's answers come nearer to the good version's than this [fraction]."""
_TRIED_IF_CONSTANT = (0.0, 1.0, 10.0, 60.0, -10.0)
"""Numbers that stand in for a column that has the same value everywhere."""
_SWAPPED_VALUES = 8
"""Values of a column whose swap in pairs is tried, the most frequent first [count]."""
_MOST_SWAPS = 4
_LARGE_VALUES = 40
"""A column of texts with more different values has no codes that are swapped by mistake [count]."""
_GROUP_VALUES = 12
_LARGEST_GROUP = 0.5
"""A group is a part: what most requests have is no group [fraction]."""


def measure_reactions(own: ScoreRows, good: ScoreRows | None, rows: Sequence[Row]) -> dict[str, ColumnReaction]:
    """How the answers of both versions react to each column of the requests.

    Args:
        own: Asks the version.
        good: Asks the good version; None without one.
        rows: Rows of requests.
    """
    every = list(rows)
    rows = (
        [every[place * len(every) // _PROBED_ROWS] for place in range(_PROBED_ROWS)]
        if len(every) > _PROBED_ROWS
        else every
    )
    before = {name: answer_numbers(ask, rows) for name, ask in (("own", own), ("good", good)) if ask is not None}
    plain = before.get("own")
    if plain is None or not rows:
        return {}
    other = before.get("good")
    ranges = [float(np.ptp(np.quantile(side, [0.05, 0.95]))) for side in (plain, other) if side is not None]
    spread = max(ranges)
    if spread <= 0.0:
        return {}
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        # Over all rows: a column that is the same in a few of them may vary in the others.
        values = [row.get(name) for row in every]
        (commonest, count), *_ = Counter(map(value_text, values)).most_common(1)
        changed = [0.0, 0.0]
        for fresh in _other_values(values, constant=count == len(every)):
            tried = [{**row, name: value} for row, value in zip(rows, fresh, strict=False)]
            for side, (ask, base) in enumerate(((own, plain), (good, other))):
                answers = None if ask is None or base is None else answer_numbers(ask, tried)
                if answers is not None and base is not None:
                    changed[side] = max(changed[side], float(np.mean(np.abs(answers - base))) / spread)
        what = "is missing" if commonest is None else f"is {commonest}"
        found[name] = ColumnReaction(changed[0], changed[1], count / len(every), what)
    return found


def _other_values(values: Sequence[object], *, constant: bool) -> Iterator[list[object]]:
    """The column in another order; where all its values are one, numbers in their place."""
    if not constant:
        places = np.random.default_rng(0).permutation(len(values))
        yield [values[int(place)] for place in places]
        return
    if values[0] is None or isinstance(values[0], int | float):
        for number in _TRIED_IF_CONSTANT:
            yield [number] * len(values)


def answer_numbers(ask: ScoreRows, rows: Sequence[Row]) -> "np.ndarray | None":
    """Ask a version; its answers as numbers, None where they are none, or not one for each row."""
    answers = ask(rows)
    numbers = None if answers is None else values_as_numbers(answers)
    return numbers if numbers is not None and len(numbers) == len(rows) else None


def values_as_numbers(values: Sequence[object]) -> "np.ndarray | None":
    """Answers or labels as numbers, of two class probabilities the last; None where they are none."""
    for read in (answer_number, answer_probability):
        try:
            return np.array([read(value) for value in values], dtype=float)
        except InvariantBroken:
            continue
    return None


def find_column_correction(
    losses: _ComputeLosses,
    rows: Sequence[Row],
    labels: Sequence[object],
    more: "np.ndarray",
    good: _ComputeLosses | None = None,
    swaps: Mapping[str, Mapping[str, str]] | None = None,
    distance: AnswerDistance | None = None,
) -> ColumnCorrection | None:
    """The change of one column that takes away most of the additional loss: a unit, an hour, or swapped codes.

    A change is chosen on some rows, and what it restores is measured on others, so that the best of some hundred
    changes does not look better than it is.

    Args:
        losses: Computes the version's losses.
        rows: Rows of requests.
        labels: What came true.
        more: Loss of the version beyond what it should be, row by row.
        good: Losses of the good version, which has the column right: what it gains from a change counts for nothing.
            None of a champion, whose columns were right before; then neither units nor hours are tried.
        swaps: Codes of each column that the version takes for each other, by its answers; None where that is not
            known, and swaps are looked for by the losses.
        distance: How far the version's answers to changed rows are from those of the good version to the rows as they
            came. Changes are chosen by it, since it needs no labels and varies less than losses do; None chooses by
            losses.
    """
    step = max(len(rows) // _CHOOSING_ROWS, 2)
    half = list(rows[::step]), list(labels[::step])
    base = _mean(losses, *half)

    def score(changed: Sequence[Row]) -> float | None:
        return _mean(losses, changed, half[1]) if distance is None else _mean(distance, changed, half[0])

    start = base if distance is None else score(half[0])
    if base is None or start is None:
        return None
    limit = start if distance is None else _AGREES * start
    best: dict[CauseDetail, tuple[float, str, str, Callable[[object], object]]] = {}
    for name in dict.fromkeys(name for row in half[0] for name in row):
        values = [row.get(name) for row in half[0]]
        known_swaps = None if swaps is None else swaps.get(name, {})
        for what, detail, change in _changes(
            name, values, (losses, half, base), known_swaps, rescaled=good is not None
        ):
            found_score = score([{**row, name: change(row.get(name))} for row in half[0]])
            if found_score is not None and found_score < min(limit, best[detail][0] if detail in best else limit):
                best[detail] = found_score, name, what, change
    kept = [place for place in range(len(rows)) if place % step]
    others, known = [rows[place] for place in kept], [labels[place] for place in kept]
    plain, harm = losses(others, known), float(np.mean(np.asarray(more)[kept]))
    if plain is None or (harm <= 0.0 and distance is None):
        return None
    found = []
    for detail, (_, name, what, change) in best.items():
        changed = [{**row, name: change(row.get(name))} for row in others]
        mended = losses(changed, known)
        if mended is None or len(mended) != len(plain):
            continue
        gains = plain - mended
        if good is not None and (common := _common_gains(good, others, known, name, change)) is not None:
            gains = gains - max(common, 0.0)
        gain, chance = float(np.mean(gains)), _ERRORS_OF_CHANCE * float(np.std(gains) / np.sqrt(len(gains)))
        agrees = distance is not None and _agrees(distance, changed, others)
        restored = min(max(gain / harm, 0.0), 1.0) if harm > 0.0 else 0.0
        found.append(ColumnCorrection(name, what, restored, detail, gain, chance, agrees))
    return max(found, key=lambda one: (one.is_convincing, one.is_likely, one.restored), default=None)


def _agrees(distance: AnswerDistance, changed: Sequence[Row], rows: Sequence[Row]) -> bool:
    """Whether a change brings a version's answers much nearer to those of the good version, beyond chance."""
    before, after = distance(rows, rows), distance(changed, rows)
    if before is None or after is None or len(before) != len(after) or not len(before):
        return False
    nearer = before - after
    chance = _ERRORS_OF_CHANCE * float(np.std(nearer) / np.sqrt(len(nearer)))
    return float(np.mean(nearer)) > chance and float(np.mean(after)) < _AGREES * float(np.mean(before))


def _common_gains(
    good: _ComputeLosses, rows: Sequence[Row], labels: Sequence[object], name: str, change: Callable[[object], object]
) -> float | None:
    """Mean loss that the good version gains from the same change; None where it cannot be asked."""
    plain, changed = (
        _mean(good, given, labels) for given in (rows, [{**row, name: change(row.get(name))} for row in rows])
    )
    return None if plain is None or changed is None else plain - changed


_Change = tuple[str, CauseDetail, Callable[[object], object]]
_Half = tuple[list[Row], list[object]]


def _changes(
    name: str,
    values: Sequence[object],
    tried: tuple[_ComputeLosses, _Half, float],
    swaps: Mapping[str, str] | None,
    *,
    rescaled: bool,
) -> Iterator[_Change]:
    """Changes of a column that undo a mistake that people make with such a column."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and np.isfinite(v)]
    if is_hour_column(name):
        if not rescaled:
            return
        for step in range(1, 24):
            yield f"{step if step <= 12 else step - 24:+d} hours", CauseDetail.HOURS, _shift_hours(step)  # noqa: PLR2004 - half a day
    elif len(set(numbers)) > 1 and rescaled:
        for what, (factor, offset) in UNIT_CHANGES.items():
            yield what, CauseDetail.UNIT, _scale(factor, offset)
    elif swaps:
        yield _swap(swaps)
    elif swaps is None and not numbers and (change := _best_swaps(name, values, *tried)) is not None:
        yield change


def _scale(factor: float, offset: float) -> Callable[[object], object]:
    def change(value: object) -> object:
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) * factor + offset if plain else value  # type: ignore[arg-type]

    return change


def _shift_hours(step: int) -> Callable[[object], object]:
    def change(value: object) -> object:
        return (float(value) + step) % 24.0 if isinstance(value, int | float) else value

    return change


def _best_swaps(
    name: str, values: Sequence[object], losses: _ComputeLosses, half: _Half, base: float
) -> _Change | None:
    """The swaps of codes in pairs that lower the loss, the best first, each code in one pair at most."""
    known = Counter(value for value in values if isinstance(value, str))
    if not 1 < len(known) <= _LARGE_VALUES:
        return None
    frequent = [value for value, _ in known.most_common(_SWAPPED_VALUES)]
    gains = []
    for one, other in itertools.combinations(frequent, 2):
        swap = swap_codes({one: other, other: one})
        loss = _mean(losses, [{**row, name: swap(row.get(name))} for row in half[0]], half[1])
        if loss is not None and loss < base:
            gains.append((base - loss, one, other))
    pairs: dict[str, str] = {}
    lowest = base
    for _, one, other in sorted(gains, reverse=True):
        if one in pairs or other in pairs or len(pairs) >= 2 * _MOST_SWAPS:
            continue
        tried = {**pairs, one: other, other: one}
        change = swap_codes(tried)
        loss = _mean(losses, [{**row, name: change(row.get(name))} for row in half[0]], half[1])
        if loss is not None and loss < lowest:
            pairs, lowest = tried, loss
    return _swap(pairs) if pairs else None


def _swap(pairs: Mapping[str, str]) -> _Change:
    return f"where {describe_pairs(pairs)} are swapped", CauseDetail.CODES, swap_codes(pairs)


def _mean(
    losses: Callable[[Sequence[Row], Any], "np.ndarray | None"], rows: Sequence[Row], labels: Sequence[Any]
) -> float | None:
    found = losses(rows, labels)
    return None if found is None or not len(found) else float(np.mean(found))


def find_harmed_group(rows: Sequence[Row], more: Sequence[float]) -> FailureCondition | None:
    """The group of requests, by one value of one column, that has most of the additional loss.

    Args:
        rows: Rows of requests.
        more: Loss of the version beyond that of the good one, row by row.
    """
    total = float(np.sum(more))
    if total <= 0.0 or not rows:
        return None
    best: tuple[float, FailureCondition] | None = None
    extra = np.asarray(more, float)
    for name in dict.fromkeys(name for row in rows for name in row):
        texts = [value_text(row.get(name)) for row in rows]
        known = Counter(texts)
        if len(known) > _LARGE_VALUES:
            continue
        for value, count in known.most_common(_GROUP_VALUES):
            inside = np.array([text == value for text in texts])
            share, size = float(np.sum(extra[inside])) / total, count / len(rows)
            if size > _LARGEST_GROUP or share <= 2.0 * size:
                continue
            what = "is missing" if value is None else f"is {value}"
            rates = float(np.mean(extra[inside])), float(np.mean(extra[~inside]))
            if best is None or share > best[0]:
                best = share, FailureCondition(str(name), what, min(share, 1.0), *rates)
    return None if best is None else best[1]
