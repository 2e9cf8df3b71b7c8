"""Split a model's output, or its several outputs, into one JSON value for each input row."""

import base64
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

_ENDS = frozenset({-(2**63), -(2**63) + 1, 2**63 - 1})
"""What stands for no time and for the ends of time where times are whole numbers."""


def split_rows(answer: Any, rows: int, *, outputs: bool | None = None) -> Sequence[Any]:
    """Split what a pyfunc returned into one value a row.

    Args:
        answer: A frame, a series, an array (dense or sparse), a list of one answer a row, an object of outputs, or a
            tuple or list of outputs that are arrays.
        rows: Rows that were asked [count].
        outputs: Whether a tuple or list of arrays holds outputs (True) or rows (False); None where nobody knows, and
            what could be either is refused.

    Raises:
        ValueError: It is none of these, its index is not that of the rows, or there is not one answer a row.
    """
    if hasattr(answer, "to_dict") and hasattr(answer, "columns"):
        return _records(_in_order(answer, rows))
    if hasattr(answer, "toarray"):  # sparse
        return _counted(list(answer.toarray()), rows)
    if isinstance(answer, Mapping):
        columns = {str(key): _column(key, column, rows) for key, column in answer.items()}
        if len(columns) < len(answer):
            raise ValueError("two outputs of the model have the same name")
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if hasattr(answer, "tolist"):
        return _counted(_cells(answer, rows), rows)
    if not isinstance(answer, list | tuple):
        raise ValueError(f"the model gave one {type(answer).__name__}, not one answer a row")  # noqa: TRY004 - documented
    if _are_outputs(answer, rows, outputs):
        return [list(cells) for cells in zip(*(_column(i, one, rows) for i, one in enumerate(answer)), strict=True)]
    return _counted(answer, rows)


def is_multi_output(answer: Any) -> bool | None:
    """Whether a tuple or list of arrays, given for one row, holds outputs; None for anything else."""
    if isinstance(answer, list | tuple) and answer and all(map(_array_like, answer)):
        return len(answer) != 1
    return None


def may_be_multi_output(answer: Any, rows: int) -> bool:
    """Whether an answer for several rows could be one array or list an output, each as long as the rows are many."""
    if hasattr(answer, "to_dict") and hasattr(answer, "columns"):
        return False
    if isinstance(answer, list | tuple):
        return len(answer) == rows and all(_of_length(one, rows) for one in answer)
    return bool(tuple(getattr(answer, "shape", ()))[:2] == (rows, rows))


def _of_length(value: Any, rows: int) -> bool:
    return (isinstance(value, list | tuple) or _array_like(value)) and len(value) == rows


def _are_outputs(answer: Sequence[Any], rows: int, outputs: bool | None) -> bool:
    if not answer or not all(map(_array_like, answer)) or any(len(one) != rows for one in answer):
        return False
    if outputs is None and len(answer) == rows > 1:
        raise ValueError(f"the model gave {rows} arrays for {rows} rows: they may be outputs or answers")
    return len(answer) != rows if outputs is None else outputs


def _array_like(value: Any) -> bool:
    """Whether something is an array, a series or a frame of at least one dimension."""
    return bool(getattr(value, "shape", None))


def _column(name: object, column: Any, rows: int) -> Sequence[Any]:
    """One output, one value a row."""
    if hasattr(column, "to_dict") and hasattr(column, "columns"):
        column = _records(_in_order(column, rows))
    elif hasattr(column, "toarray"):
        column = list(column.toarray())
    elif hasattr(column, "tolist"):
        column = _cells(column, rows)
    if not isinstance(column, list | tuple):
        raise ValueError(f"output {name!r} of the model is one {type(column).__name__}, not one value a row")  # noqa: TRY004 - documented
    return _counted(column, rows)


class AnswerCountMismatch(ValueError):
    """The model gave another number of answers than it was asked for.

    Attributes:
        given: Answers that it gave [count].
    """

    def __init__(self, given: int, rows: int) -> None:
        """Say how many answers came for how many rows."""
        super().__init__(f"the model gave {given} answers for {rows} rows")
        self.given = given


def _counted(answers: Sequence[Any], rows: int) -> Sequence[Any]:
    if len(answers) != rows:
        raise AnswerCountMismatch(len(answers), rows)
    return answers


