"""Draft an expectation suite from the columns of a sample."""

import math
from dataclasses import dataclass

from surefoot.core.drafting.sample_summary import ColumnKind, ColumnSummary, SampleSummary

_MIN_ROWS = 100
"""Fewest requests that a look should see [count]."""
_FEW_ROWS = 1000
"""A sample of fewer rows does not show the whole range of a column [count]."""
_OFTEN_MISSING = 0.3
"""Share of missing values above which it is doubtful that a column is a feature at all."""
_SPARE_RANGE = 0.5
"""How far beyond the sample a number may lie, in lengths of its range."""


@dataclass(frozen=True, slots=True)
class DraftedSuite:
    """A drafted suite.

    Attributes:
        suite: What the file holds.
        doubts: What a person should look at, one sentence each.
    """

    suite: dict[str, object]
    doubts: tuple[str, ...]


def draft_suite(name: str, sample: SampleSummary) -> DraftedSuite:
    """Draft expectations of each column that a request outside of the sample's habits would break.

    Args:
        name: Name of the suite.
        sample: What is known of the requests.
    """
    columns = [column.name for column in sample.columns]
    made: list[dict[str, object]] = [
        _expect("expect_table_row_count_to_be_between", min_value=min(_MIN_ROWS, sample.rows)),
        _expect("expect_table_columns_to_match_set", column_set=columns),
    ]
    doubts = []
    if sample.rows < _FEW_ROWS:
        doubts.append(f"the sample has {sample.rows:,} rows: ranges and values of a longer time will be wider")
    for column in sample.columns:
        expectations, said = _of_column(column, sample.rows)
        made += expectations
        doubts += [f"column '{column.name}' {one}" for one in said]
    return DraftedSuite({"name": name, "expectations": made}, tuple(doubts))


def _expect(kind: str, **keywords: object) -> dict[str, object]:
    return {"type": kind, "kwargs": keywords}


def _of_column(column: ColumnSummary, rows: int) -> tuple[list[dict[str, object]], list[str]]:
    """Expectations of a column, and what is doubtful about it."""
    if not column.distinct:
        return [], ["has no value in the sample: leave it out of the model, or find out why"]
    made, doubts = [_not_missing(column)], []
    if column.missing > _OFTEN_MISSING:
        doubts.append(f"is missing in {column.missing:.0%} of the rows")
    if column.distinct == 1 and rows > 1:
        doubts.append("has one value only: what it may become, the sample does not tell")
    match column.kind:
        case ColumnKind.NUMBER | ColumnKind.WHOLE_NUMBER if column.low is not None and column.high is not None:
            if column.kind is ColumnKind.WHOLE_NUMBER and column.distinct == rows >= _MIN_ROWS:
                doubts.append("has another number in each row, like an id: no range is drafted")
            else:
                low, high = widen_range(column.low, column.high)
                made.append(
                    _expect("expect_column_values_to_be_between", column=column.name, min_value=low, max_value=high)
                )
        case ColumnKind.TEXT if column.values:
            named = [value for value, _ in column.values]
            made.append(_expect("expect_column_values_to_be_in_set", column=column.name, value_set=named, mostly=0.98))
            rare = [value for value, share in column.values if share * rows < 2]  # noqa: PLR2004 - seen once
            if rare:
                doubts.append(f"has values that were seen once, such as {rare[0]!r}: there may be more of them")
        case ColumnKind.TEXT if column.high is not None:
            most = max(8, math.ceil(2 * column.high))
            made.append(
                _expect("expect_column_value_lengths_to_be_between", column=column.name, min_value=1, max_value=most)
            )
        case ColumnKind.OTHER:
            doubts.append("holds times, lists or objects: only that it is there is checked")
        case _:
            pass
    return made, doubts


def _not_missing(column: ColumnSummary) -> dict[str, object]:
    if not column.missing:
        return _expect("expect_column_values_to_not_be_null", column=column.name, mostly=0.99)
    mostly = max(0.01, math.floor((1.0 - column.missing) * 90.0) / 100.0)
    made = _expect("expect_column_values_to_not_be_null", column=column.name, mostly=mostly)
    return {**made, "severity": "warning"}


def widen_range(low: float, high: float) -> tuple[float, float]:
    """Widen the range of a sample by half of its length on both sides, and round it outwards to two digits.

    Args:
        low: Smallest value of the sample.
        high: Largest value of the sample, not below low.

    Returns:
        Bounds that hold the sample; numbers that are never negative in the sample may not become so.

    Law: holds for all finite low <= high: the bounds are in order, apart, and hold both.
    """
    spare = (high - low) * _SPARE_RANGE or max(abs(high) * _SPARE_RANGE, 1.0)
    unit = 10.0 ** (math.floor(math.log10(max(spare, 1e-300))) - 1)
    lower = _rounded(math.floor((low - spare) / unit), unit)
    upper = _rounded(math.ceil((high + spare) / unit), unit)
    return (0.0 if low >= 0.0 else min(lower, low)), max(upper, high)


def _rounded(steps: int, unit: float) -> float:
    """So many steps of a power of ten, without the dirt of binary fractions."""
    digits = max(0, -round(math.log10(unit)))
    return round(steps * unit, min(digits, 300))
