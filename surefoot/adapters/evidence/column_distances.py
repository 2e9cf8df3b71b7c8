"""Compare two tables column by column: distributions, shares of unequal rows, and texts among numbers."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.evidence.excluded_counts import MAX_EXAMPLE_REQUESTS
from surefoot.core.judging.evidence import FeatureShift
from surefoot.core.judging.excluded_records import ExcludedRecords

if TYPE_CHECKING:
    import pandas as pd

_MAX_TEXT_SHARE = 0.05
"""Share of a column's values that may be no numbers while it still is one of numbers."""
_EQUAL_TOLERANCE = 1e-9
"""Relative difference between two numbers that are the same."""


def column_distances(old: "pd.DataFrame", new: "pd.DataFrame") -> tuple[FeatureShift, ...]:
    """Distance of every column between two samples: Kolmogorov-Smirnov for numbers, total variation for the rest.

    A missing number counts as one beyond all others, so that numbers that go missing have moved. A few other
    values among numbers are left out, as `count_texts_among_numbers` counts them.
    """
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    if not len(old) or not len(new):
        return ()
    made = []
    old, new = (_numbers_only(side, _numeric(old, new)) for side in (old, new))
    for name in old.columns.union(new.columns, sort=False):
        if name not in old.columns or name not in new.columns:
            made.append(FeatureShift(str(name), 1.0, len(old), len(new)))  # a feature that came or went has moved
            continue
        a, b = old[name].dropna(), new[name].dropna()
        # A side without any value has no type of its own: it is what the other one is.
        numeric = all(pd.api.types.is_numeric_dtype(x) for x in (a, b) if len(x))
        categories = 0
        if numeric and (len(a) or len(b)):
            grid = np.unique(np.concatenate([a.to_numpy(float), b.to_numpy(float)]))
            sides = ((a, len(old)), (b, len(new)))
            cdfs = [np.searchsorted(np.sort(x.to_numpy(float)), grid, side="right") / n for x, n in sides]
            distance = float(np.max(np.abs(cdfs[0] - cdfs[1])))
        else:
            shares = [x.astype(str).value_counts(normalize=True, dropna=False) for x in (old[name], new[name])]
            apart = shares[0].sub(shares[1], fill_value=0.0).abs()
            distance, categories = min(float(apart.sum() / 2.0), 1.0), len(apart)
        made.append(FeatureShift(str(name), distance, len(old), len(new), categories))
    return tuple(made)


def count_texts_among_numbers(old: "pd.DataFrame", new: "pd.DataFrame") -> ExcludedRecords:
    """Values of another kind among the numbers of a column, which `column_distances` leaves out.

    Their requests are the index of the tables.
    """
    found = 0
    ids: list[str] = []
    for side in (old, new):
        for name in _numeric(old, new):
            strange = list(side.index[_strange(side[name])])
            found += len(strange)
            ids += [str(one) for one in strange if isinstance(one, str)]
    return ExcludedRecords(
        odd=found,
        requests=tuple(ids[:MAX_EXAMPLE_REQUESTS]),
        what="values of another kind among the numbers of a column" if found else "",
    )


def _strange(column: "pd.Series") -> NDArray[np.bool_]:
    """Which values of a column are there and no numbers: texts, truth values, lists, and numbers beyond all floats."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    if pd.api.types.is_numeric_dtype(column):
        return np.zeros(len(column), dtype=bool)
    return np.array([_is_strange(value) for value in column], dtype=bool)


def _is_strange(value: object) -> bool:
    if isinstance(value, bool | str | list | dict):
        return True
    return isinstance(value, int) and abs(value) > sys.float_info.max


def _numeric(old: "pd.DataFrame", new: "pd.DataFrame") -> list[str]:
    """Columns of numbers among which a few other values stand."""
    made = []
    for name in (name for name in old.columns if name in new.columns):
        texts = sum(int(_strange(side[name]).sum()) for side in (old, new))
        there = sum(int(side[name].notna().sum()) for side in (old, new))
        if 0 < texts <= _MAX_TEXT_SHARE * there:
            made.append(name)
    return made


def _numbers_only(frame: "pd.DataFrame", columns: Sequence[str]) -> "pd.DataFrame":
    """The table without the rows that have another value in one of these columns."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    strange = np.zeros(len(frame), dtype=bool)
    for name in columns:
        strange |= _strange(frame[name])
    kept = frame[~strange]
    return kept.assign(**{name: pd.to_numeric(kept[name]) for name in columns}) if columns else frame


def unequal_row_shares(old: "pd.DataFrame", new: "pd.DataFrame") -> tuple[FeatureShift, ...]:
    """Share of the rows in which a column that both tables have holds different values; row i is row i.

    A column that only one of two models looks at is no difference between what they see.
    """
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    made = []
    for name in (name for name in old.columns if name in new.columns):
        a, b = old[name], new[name]
        if pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b):
            same = np.isclose(a.to_numpy(float), b.to_numpy(float), rtol=_EQUAL_TOLERANCE, atol=0.0, equal_nan=True)
        else:
            gone = a.isna().to_numpy() & b.isna().to_numpy()
            same = gone | (a.astype(str).to_numpy() == b.astype(str).to_numpy())
        made.append(FeatureShift(str(name), float(np.mean(~same)), len(a), len(b)))
    return tuple(made)
