"""Build the data frames that an expectation suite validates."""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from surefoot.adapters.mlflow.pyfunc.column_casting import cast_column
from surefoot.core.answers.answer_values import answer_number, unwrap_single_value
from surefoot.core.judging.excluded_records import ExcludedRecords

if TYPE_CHECKING:
    import pandas as pd

_INTEGER_TYPE_BITS = {"long": 64, "integer": 32}
"""Types of whole numbers, and how long they are [bits]."""
_FLOAT_TYPES = frozenset({"double", "float"})
_SIGNATURE_TYPES = frozenset({*_INTEGER_TYPE_BITS, *_FLOAT_TYPES, "boolean", "string", "datetime"})
_MAX_OTHER_KIND_SHARE = 0.05
"""Share of an undeclared column's values that may be of another kind than the rest, which then tell its type."""
_MAX_UNKNOWN_COLUMN_SHARE = 0.01
"""Share of the requests up to which a column that the model does not know is no column of the table."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MAX_NAMED_REQUESTS = 5
"""Requests that are named [count]."""


def build_validation_table(
    frame: "pd.DataFrame", kinds: Mapping[str, object]
) -> "tuple[pd.DataFrame, ExcludedRecords]":
    """Cast each column as the model's input is cast; one value of another kind changes the type of no column.

    Args:
        frame: Values as they came, by request.
        kinds: Types in the model's signature by name, in its order; none where they are not known.

    Returns:
        The table without the requests that have a value which does not fit, and how many they are. A column that
        neither the model nor almost any request knows is left out, and its requests are counted as well.
    """
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    frame = _by_name(frame, kinds)
    strange, stray = np.zeros(len(frame), dtype=bool), np.zeros(len(frame), dtype=bool)
    cells: dict[object, list[object]] = {}
    about: list[str] = []
    for name in frame.columns:
        kind = str(kinds.get(str(name), ""))
        given = frame[name]
        known = given.notna().to_numpy()
        if kinds and str(name) not in kinds and 0 < known.sum() <= _MAX_UNKNOWN_COLUMN_SHARE * len(frame):
            stray |= known
            about.append(str(name))
            continue
        cells[name], misfits = _fed(name, list(given), kind)
        strange |= misfits
        about += [str(name)] if misfits.any() else []
    kept = np.flatnonzero(~strange)
    made = {
        name: _typed(name, [values[at] for at in kept], str(kinds.get(str(name), "")), frame[name])
        for name, values in cells.items()
    }
    index = frame.index[kept]
    table = pd.DataFrame({name: pd.Series(values, index=index) for name, values in made.items()}, index=index)
    told = strange | stray
    ids = [str(one) for one in frame.index[told] if isinstance(one, str)]
    what = f"values that do not fit the type of {', '.join(about[:_MAX_NAMED_REQUESTS])}" if about else ""
    return table, ExcludedRecords(odd=int(told.sum()), requests=tuple(ids[:_MAX_NAMED_REQUESTS]), what=what)


def infer_column_types(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Give each column without a type the one that all its values have."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    made = {name: _plain(frame[name]) for name in frame.columns}
    return pd.DataFrame(made, index=frame.index)


def _by_name(frame: "pd.DataFrame", kinds: Mapping[str, object]) -> "pd.DataFrame":
    """The rows that came without names under the names of the signature, as the model is fed them."""
    places = [str(place) for place in range(len(kinds))]
    if not places or set(places) & set(kinds) or not set(places) <= set(frame.columns):
        return frame
    bare = frame[places].notna().any(axis=1)
    if not bare.any() or any(frame.loc[bare, name].notna().any() for name in kinds if name in frame):
        return frame
    made = frame.astype(object).copy()
    for place, name in zip(places, kinds, strict=True):
        made.loc[bare, name] = made.loc[bare, place]
    return made.drop(columns=places)


def _fed(name: object, values: Sequence[object], kind: str) -> tuple[list[object], NDArray[np.bool_]]:
    """What the model was fed of a column, None where nothing, and which values do not fit."""
    if kind not in _SIGNATURE_TYPES:
        return list(values), _minority(values)
    made: list[object] = [None] * len(values)
    strange = np.zeros(len(values), dtype=bool)
    known: dict[tuple[type, object], object] = {}
    for at, value in enumerate(values):
        if _absent(value):
            continue
        key = (type(value), value) if isinstance(value, str | int | float) else None
        if key is None or key not in known:
            cell = _cast(name, value, kind)
            if key is not None:
                known[key] = cell
        else:
            cell = known[key]
        if cell is _MISFIT:
            strange[at] = True
        else:
            made[at] = cell
    return made, strange


_MISFIT = object()


def _cast(name: object, value: object, kind: str) -> object:
    """What the model is fed for one value; a mark of its own where it does not fit."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    try:
        if kind in _FLOAT_TYPES and type(value) in {int, float}:
            return float(value)  # type: ignore[arg-type]
        if kind in _INTEGER_TYPE_BITS and isinstance(value, float) and not value.is_integer():
            return _MISFIT
        if kind in _INTEGER_TYPE_BITS and isinstance(value, int | float):
            return int(value) if abs(int(value)) < 2 ** (_INTEGER_TYPE_BITS[kind] - 1) else _MISFIT
        (found,) = cast_column(name, SimpleNamespace(type=SimpleNamespace(name=kind)), [value], csv=True)
    except (ValueError, OverflowError):
        return _MISFIT
    if pd.isna(found):
        return None
    return found.item() if kind != "datetime" and hasattr(found, "item") else found


