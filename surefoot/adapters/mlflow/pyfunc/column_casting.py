"""Cast input columns value by value to the types in a model's signature."""

import base64
import copy
import warnings
from collections.abc import Sequence
from typing import Any

from surefoot.models.rows.answer_checks import UnfitInput

NUMPY_NUMBER_TYPES = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}
INTEGER_TYPES = frozenset({"long", "integer"})
"""Types that have no missing value."""
_WORDS: dict[object, object] = {"true": True, "TRUE": True, "false": False, "FALSE": False}
"""Cells of CSV that are truth values for pandas, beside True and False, which are none of a text column's business."""


def column_type_name(spec: Any) -> str:
    """Name of a column's type; empty for lists, objects and whatever else is nested."""
    return str(getattr(spec.type, "name", ""))


def cast_column(name: object, spec: Any, values: Sequence[object], *, csv: bool = False) -> Any:
    """Cast one column as `mlflow models serve` does where it is not at odds with itself; an absent value is missing.

    Args:
        name: What errors call it.
        spec: The column in the signature.
        values: One a row.
        csv: Whether they were CSV, where a word may be a truth value.

    Raises:
        ValueError: Some value does not fit the type.
    """
    import pandas as pd  # noqa: PLC0415 - as late as MLflow

    kind = column_type_name(spec)
    try:
        if kind in NUMPY_NUMBER_TYPES:
            return _numbers(kind, values, csv=csv)
        if kind == "boolean":
            return _truths(values, csv=csv)
        if kind == "string":
            # Always pandas' text type: inferred, a column would be another type when its neighbours are all absent.
            return pd.array([value if type(value) is str else _text(value) for value in values], dtype="str")
        if kind == "datetime":
            return _dates(values)
        made = [_bytes(value) if kind == "binary" else _nested(value, spec) for value in values]
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        raise UnfitInput(f"input {name!r} does not fit its type {kind or spec.type}: {error}") from error
    return pd.Series(made, dtype=object)


def _numbers(kind: str, values: Sequence[object], *, csv: bool) -> Any:
    """All at once; only when that fails are they looked at one by one."""
    import numpy as np  # noqa: PLC0415 - it comes with pandas

    try:
        made = np.array(values, dtype=NUMPY_NUMBER_TYPES[kind])
    except ValueError:
        words = [_WORDS.get(value, value) if isinstance(value, str) else value for value in values] if csv else values
        if words == values:
            raise
        made = np.array(words, dtype=NUMPY_NUMBER_TYPES[kind])
    if made.ndim != 1:
        raise ValueError("a list is no number")
    if kind == "float" and np.isinf(made).any() and (np.isinf(made) & np.isfinite(np.array(values, dtype=float))).any():
        raise ValueError("a number is too large for 32 bits")
    # numpy would cut off what is behind the point.
    if (
        kind in INTEGER_TYPES
        and float in set(map(type, values))
        and any(v % 1.0 for v in values if isinstance(v, float))
    ):
        raise ValueError("a number is not whole")
    return made


def _truths(values: Sequence[object], *, csv: bool) -> Any:
    import numpy as np  # noqa: PLC0415 - it comes with pandas

    if csv:
        values = [_WORDS.get(value, value) if isinstance(value, str) else value for value in values]
    if not all(value is None or value in (True, False) for value in values):
        raise ValueError("only true and false are truth values, and 1 and 0")
    made = [None if value is None else bool(value) for value in values]
    return np.array(made, dtype=object if None in made else bool)


def _text(value: object) -> str | None:
    if isinstance(value, list | dict):
        raise ValueError("a list or an object is no text")  # noqa: TRY004 - one kind of error for one kind of mistake
    return None if value is None or value != value else str(value)  # noqa: PLR0124 - only NaN differs from itself


def _dates(values: Sequence[object]) -> Any:
    """Read dates one by one, or all at once where all are of one standard, which leaves nothing to guess."""
    import numpy as np  # noqa: PLC0415 - it comes with pandas

    if all(value is None or isinstance(value, str) for value in values):
        try:
            return _moments(values, format="ISO8601")
        except ValueError:
            pass
    return np.concatenate([_date(value) for value in values])


def _date(value: object) -> Any:
    if isinstance(value, str):
        try:
            return _moments([value], format="ISO8601")
        except ValueError:
            pass
    return _moments([value])


def _moments(values: Sequence[Any], **known: Any) -> Any:
    """What pandas makes of dates, in UTC where they have an offset, and to the nanosecond as MLflow has them.

    Raises:
        ValueError: One is no date, or too far away.
        TypeError: One is a truth value, or a list.
    """
    import pandas as pd  # noqa: PLC0415 - as late as MLflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the day stands first, where it cannot be the month
        made = pd.DatetimeIndex(pd.to_datetime(list(values), utc=True, **known))
    return made.as_unit("ns").tz_convert(None).to_numpy()


def _bytes(value: object) -> bytes | None:
    """Bytes are base64 in JSON."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("bytes are written as base64, in a text")  # noqa: TRY004 - one kind of error for one kind of mistake
    return base64.decodebytes(value.encode())


def _nested(value: object, spec: Any) -> object:
    """A list, an object or a map, by MLflow's own function; it changes what it is given, which is the log's as well."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - MLflow is late
    from mlflow.models.utils import _enforce_type  # noqa: PLC0415 - same

    try:
        return _enforce_type(copy.deepcopy(value), spec.type, spec.required)
    except MlflowException as error:
        raise ValueError(error.message) from error
