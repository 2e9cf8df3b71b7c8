"""The table that a suite sees: columns typed by the model's signature, so that a missing value changes no type."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pandas as pd

from surefoot.adapters.mlflow.pyfunc.columns import column
from surefoot.core.answer_values import number_of, unwrap

WHOLE = {"long", "integer"}
NUMBERS = {"double", "float"}


def typed_table(frame: pd.DataFrame, kinds: Mapping[str, object]) -> pd.DataFrame:
    """Give each column the type that the model takes it for, or else the one that all its values have.

    Args:
        frame: Values as they came.
        kinds: Types in the model's signature by name; a column that does not fit its type stays as it is.
    """
    made = {name: _column(name, frame[name], str(kinds.get(str(name), ""))) for name in frame.columns}
    return pd.DataFrame(made, index=frame.index)


def _column(name: object, values: "pd.Series[Any]", kind: str) -> "pd.Series[Any]":
    there = [value for value in values if not _absent(value)]
    if not there or not all(isinstance(value, bool | int | float | str) for value in there):
        return values
    if not kind:
        return _plain(values, there)
    if kind in WHOLE:
        whole = all(isinstance(v, int | float) and not isinstance(v, bool) and float(v).is_integer() for v in there)
        return _as(values, "Int64") if whole else values
    if kind == "boolean":
        return _as(values, "boolean") if _all(there, bool) else values
    if kind in NUMBERS:
        return _as(values, "float64") if all(isinstance(v, int | float) for v in there) else values
    if kind in {"string", "datetime"}:
        cells: Sequence[object] = [None if _absent(value) else value for value in values]
        try:
            return pd.Series(column(name, SimpleNamespace(type=SimpleNamespace(name=kind)), cells), index=values.index)
        except ValueError:
            return values
    return values


def _plain(values: "pd.Series[Any]", there: Sequence[object]) -> "pd.Series[Any]":
    """A column without a declared type: that of its values, where they have one; one that is typed stays as it is."""
    if values.dtype != object:
        return values
    missing = len(there) < len(values)
    if missing and (_all(there, int) or _all(there, bool)):
        return _as(values, "Int64" if _all(there, int) else "boolean")
    return pd.Series(list(values), index=values.index)


def _as(values: "pd.Series[Any]", dtype: Any) -> "pd.Series[Any]":
    cells = [None if _absent(value) else value for value in values]
    if dtype == "float64":
        return pd.Series([float("nan") if cell is None else float(cell) for cell in cells], index=values.index)
    if dtype == "Int64":
        cells = [None if cell is None else int(cell) for cell in cells]
    return pd.Series(pd.array(cells, dtype=dtype), index=values.index)


def _all(values: Sequence[object], kind: type) -> bool:
    return all(type(value) is kind for value in values)


def _absent(value: object) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value)  # noqa: PLR0124 - only NaN differs from itself


def answer_frame(answers: Sequence[object], requests: Sequence[str]) -> pd.DataFrame:
    """Answers as columns: one number or class each, or a column for each of several outputs."""
    rows = []
    for answer in answers:
        inside = unwrap(answer)
        if isinstance(inside, list | dict):
            cells = inside.items() if isinstance(inside, dict) else enumerate(inside)
            rows.append({f"prediction.{key}": value for key, value in cells})
        else:
            rows.append({"prediction": inside if isinstance(inside, str) else number_of(inside)})
    return pd.DataFrame(rows, index=pd.Index(list(requests), dtype=object))
