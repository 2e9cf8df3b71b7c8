"""What a model returns becomes one plain JSON value a row, whatever holds it, or is refused."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_matrix

from surefoot.adapters.mlflow.pyfunc.model_outputs import is_multi_output, plain_json_value, split_rows
from surefoot.models.rows.answer_checks import check_answers

MOMENT = pd.Timestamp("2013-07-01 08:30:00")
TEXT = "2013-07-01T08:30:00"


def answers(returned: object, rows: int, outputs: bool | None = None) -> list[object]:
    """As a caller gets them."""
    return check_answers([plain_json_value(one) for one in split_rows(returned, rows, outputs=outputs)], rows)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (pd.Series([1.5, 2.5], index=[1, 0]), [2.5, 1.5]),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[1, 0]), [{"a": 2, "b": "y"}, {"a": 1, "b": "x"}]),
        ({"a": pd.Series([1, 2], index=[1, 0]), "b": ["x", "y"]}, [{"a": 2, "b": "x"}, {"a": 1, "b": "y"}]),
        ((np.array([1, 2]), np.array([3, 4]), np.array([5, 6])), [[1, 3, 5], [2, 4, 6]]),
        (csr_matrix([[0.0, 1.0], [2.0, 0.0]]), [[0.0, 1.0], [2.0, 0.0]]),
        (coo_array([[0, 1], [2, 0]]), [[0, 1], [2, 0]]),
        (np.array([(1, "x"), (2, "y")], dtype=[("n", "i4"), ("t", "U1")]), [[1, "x"], [2, "y"]]),
        (pd.Series([True, None], dtype="boolean").fillna(False), [True, False]),
        (pd.Categorical(["b", "a"]), ["b", "a"]),
        ((0.5, 0.25), [0.5, 0.25]),
        ([np.float32(0.5), {"k": np.array([1, 2])}], [0.5, {"k": [1, 2]}]),
    ],
)
def test_answers_are_matched_with_their_rows(returned: object, expected: object) -> None:
    """By index where there is one; by position in arrays, dense or sparse, and in lists; several outputs row by row."""
    assert answers(returned, 2) == expected


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (pd.Series([1.0, 2.0], index=[0, 0]), "an index that is not that of the rows"),
        (pd.Series([1.0, 2.0], index=[1, 2]), "an index that is not that of the rows"),
        (pd.Series([1.0, 2.0], index=["a", "b"]), "an index that is not that of the rows"),
        (
            pd.DataFrame({"a": [1, 2]}, index=pd.DatetimeIndex([MOMENT, MOMENT])),
            "an index that is not that of the rows",
        ),
        ({"a": pd.Series([1, 2], index=[7, 8])}, "an index that is not that of the rows"),
        (pd.Series([1.0]), "1 answers for 2 rows"),
        (np.zeros((3, 2)), "3 answers for 2 rows"),
        ({"a": [1, 2], "b": [1]}, "1 answers for 2 rows"),
        ({"a": 1}, "not one value a row"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "two columns .* the same name"),
        ((np.array([1, 2]), np.array([3, 4])), "they may be outputs or answers"),
        (0.5, "not one answer a row"),
        (np.float64(0.5), "not one answer a row"),
        ("late", "not one answer a row"),
    ],
)
def test_what_does_not_fit_the_rows_is_refused(returned: object, why: str) -> None:
    """An index of anything but the rows, another number of answers, and what could be read in two ways."""
    with pytest.raises(ValueError, match=why):
        answers(returned, 2)


def test_a_pair_of_arrays_is_read_as_it_was_for_one_row() -> None:
    """Two arrays for two rows are outputs where the model gave two for one row, and answers where it gave one."""
    pair = (np.array([1, 2]), np.array([3, 4]))
    assert is_multi_output((np.array([1]), np.array([3]))) is True
    assert is_multi_output([np.array([1, 2])]) is False
    assert is_multi_output([1.0]) is None
    assert answers(pair, 2, outputs=True) == [[1, 3], [2, 4]]
    assert answers(pair, 2, outputs=False) == [[1, 2], [3, 4]]


HOLDERS: dict[str, Callable[[Any], object]] = {
    "series": lambda value: pd.Series([value, value]),
    "objects": lambda value: pd.Series([value, value], dtype=object),
    "frame": lambda value: pd.DataFrame({"a": [value, value]}),
    "array": lambda value: pd.Series([value, value]).to_numpy(),
    "object array": lambda value: np.array([value, value], dtype=object),
    "list": lambda value: [value, value],
    "tuple": lambda value: (value, value),
    "outputs": lambda value: {"a": [value, value]},
    "nested": lambda value: [{"a": [value]}, {"a": [value]}],
}


def leaf(answer: object) -> object:
    """The one value in an answer."""
    while isinstance(answer, dict | list):
        (answer,) = answer.values() if isinstance(answer, dict) else answer
    return answer


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    "value",
    [
        pd.NaT, pd.NA, None, float("nan"), float("inf"), -float("inf"), np.float32("nan"), np.datetime64("NaT"),
        np.timedelta64("NaT"), "NaT", "<NA>", "nan", "NaN", "NAN", " NaT ", "<na>", "Infinity", "-Infinity",
        np.longdouble("nan"),
        pd.Timestamp.max, pd.Timestamp.min, -(2**63),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_answer_is_none_in_any_container(holder: str, value: object) -> None:
    """A missing value, an infinity, and what either is cast to, are refused wherever they stand."""
    with pytest.raises(ValueError, match="as an answer"):
        answers(HOLDERS[holder](value), 2)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    "value", [MOMENT, MOMENT.to_pydatetime(), MOMENT.to_datetime64(), np.datetime64("2013-07-01T08:30", "s")], ids=repr
)
def test_times_have_one_form_in_every_container(holder: str, value: object) -> None:
    """A moment is the same ISO 8601 text whether it is pandas', numpy's or Python's, and whatever holds it."""
    assert [leaf(answer) for answer in answers(HOLDERS[holder](value), 2)] == [TEXT, TEXT]


def test_days_and_durations_are_iso_8601_too() -> None:
    """A day is a day, a duration a duration, and a time zone stays."""
    day = dt.date(2013, 7, 1)
    assert answers([day, np.datetime64(day)], 2) == ["2013-07-01"] * 2
    assert answers(np.array([day, day], dtype="datetime64[D]"), 2) == ["2013-07-01"] * 2
    lasts = dt.timedelta(minutes=90)
    for held in (
        [lasts, pd.Timedelta(lasts)],
        pd.Series([lasts, lasts]),
        np.array([lasts, lasts], dtype="timedelta64[s]"),
    ):
        assert answers(held, 2) == ["P0DT1H30M0S"] * 2
    assert answers([MOMENT.tz_localize("UTC")], 1) == [TEXT + "+00:00"]


@given(st.permutations(range(7)), st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=7, max_size=7))
def test_any_order_of_a_unique_index_is_put_back(order: list[int], values: list[float]) -> None:
    """Each row has its own answer whatever the order in which a series or a frame gives them."""
    series = pd.Series(values).iloc[order]
    assert answers(series, 7) == values
    assert answers(series.to_frame("a"), 7) == [{"a": value} for value in values]


def test_the_longest_floats_are_answers() -> None:
    """A long double of numpy, alone or in an array, is a number like any other."""
    assert answers(np.array([1.5, 2.5], dtype=np.longdouble), 2) == [1.5, 2.5]
    assert answers([np.longdouble(0.25)], 1) == [0.25]
