"""Test with probe rows whether a model answers each row independently.

Requests of different callers are predicted together only after this probe. What is compared are JSON values.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from surefoot.models.rows.answer_checks import describe_error

_AskRows = Callable[[list[list[object]]], list[object]]
"""Answers some rows, one JSON value a row; raises where it cannot."""
_RELATIVE_TOLERANCE = 1e-5
"""Largest relative difference of two numbers that are the same: batched sums in single precision differ as much."""
_ABSOLUTE_TOLERANCE = 1e-6
"""The same for numbers near zero, as a share of the usual size of such numbers (the median over the probes)."""
_MIN_ROWS = 6
"""Rows that are asked alone at least, however slow the model [count]."""
_FEW_ROWS_AFTER_S = 1.0
"""After so long no more rows are asked than at least [s]."""
_MAX_PROOF_S = 3.0
"""A model that takes longer for the shortest probe is left unproven [s]."""
_PAIR = 2


class RowIndependence(StrEnum):
    """What is known on whether a model's answer to a row depends on the other rows of its batch."""

    ROW_WISE = "row-wise"
    BATCH_DEPENDENT = "batch-dependent"
    NOT_REPEATABLE = "not repeatable"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class IndependenceResult:
    """The result of the probes: whether requests may share a batch, and why not.

    Attributes:
        batching: Whether requests may share a batch; only ROW_WISE ones do.
        why: Why they do not, in one line; empty when they do.
        sizes: Usual size of the numbers in an answer, by their place.
        answered: Probe rows that the model answered alone [count].
        problem: What the model said of the first probe row that it refused; empty without one.
    """

    batching: RowIndependence
    why: str = ""
    sizes: "Mapping[_Place, float] | None" = None
    answered: int = 0
    problem: str = ""

    @property
    def row_wise(self) -> bool:
        """Whether requests may share a batch."""
        return self.batching is RowIndependence.ROW_WISE


_Place = tuple[str | int, ...]
"""Where a value stands in a nested answer."""
_TOO_SLOW_REASON = "it is too slow to be shown row-wise"
_TOO_FEW_REASON = "it has answered too few rows yet to be shown row-wise"
DEPENDENT_REASON = "its answer to a row depends on the other rows of the batch"
UNSTABLE_REASON = "it gives different answers to the same row: it keeps state between calls, or draws random numbers"


def _answer_parts(answer: object, place: _Place = ()) -> dict[_Place, object]:
    """Every plain value of an answer by its place."""
    if isinstance(answer, Mapping):
        made: dict[_Place, object] = {(*place, "{}"): len(answer)}
        for key, item in answer.items():
            made |= _answer_parts(item, (*place, str(key)))
        return made
    if isinstance(answer, list | tuple):
        made = {(*place, "[]"): len(answer)}
        for index, item in enumerate(answer):
            made |= _answer_parts(item, (*place, index))
        return made
    return {place: answer}


