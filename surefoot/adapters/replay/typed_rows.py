"""Read logged rows into Arrow columns of the types that a model declares; rows that do not fit are left for later."""

import io
from collections.abc import Sequence

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from numpy.typing import NDArray

from surefoot.models.predictor import TableColumn

MIN_PARSED_ROWS = 64
"""A part with a row that does not fit is split until it is as small, and then left out of the table [count]."""
_SPLIT_PARTS = 8
"""Parts that it is split into each time [count]."""
_TYPES = {
    "double": pa.float64(),
    "float": pa.float64(),
    "long": pa.int64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
}
_INTEGER_END = 2**31
_FLOAT_END = float(np.finfo(np.float32).max)


def read_typed_rows(rows: pa.Array, columns: Sequence[TableColumn]) -> tuple[pa.Table, NDArray[np.intp]]:
    """Read rows that a model would be fed as they are written.

    Args:
        rows: JSON of each row, shape (n,).
        columns: Columns of the table.

    Returns:
        The table of the rows that fit, and their places among all, in order, shape (m,). A row fits where it is an
        object with every required column, and each value has the JSON type of its column, or is null where the column
        has a missing value. Other columns of the row are ignored, as the model ignores them.
    """
    schema = pa.schema([(c.name, _TYPES.get(c.kind, pa.string())) for c in columns])
    objects = np.flatnonzero(pc.fill_null(pc.starts_with(rows, "{"), fill_value=False).to_numpy(zero_copy_only=False))
    tables: list[pa.Table] = []
    places: list[NDArray[np.intp]] = []
    waiting = [objects]
    while waiting:
        part = waiting.pop()
        if not len(part):
            continue
        table = _parse(rows.take(pa.array(part)), schema)
        if table is None:
            if len(part) > MIN_PARSED_ROWS:
                waiting += list(np.array_split(part, _SPLIT_PARTS))[::-1]
            continue
        tables.append(table)
        places.append(part)
    if not tables:
        return schema.empty_table(), objects[:0]
    table, place = pa.concat_tables(tables), np.concatenate(places)
    fits = _fits(table, columns, rows, place)
    return (table, place) if fits.all() else (table.filter(pa.array(fits)), place[fits])


def _parse(rows: pa.Array, schema: pa.Schema) -> pa.Table | None:
    """Parse rows at once; None where some value has another type than its column."""
    body = "\n".join(rows.to_pylist()).encode()
    try:
        table = pyarrow.json.read_json(
            io.BytesIO(body),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(body) + 1),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    return table if table.num_rows == len(rows) else None


def _fits(
    table: pa.Table, columns: Sequence[TableColumn], rows: pa.Array, place: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Tell which rows have all values that must be there, within the ranges of their types, shape (m,)."""
    fits = np.ones(table.num_rows, dtype=bool)
    unsure = np.zeros(table.num_rows, dtype=bool)
    for column in columns:
        values = table.column(column.name)
        absent = pc.is_null(values).to_numpy() if values.null_count else np.zeros(0, dtype=bool)
        if column.kind in {"long", "integer"} and len(absent):
            fits &= ~absent
        elif column.required and len(absent):
            unsure |= absent
        if column.kind == "integer":
            fits &= _within(values, -_INTEGER_END, _INTEGER_END - 1)
        if column.kind == "float":
            fits &= _within(values, -_FLOAT_END, _FLOAT_END)
        if column.kind == "double":
            fits &= _within(values, -np.finfo(np.float64).max, np.finfo(np.float64).max)
    required = {column.name for column in columns if column.required}
    for index in np.flatnonzero(unsure & fits):  # null was written, or the column is not there
        fits[index] = required <= orjson.loads(rows[int(place[index])].as_py()).keys()
    return fits


def _within(values: pa.ChunkedArray, least: float, most: float) -> NDArray[np.bool_]:
    """Tell which values are within a range, or null, shape (m,)."""
    inside = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))
    return np.asarray(pc.fill_null(inside, fill_value=True).to_numpy())
