"""The digest of a whole data set."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from surefoot.adapters.mlflow.dataset_digest import data_frame_digest
from surefoot.core.errors import Rejected

ROWS = 20_000


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    """A table with a column of every kind that data sets have, with nulls."""
    draw = np.random.default_rng(7)
    count = np.arange(ROWS)
    return pd.DataFrame(
        {
            "delay": np.where(count % 9 == 0, np.nan, draw.normal(size=ROWS)),
            "distance": draw.integers(0, 5000, ROWS).astype("int32"),
            "seats": pd.array([None if one % 11 == 0 else int(one) for one in count], dtype="Int64"),
            "late": count % 2 == 0,
            "signed": pd.array([None if one % 13 == 0 else bool(one % 3) for one in count], dtype="boolean"),
            "carrier": [None if one % 17 == 0 else f"ç{one % 40}" for one in count],
            "origin": pd.Categorical([("EWR", "JFK", "LGA")[one % 3] for one in count]),
            "at": pd.date_range("2013-01-01", periods=ROWS, freq="min"),
            "zoned": pd.date_range("2013-01-01", periods=ROWS, freq="min", tz="America/New_York"),
            "day": [dt.date(2013, 1, 1 + int(one % 28)) for one in count],
            "path": [[int(one), "x"] for one in count],
        }
    )


CHANGES = {
    "delay": 1e-9,
    "distance": 5001,
    "seats": 99_999,
    "late": True,
    "signed": False,
    "carrier": "ç",
    "origin": "JFK",
    "at": pd.Timestamp("2030-01-01"),
    "zoned": pd.Timestamp("2030-01-01", tz="America/New_York"),
    "day": dt.date(2014, 1, 1),
    "path": [15001, "y"],
}


@pytest.mark.parametrize("column", CHANGES)
@pytest.mark.parametrize("row", [0, 15_001, ROWS - 1])
def test_a_changed_cell_anywhere_changes_the_digest(flights: pd.DataFrame, column: str, row: int) -> None:
    """One changed cell shows, in any column and also beyond the first 10,000 rows."""
    only = flights[[column]]
    edited = only.copy()
    before = only.iloc[row, 0]
    after = (not before) if isinstance(before, (bool, np.bool_)) else CHANGES[column]
    edited.iloc[row, 0] = "LGA" if isinstance(before, str) and before == after else after  # type: ignore[call-overload] # any cell
    assert data_frame_digest(edited) != data_frame_digest(only)


@pytest.mark.parametrize("column", [name for name in CHANGES if name not in {"late", "distance"}])
def test_a_cell_that_became_null_changes_the_digest(flights: pd.DataFrame, column: str) -> None:
    """A null differs from every value, also from zero, False and the empty text."""
    only = flights[[column]]
    edited = only.copy()
    edited.iloc[15_001, 0] = None
    assert data_frame_digest(edited) != data_frame_digest(only)


def test_the_digest_is_that_of_the_contents(flights: pd.DataFrame) -> None:
    """A copy, another index and another memory layout have the same digest; it says its algorithm."""
    shuffled = flights.sample(frac=1, random_state=1).sort_index()
    assert data_frame_digest(shuffled.set_axis(range(5, ROWS + 5))) == data_frame_digest(flights)
    assert data_frame_digest(flights[::-1][::-1]) == data_frame_digest(flights)
    assert data_frame_digest(flights).startswith("sha256:")
    assert len(data_frame_digest(flights)) == 71


def test_names_types_and_order_count() -> None:
    """Another column name, type, column order or row order is another data set."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    others = [
        frame.rename(columns={"a": "c"}),
        frame.astype({"a": "int32"}),
        frame[["b", "a"]],
        frame[::-1],
        frame[:1],
        frame.assign(b=["xy", ""]),
        frame.astype({"a": object}),
    ]
    assert len({data_frame_digest(one) for one in [frame, *others]}) == 1 + len(others)


def test_nulls_are_nulls_and_nothing_else() -> None:
    """None, NaN and NA digest alike in one column; an empty table and one of nulls differ."""
    written = [pd.DataFrame({"a": pd.Series([null, "x"], dtype=object)}) for null in (None, float("nan"), pd.NA)]
    assert len({data_frame_digest(one) for one in written}) == 1
    numbers = [pd.DataFrame({"a": pd.Series(values, dtype="Float64")}) for values in ([0.0], [None], [])]
    assert len({data_frame_digest(one) for one in numbers}) == 3


def test_two_columns_of_one_name_are_both_digested() -> None:
    """A change in the second of two columns that share a name shows."""
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])
    edited = pd.DataFrame([[1, 2], [3, 5]], columns=["a", "a"])
    assert data_frame_digest(frame) != data_frame_digest(edited)


def test_a_long_array_in_a_cell_is_digested_whole() -> None:
    """A change deep inside a nested value shows, where a printed form would leave it out."""
    long = np.arange(5000)
    edited = long.copy()
    edited[2500] = 0
    first, second = (pd.DataFrame({"a": [{"v": one}]}) for one in (long, edited))
    assert data_frame_digest(first) != data_frame_digest(second)


def test_what_has_no_canonical_form_is_rejected() -> None:
    """An object of a foreign class is refused and its column named: its printed form may change by itself."""
    with pytest.raises(Rejected, match="column a holds a object"):
        data_frame_digest(pd.DataFrame({"a": [object()]}))