def _typical_sizes(answers: Sequence[object]) -> dict[_Place, float]:
    """Median size of the numbers at each place."""
    found: dict[_Place, list[float]] = {}
    for answer in answers:
        for place, value in _answer_parts(answer).items():
            if isinstance(value, float):
                found.setdefault(place, []).append(abs(value))
    return {place: sorted(values)[len(values) // 2] for place, values in found.items()}


def answers_equal(one: object, other: object, sizes: Mapping[_Place, float] | None = None) -> bool:
    """Whether two answers are equal, but for the last digits of numbers with a fraction.

    Args:
        one: An answer.
        other: Another one.
        sizes: Usual sizes by place; without them numbers near zero have to be equal to their relative difference.
    """
    if one == other and type(one) is type(other):
        return True
    mine, theirs = _answer_parts(one), _answer_parts(other)
    return mine.keys() == theirs.keys() and all(
        _alike(value, theirs[place], (sizes or {}).get(place, 0.0)) for place, value in mine.items()
    )


def _alike(one: object, other: object, size: float) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or not isinstance(one, float | int):
        return type(one) is type(other) and one == other
    if not isinstance(other, float | int):
        return False
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return abs(one - other) <= _RELATIVE_TOLERANCE * max(abs(one), abs(other)) + _ABSOLUTE_TOLERANCE * size


class _ProbeRun:
    """Probe rows, and what the model answered to each alone."""

    def __init__(self, ask: _AskRows, rows: list[list[object]], known: Sequence[object] = ()) -> None:
        self._ask = ask
        self.rows = rows
        self.alone: dict[int, object] = dict(enumerate(known))
        self.refused: list[int] = []
        self.sizes: dict[_Place, float] = {}
        self.problem = ""
        self.began = time.monotonic()

    @property
    def spent(self) -> float:
        """Time since the beginning [s]."""
        return time.monotonic() - self.began

    def ask_alone(self) -> None:
        """Ask each row alone: the least number of rows, and the others while there is time."""
        for index, row in list(enumerate(self.rows))[len(self.alone) :]:
            if (self.spent > _FEW_ROWS_AFTER_S and len(self.alone) >= _MIN_ROWS) or self.spent > _MAX_PROOF_S:
                return
            try:
                (self.alone[index],) = self._ask([row])
            except Exception as error:  # noqa: BLE001 - the model's own code may raise anything
                self.problem = self.problem or describe_error(error)
                self.refused.append(index)
        self.sizes = _typical_sizes(list(self.alone.values()))

    def repeats(self, indices: Sequence[int]) -> bool:
        """Whether rows that were answered alone are answered the same again."""
        for index in indices:
            try:
                (again,) = self._ask([self.rows[index]])
            except Exception:  # noqa: BLE001 - the model's own code may raise anything
                return False
            if not answers_equal(self.alone[index], again, self.sizes):
                return False
        return True

    def together(self, indices: Sequence[int]) -> int | None:
        """Ask some rows together; the first whose answer is another one than alone, or None.

        Raises:
            Exception: The model refuses them together, which harms no caller: they are asked again alone.
        """
        answers = self._ask([self.rows[index] for index in indices])
        for index, answer in zip(indices, answers, strict=True):
            if index not in self.alone or not answers_equal(self.alone[index], answer, self.sizes):
                return index
        return None


def probe_independence(
    ask: _AskRows, rows: list[list[object]], known: Sequence[object] = (), *, together: bool = True
) -> IndependenceResult:
    """Ask rows alone, again, in batches, in other orders and with other rows, and compare.

    Args:
        ask: Asks the model.
        rows: Probe rows, all of one table.
        known: The answers to these rows alone, where callers have sent them; without them rows are made up, and answers
            that are all the same show nothing.
        together: Whether rows may be asked together at all; else only whether the model repeats itself is shown.
    """
    found = _ProbeRun(ask, rows, known)
    found.ask_alone()
    good = list(found.alone)
    if len(good) < _PAIR:
        slow = found.spent > _MAX_PROOF_S
        why = _TOO_SLOW_REASON if slow else _TOO_FEW_REASON
        return IndependenceResult(RowIndependence.UNPROVEN, why, answered=len(good), problem=found.problem)
    independence = IndependenceResult(RowIndependence.ROW_WISE, "", found.sizes, len(good), found.problem)
    if not found.repeats(good[:3]):
        return _but(independence, RowIndependence.NOT_REPEATABLE, UNSTABLE_REASON)
    if not together:
        return independence
    done = 0
    for indices in _orders(good, found.refused):
        if found.spent > _MAX_PROOF_S or (found.spent > _FEW_ROWS_AFTER_S and done >= _PAIR):
            break
        try:
            other = found.together(indices)
        except Exception:  # noqa: BLE001, S112 - refused together, they are asked alone: no caller is harmed
            continue
        done += 1
        if other is not None:
            stable = other not in found.alone or found.repeats([other])
            return _but(independence, *(_DEPENDS if stable else _UNSTABLE))
    if not found.repeats(good[-2:]):
        return _but(independence, *_UNSTABLE)
    if not done:
        slow = found.spent > _MAX_PROOF_S
        return _but(
            independence,
            RowIndependence.UNPROVEN if slow else RowIndependence.BATCH_DEPENDENT,
            _TOO_SLOW_REASON if slow else "it refuses several rows at once",
        )
    if not known and all(answers_equal(found.alone[good[0]], found.alone[index]) for index in good):
        return _but(
            independence, RowIndependence.UNPROVEN, "its answers to made-up rows are all the same, which shows nothing"
        )
    return independence


_DEPENDS = (RowIndependence.BATCH_DEPENDENT, DEPENDENT_REASON)
_UNSTABLE = (RowIndependence.NOT_REPEATABLE, UNSTABLE_REASON)


def _but(independence: IndependenceResult, batching: RowIndependence, why: str) -> IndependenceResult:
    return IndependenceResult(batching, why, independence.sizes, independence.answered, independence.problem)


def _orders(good: list[int], refused: list[int]) -> list[list[int]]:
    """Batches of rows that were answered alone, and then of those together with rows that were not."""
    draw = random.Random(0)  # noqa: S311 - the same probes at every load
    shuffled = draw.sample(good, len(good))
    batches = [good, shuffled, good[::-1], [good[0], good[0], good[-1]], [good[1], good[0]], shuffled[: len(good) // 2]]
    batches += [[good[1], good[-1], good[0]], shuffled[-3:]]
    batches += [[good[0], one, good[1]] for one in refused[:4]]
    return [batch for batch in batches if len(batch) > 1]