def _cells(answer: Any, rows: int) -> list[Any]:
    """Values of an array or a series; what is no list is an error that says so."""
    if hasattr(answer, "index") and hasattr(answer, "iloc"):
        answer = _in_order(answer, rows)
    kind, fields = (getattr(getattr(answer, "dtype", None), name, None) for name in ("kind", "names"))
    if fields and answer.shape:
        return [list(cells) for cells in zip(*(_cells(answer[field], rows) for field in fields), strict=True)]
    # As a list, times of an array would be whole numbers.
    cells = list(answer) if kind in {"m", "M"} and answer.shape else answer.tolist()
    if not isinstance(cells, list):
        raise ValueError(f"the model gave one {type(cells).__name__}, not one answer a row")  # noqa: TRY004 - documented
    return cells


def _in_order(answer: Any, rows: int) -> Any:
    """A series or frame in the order of the rows that were asked, which are numbered from 0.

    Raises:
        ValueError: Its index is not made of these numbers, each once.
    """
    if len(answer) != rows:
        raise AnswerCountMismatch(len(answer), rows)
    index = answer.index
    found = index.tolist()
    wanted = list(range(rows))
    if found == wanted:
        return answer
    if any(type(one) is not int for one in found) or sorted(found) != wanted:
        shown = ", ".join(map(str, found[:3]))
        raise ValueError(f"the model's answers have an index that is not that of the rows ({shown} ...)")
    return answer.loc[wanted]


def _records(frame: Any) -> list[Any]:
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise ValueError("two columns of the model's answer have the same name")
    # By column, so that a row's numbers keep the types of their columns.
    columns = [_cells(frame.iloc[:, place], len(frame)) for place in range(len(names))]
    if not columns:
        raise ValueError("the model's answer has no column")
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def plain_json_value(value: Any) -> object:
    """Give a plain JSON value for one of numpy's, pandas' or Python's; times are ISO 8601, whatever holds them.

    Raises:
        ValueError: There is no value, or it cannot be told in JSON.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"the model gave {value} as an answer")
    if isinstance(value, float | str | int):  # numpy's are among them
        return value.item() if hasattr(value, "item") else value
    if hasattr(value, "shape") or hasattr(value, "tolist"):
        return _array(value)
    if isinstance(value, Mapping):
        made = {str(key): plain_json_value(item) for key, item in value.items()}
        if len(made) < len(value):
            raise ValueError("two keys of the model's answer are the same text")
        return made
    if isinstance(value, list | tuple):
        return [plain_json_value(item) for item in value]
    if isinstance(value, dt.date | dt.time | dt.timedelta):  # pandas' are among them
        return _time(value)
    if isinstance(value, bytes | bytearray):
        return base64.encodebytes(value).decode()  # as MLflow, line ends included
    if value is None or type(value).__name__ == "NAType":
        raise ValueError(f"the model gave {value} as an answer")
    raise ValueError(f"the model gave a {type(value).__name__}, which is not a JSON value")


def _array(value: Any) -> object:
    """A numpy scalar, or an array, series or frame inside an answer."""
    if getattr(getattr(value, "dtype", None), "kind", "") in {"m", "M"}:
        return [plain_json_value(item) for item in value] if value.shape else _time(value)
    if hasattr(value, "toarray"):
        value = value.toarray()
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return [plain_json_value(item) for item in _records(value)]
    plain = value.tolist()
    if type(plain) is type(value):  # numpy's longest floats have no other form
        plain = float(plain)
    return plain_json_value(plain)


def _time(value: Any) -> str:
    """A moment, a day, a time of day or a duration in ISO 8601."""
    import pandas as pd  # noqa: PLC0415 - as late as MLflow

    unit = getattr(getattr(value, "dtype", None), "name", "")
    if unit.startswith("datetime64"):
        days = unit in {"datetime64[Y]", "datetime64[M]", "datetime64[W]", "datetime64[D]"}
        value = value.astype("datetime64[D]").item() if days else pd.Timestamp(value)
    elif unit.startswith("timedelta64") or (isinstance(value, dt.timedelta) and not hasattr(value, "isoformat")):
        value = pd.Timedelta(value)
    if value is None or value is pd.NaT:
        raise ValueError("the model gave NaT as an answer")
    if not hasattr(value, "isoformat"):
        raise ValueError(f"the model gave the time {value}, which is too far away to be told")
    if getattr(value, "_value", 0) in _ENDS:
        raise ValueError(f"the model gave an infinite time as an answer ({value})")
    return str(value.isoformat())
