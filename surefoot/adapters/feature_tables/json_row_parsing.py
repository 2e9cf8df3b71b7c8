"""Parse logged JSON rows into Arrow columns with a model's input types."""

import contextlib
import json
import math
from collections.abc import Sequence

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from numpy.typing import NDArray

from surefoot.models.model_protocols import TableColumn

MIN_PARSED_ROWS = 64
"""A part with a row that cannot be parsed is split until it is as small; then its rows are looked at alone [count]."""
_SPLIT_PARTS = 8
"""Parts that it is split into each time [count]."""
_MAX_PARSED_BYTES = 1 << 30
"""Larger parts are split as well [bytes]."""
_TYPES = {
    "double": pa.float64(),
    "float": pa.float64(),
    "long": pa.int64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
}
_INTEGER_END = 2**31
_LONG_END = 2**63
_FLOAT_END = float(np.finfo(np.float32).max)


def build_model_input_schema(columns: Sequence[TableColumn]) -> pa.Schema:
    """Give the schema of the tables with some columns."""
    return pa.schema([(c.name, _TYPES.get(c.kind, pa.string())) for c in columns])


def parse_json_rows(rows: pa.Array, columns: Sequence[TableColumn]) -> tuple[pa.Table, NDArray[np.intp]]:
    """Read rows that a model would be fed as they are written.

    Args:
        rows: JSON of each row, shape (n,).
        columns: Columns of the table.

    Returns:
        The table of the rows that fit, and their places among all, in order, shape (m,). A row fits where it is an
        object with every required column, and each value has the JSON type of its column, or is null where the column
        has a missing value. Other columns of the row are ignored, as the model ignores them. Whether a row fits does
        not depend on the other rows.
    """
    schema = build_model_input_schema(columns)
    objects = np.flatnonzero(pc.fill_null(pc.starts_with(rows, "{"), fill_value=False).to_numpy(zero_copy_only=False))
    tables: list[pa.Table] = []
    places: list[NDArray[np.intp]] = []
    waiting = [objects]
    while waiting:
        part = waiting.pop()
        if not len(part):
            continue
        found = _parse(rows if len(part) == len(rows) else rows.take(pa.array(part)), schema)
        if found is not None:
            tables.append(found)
            places.append(part)
        elif len(part) > MIN_PARSED_ROWS:
            waiting += list(np.array_split(part, _SPLIT_PARTS))[::-1]
        elif len(part) > 1:
            good = np.array([place for place in part if _is_typed(rows[int(place)].as_py(), schema)], dtype=np.intp)
            waiting += [good] if len(good) < len(part) else list(part[::-1, np.newaxis])
    if not tables:
        return schema.empty_table(), objects[:0]
    table, place = pa.concat_tables(tables), np.concatenate(places)
    fits, unsure = rows_within_type_ranges(table, columns)
    required = {column.name for column in columns if column.required}
    for index in np.flatnonzero(unsure & fits):  # null was written, or the column is not there
        fits[index] = required <= _keys(rows[int(place[index])].as_py())
    return (table, place) if fits.all() else (table.filter(pa.array(fits)), place[fits])


def rows_within_type_ranges(
    table: pa.Table, columns: Sequence[TableColumn]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which rows have values within the ranges of their types, and which lack one that must at least be null.

    Args:
        table: Values in the types of `build_model_input_schema`, shape (m,).
        columns: Its columns.

    Returns:
        Two flags a row, each of shape (m,); rows of the second kind fit if their JSON has all required columns.
    """
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
    return fits, unsure


def _parse(rows: pa.Array, schema: pa.Schema) -> pa.Table | None:
    """Parse rows at once; None where some value has another type than its column."""
    if rows.nbytes > _MAX_PARSED_BYTES:
        return None
    body = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows), "\n")[0].as_buffer()
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(body),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=body.size + 1),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    return table if table.num_rows == len(rows) else None


def _keys(row: str) -> set[str]:
    """Give the keys of a row; none where it is nested too deeply to be read."""
    try:
        return set(orjson.loads(row))
    except orjson.JSONDecodeError:
        with contextlib.suppress(RecursionError):
            return set(json.loads(row))  # which reads NaN and infinities as well
    return set()


def _is_typed(row: str, schema: pa.Schema) -> bool:
    """Tell whether a row has each column once at most, with a value of its type or null; else `_parse` has no way."""
    try:
        items = json.loads(row, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return False
    names = [name for name, _ in items if name in schema.names]
    return len(set(names)) == len(names) and all(
        value is None or _is_of(value, schema.field(name).type) for name, value in items if name in schema.names
    )


def _is_of(value: object, type_: pa.DataType) -> bool:
    """Tell whether a JSON value can stand in a column of a type."""
    if pa.types.is_boolean(type_):
        return isinstance(value, bool)
    if pa.types.is_string(type_):
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if pa.types.is_integer(type_):
        return isinstance(value, int) and -_LONG_END <= value < _LONG_END
    return isinstance(value, int) or math.isfinite(value)


def _within(values: pa.ChunkedArray, least: float, most: float) -> NDArray[np.bool_]:
    """Tell which values are within a range, or null, shape (m,)."""
    inside = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))
    return np.asarray(pc.fill_null(inside, fill_value=True).to_numpy())