def _typed(name: object, cells: list[Any], kind: str, given: "pd.Series[Any]") -> Any:
    """A column of cells that all fit."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    if kind in _FLOAT_TYPES:
        return np.array([float("nan") if cell is None else cell for cell in cells], dtype=np.float64)
    if kind in _INTEGER_TYPE_BITS or kind == "boolean":
        return pd.Series(cells, dtype="Int64" if kind in _INTEGER_TYPE_BITS else "boolean").array
    if kind == "string":
        return cast_column(name, SimpleNamespace(type=SimpleNamespace(name=kind)), cells)
    if kind == "datetime":
        return pd.DatetimeIndex(pd.to_datetime(pd.Series(cells, dtype="datetime64[ns]")))
    if given.dtype != object:
        return pd.Series(cells, dtype=given.dtype).array
    return _plain(pd.Series(cells, dtype=object)).array


def _minority(values: Sequence[object]) -> NDArray[np.bool_]:
    """Which values of an undeclared column are of another kind than almost all others."""
    kinds = [_kind(value) for value in values]
    counts = Counter(kind for kind in kinds if kind)
    if (
        counts["date"] < (1.0 - _MAX_OTHER_KIND_SHARE) * counts.total()
    ):  # dates are texts, but where all others are dates as well
        kinds = ["text" if kind == "date" else kind for kind in kinds]
        counts = Counter(kind for kind in kinds if kind)
    if len(counts) < 2:  # noqa: PLR2004 - one kind
        return np.zeros(len(kinds), dtype=bool)
    ((most, many),) = counts.most_common(1)
    if counts.total() - many > _MAX_OTHER_KIND_SHARE * counts.total():
        return np.zeros(len(kinds), dtype=bool)
    return np.array([bool(kind) and kind != most for kind in kinds], dtype=bool)


def _kind(value: object) -> str:
    if _absent(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return "truth"
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return "huge"
    if isinstance(value, int | float | np.number):
        return "number"
    if isinstance(value, str):
        return "date" if _DATE.match(value) else "text"
    return type(value).__name__


def _plain(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column without a declared type: that of its values, where they have one; one that is typed stays as it is."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    there = [value for value in values if not _absent(value)]
    if values.dtype != object or not there or not all(isinstance(v, bool | int | float | str) for v in there):
        return values
    for kind, dtype in ((int, "Int64"), (bool, "boolean")):
        if len(there) < len(values) and all(type(value) is kind for value in there):
            cells = [None if _absent(value) else value for value in values]
            return pd.Series(pd.array(cells, dtype=dtype), index=values.index)  # type: ignore[call-overload]
    return pd.Series(list(values), index=values.index)


def _absent(value: object) -> bool:
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value)  # noqa: PLR0124 - only NaN differs from itself


def answers_to_frame(answers: Sequence[object], requests: Sequence[str]) -> "pd.DataFrame":
    """Answers as columns: one number or class each, or a column for each of several outputs."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    rows = []
    for answer in answers:
        inside = unwrap_single_value(answer)
        if isinstance(inside, list | dict):
            cells = inside.items() if isinstance(inside, dict) else enumerate(inside)
            rows.append({f"prediction.{key}": value for key, value in cells})
        else:
            rows.append({"prediction": inside if isinstance(inside, str) else answer_number(inside)})
    return pd.DataFrame(rows, index=pd.Index(list(requests), dtype=object))
