"""What is known of a model's rows: from made-up rows, from callers' rows, and while it is asked."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.models.model_protocols import ColumnNames
from surefoot.models.rows import live_recheck
from surefoot.models.rows.independence import (
    IndependenceResult,
    RowIndependence,
    answers_equal,
    probe_independence,
)
from surefoot.models.rows.live_recheck import MIN_RECHECKED_ROWS, LiveRecheck

ROWS: list[list[object]] = [[float(7 * i % 24), i % 3] for i in range(24)]
Function = Callable[[list[list[object]]], list[object]]


class Model:
    """Answers with a function of all rows, and remembers how many it was asked at once."""

    batchable = True

    def __init__(self, function: Function) -> None:
        self.function = function
        self.sizes: list[int] = []

    def answer(
        self, names: ColumnNames, values: list[list[object]], params: object = None, csv: bool = False
    ) -> list[object]:
        """Answer."""
        self.sizes.append(len(values))
        return self.function(values)


def x(rows: list[list[object]]) -> list[float]:
    """The first value of each row."""
    return [float(str(row[0])) for row in rows]


def drifting() -> Function:
    """Answers that depend on how often it was asked."""
    calls = iter(range(10**6))
    return lambda rows: [value + next(calls) for value in x(rows)]


def refusing(rows: list[list[object]]) -> list[object]:
    """Answer one row, and nothing of several."""
    if len(rows) > 1:
        raise ValueError("one at a time")
    return list(x(rows))


def filling(rows: list[list[object]]) -> list[object]:
    """Refuse a row alone, and answer it with others."""
    if len(rows) == 1 and x(rows)[0] == 0.0:
        raise ValueError("nothing to fill it from")
    return [value or sum(x(rows)) / len(rows) for value in x(rows)]


@pytest.mark.parametrize(
    ("function", "batching"),
    [
        (lambda rows: [2.0 * value for value in x(rows)], RowIndependence.ROW_WISE),
        (lambda rows: [value * (1.0 + 1e-7 * len(rows)) for value in x(rows)], RowIndependence.ROW_WISE),
        (lambda rows: [{"a": value, "b": [str(value)]} for value in x(rows)], RowIndependence.ROW_WISE),
        (lambda rows: sorted(x(rows)), RowIndependence.BATCH_DEPENDENT),
        (lambda rows: [value - sum(x(rows)) / len(rows) for value in x(rows)], RowIndependence.BATCH_DEPENDENT),
        (lambda rows: [sum(other <= value for other in x(rows)) for value in x(rows)], RowIndependence.BATCH_DEPENDENT),
        (lambda rows: [sum(other[1] == row[1] for other in rows) for row in rows], RowIndependence.BATCH_DEPENDENT),
        (lambda rows: [index + value for index, value in enumerate(x(rows))], RowIndependence.BATCH_DEPENDENT),
        (filling, RowIndependence.BATCH_DEPENDENT),
        (refusing, RowIndependence.BATCH_DEPENDENT),
        (drifting(), RowIndependence.NOT_REPEATABLE),
        (lambda rows: ["always" for _ in rows], RowIndependence.UNPROVEN),
    ],
)
def test_what_depends_on_neighbours_or_memory_is_told_apart(function: Function, batching: RowIndependence) -> None:
    """Rounding is no difference; sorting, statistics, ranks, groups, positions and gaps filled from others are."""
    result = probe_independence(function, ROWS)
    assert result.batching is batching
    assert bool(result.why) is (batching is not RowIndependence.ROW_WISE)


def test_what_made_up_rows_do_not_show_the_rows_of_callers_show() -> None:
    """A model that made-up rows tell nothing of is asked alone until enough callers' rows have shown it."""
    model = Model(lambda rows: ["late" if value > 900.0 else "on time" for value in x(rows)])
    watched = LiveRecheck(model, probe_independence(model.function, ROWS))
    assert watched.independence.batching is RowIndependence.UNPROVEN
    for number in range(MIN_RECHECKED_ROWS):
        assert not watched.independence.row_wise
        row: list[object] = [1000.0 * (number % 3) + number, 0]
        watched.check_batch(("x", "g"), [row], (), watched.answer(("x", "g"), [row]))
    assert watched.independence.row_wise
    assert max(model.sizes) == MIN_RECHECKED_ROWS


def test_rows_of_one_answer_prove_little() -> None:
    """While all callers' rows have the same answer many more are waited for: of equal answers none is out of place."""
    model = Model(lambda rows: [*sorted("late" if value > 900.0 else "on time" for value in x(rows))])
    watched = LiveRecheck(model, probe_independence(model.function, ROWS))
    for number in range(3 * MIN_RECHECKED_ROWS):
        row: list[object] = [2000.0 - 50.0 * (number == 2 * MIN_RECHECKED_ROWS) * 30 + number, 0]
        watched.check_batch(("x", "g"), [row], (), watched.answer(("x", "g"), [row]))
        assert not watched.independence.row_wise
    assert watched.independence.batching is RowIndependence.BATCH_DEPENDENT


def test_a_difference_on_a_callers_row_ends_batches_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that passed at load, and answers a caller's row otherwise in a batch than alone, is found out."""
    monkeypatch.setattr(live_recheck, "ROWS_PER_RECHECK", 1)
    model = Model(lambda rows: [value + (100.0 if len(rows) > 1 and value > 50.0 else 0.0) for value in x(rows)])
    watched = LiveRecheck(model, probe_independence(model.function, ROWS))
    assert watched.independence.row_wise
    rows: list[list[object]] = [[60.0, 0], [70.0, 1]]
    while not watched.checked:
        watched.check_batch(("x", "g"), rows, (), watched.answer(("x", "g"), rows))
    assert (watched.independence.batching, watched.differed) == (RowIndependence.BATCH_DEPENDENT, 1)
    assert "seen on a caller's row" in watched.independence.why


def test_looking_takes_a_hundredth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a row was asked again, no other is before a hundred times as long has passed."""
    monkeypatch.setattr(live_recheck, "ROWS_PER_RECHECK", 1)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def slow(rows: list[list[object]]) -> list[object]:
        now[0] += 1.0
        return list(x(rows))

    watched = LiveRecheck(Model(slow), IndependenceResult(RowIndependence.ROW_WISE, answered=9))
    for _ in range(500):
        watched.check_batch(("x", "g"), ROWS, (), watched.answer(("x", "g"), ROWS))
    assert 1 <= watched.checked <= 6


VALUES = st.recursive(
    st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_sameness_is_symmetric_and_includes_equality(one: object, other: object) -> None:
    """An answer is the same as itself, and whether two are the same does not depend on which comes first."""
    assert answers_equal(one, one)
    assert answers_equal(one, other) == answers_equal(other, one)
