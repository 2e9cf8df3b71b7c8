"""Convert Arrow tables to a model's input, and its output to Arrow tables."""

from typing import TYPE_CHECKING, Any

from surefoot.adapters.mlflow.pyfunc.column_casting import (
    INTEGER_TYPES,
    NUMPY_NUMBER_TYPES,
    cast_column,
    column_type_name,
)
from surefoot.adapters.mlflow.pyfunc.model_inputs import ModelInputs
from surefoot.models.model_protocols import TableColumn
from surefoot.models.rows.answer_checks import MISSING_VALUE_INTEGER, MISSING_VALUE_TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import pyarrow as pa

_TABLE_KINDS = frozenset({*NUMPY_NUMBER_TYPES, "boolean", "string", "datetime", "binary"})
"""Types of the signature whose values a column can hold; dates and bytes are the texts that callers send."""
_FLOAT_KINDS, _INTEGER_KINDS, _TEXT_KINDS = "f", "iu", "OUT"
_MATRIX = 2


def table_columns(inputs: ModelInputs) -> list[TableColumn]:
    """Give the columns of a table in the order of the signature; none where the model must be asked for rows."""
    if not inputs.batchable or inputs.tensors or inputs.hinted or inputs.columns is None:
        return []
    found = [
        TableColumn(name, column_type_name(spec), name in inputs.required)
        for name, spec in zip(inputs.columns, inputs.specs, strict=True)
    ]
    # Whether an optional column of whole numbers is fed depends on all rows of a request.
    if any(c.kind not in _TABLE_KINDS or (c.kind in INTEGER_TYPES and not c.required) for c in found):
        return []
    return found


def table_frame(inputs: ModelInputs, table: "pa.Table") -> "pd.DataFrame":
    """Build the frame that `ModelInputs.frame` builds of the same rows.

    Raises:
        ValueError: A value does not fit its type.
    """
    import pandas as pd  # noqa: PLC0415 - it comes with MLflow, as late

    columns: Mapping[str, Any] = dict(zip(inputs.columns or (), inputs.specs, strict=True))
    return pd.DataFrame({name: _column(name, spec, table.column(name)) for name, spec in columns.items()})


def _column(name: str, spec: Any, column: "pa.ChunkedArray") -> Any:
    """Build one column as `cast_column` does."""
    import pandas as pd  # noqa: PLC0415 - as late as MLflow

    kind = column_type_name(spec)
    if kind == "string":
        return pd.array(column.combine_chunks(), dtype="str")
    if kind in NUMPY_NUMBER_TYPES and not (column.null_count and kind in INTEGER_TYPES):
        return column.to_numpy().astype(NUMPY_NUMBER_TYPES[kind], copy=False)
    if kind == "boolean" and not column.null_count:
        return column.to_numpy()
    return cast_column(name, spec, column.to_pylist())


def answer_table(answer: Any, rows: int) -> "pa.Table | None":
    """Give the answers to several rows as a table of one column; None where `_answer_column` gives none."""
    import pyarrow as pa  # noqa: PLC0415 - it comes with MLflow, as late

    column = _answer_column(answer, rows)
    return None if column is None else pa.table([column], names=["answer"])


def _answer_column(answer: Any, rows: int) -> "pa.Array | None":
    """Give the answers to several rows as one column: numbers, truth values, texts, or lists of as many numbers each.

    Args:
        answer: What the pyfunc returned.
        rows: Rows that were asked [count].

    Returns:
        The column; None where the answers are of another form, or might be outputs, or one is no answer.
    """
    import numpy as np  # noqa: PLC0415 - it comes with MLflow, as late
    import pyarrow as pa  # noqa: PLC0415 - same

    if hasattr(answer, "index") and hasattr(answer, "to_numpy") and not hasattr(answer, "columns"):
        if not answer.index.equals(answer.reset_index(drop=True).index):
            return None
        answer = answer.to_numpy()
    if not isinstance(answer, np.ndarray) or answer.ndim not in {1, _MATRIX} or len(answer) != rows:
        return None
    if answer.ndim == _MATRIX:
        width = answer.shape[1]
        if width in {0, rows} or answer.dtype.kind != _FLOAT_KINDS or not np.isfinite(answer).all():
            return None
        return pa.FixedSizeListArray.from_arrays(pa.array(answer.astype(np.float64).ravel()), width)
    return _flat_column(answer)


def _flat_column(answer: Any) -> "pa.Array | None":
    """Give one value a row as a column; None where one is no answer."""
    import numpy as np  # noqa: PLC0415 - it comes with MLflow, as late
    import pyarrow as pa  # noqa: PLC0415 - same

    if answer.dtype.kind == _FLOAT_KINDS and answer.dtype.itemsize <= np.dtype(np.float64).itemsize:
        return pa.array(answer.astype(np.float64)) if np.isfinite(answer).all() else None
    if answer.dtype.kind in _INTEGER_KINDS and answer.dtype != np.uint64:
        return pa.array(answer.astype(np.int64)) if (answer != MISSING_VALUE_INTEGER).all() else None
    if answer.dtype.kind == "b":
        return pa.array(answer)
    if answer.dtype.kind in _TEXT_KINDS:
        texts = answer.tolist()
        if all(type(text) is str for text in texts) and not any(
            text.strip().lower() in MISSING_VALUE_TEXTS for text in set(texts)
        ):
            return pa.array(texts, type=pa.string())
    return None
