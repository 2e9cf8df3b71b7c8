"""Read typed columns of a compacted log file, in a model's input types."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from surefoot.adapters.feature_tables.json_row_parsing import (
    build_model_input_schema,
    parse_json_rows,
    rows_within_type_ranges,
)
from surefoot.adapters.predictions.feature_columns import (
    FEATURE_PRESENT_COLUMN,
    Feature,
    FeatureKind,
    decode_features_footer,
)
from surefoot.adapters.predictions.feature_samples import parquet_errors_as_os_errors
from surefoot.models.model_protocols import TableColumn

_NUMBERS = frozenset({FeatureKind.NUMBER, FeatureKind.INTEGER})
_READABLE = {
    "double": _NUMBERS,
    "float": _NUMBERS,
    "long": frozenset({FeatureKind.INTEGER}),
    "integer": frozenset({FeatureKind.INTEGER}),
    "boolean": frozenset({FeatureKind.BOOLEAN}),
}
_TEXTS = frozenset({FeatureKind.TEXT})
_JSON = "features"


class TypedColumnReader:
    """An open Parquet file of the prediction log, which may have typed columns.

    Consecutive ranges read each row group once. Not safe for use by several threads at the same time.

    Attributes:
        features: Features of the table; empty where it has no typed columns.
    """

    def __init__(self, parquet: Path) -> None:
        """Open a table.

        Raises:
            OSError: It cannot be read.
        """
        self._path = parquet
        with parquet_errors_as_os_errors(parquet):
            self._file = pq.ParquetFile(parquet)
        self.features = decode_features_footer(self._file.metadata.metadata)
        self._place = {feature.name: place for place, feature in enumerate(self.features)}
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._ends = np.cumsum([0, *sizes])
        self._held: dict[tuple[str, ...], tuple[int, pa.Table]] = {}

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._held.clear()

    def read_rows(
        self, first: int, end: int, columns: Sequence[TableColumn]
    ) -> tuple[pa.Table, NDArray[np.intp]] | None:
        """Give what `parse_json_rows` gives for the JSON of some rows.

        Args:
            first: Place of the first row in the table.
            end: Place after the last one.
            columns: Columns of the result.

        Returns:
            The table of the rows that fit, and their places among these, in order; None where the table has no typed
            columns.

        Raises:
            OSError: The file cannot be read.
        """
        if not self.features:
            return None
        if first >= end:
            return build_model_input_schema(columns).empty_table(), np.zeros(0, dtype=np.intp)
        wanted = [self._source(column) for column in columns]
        if not all(readable for _, readable in wanted):
            return parse_json_rows(self.read_json(first, end), columns)
        stored = [feature.column for feature, _ in wanted if feature is not None and feature.column]
        found = self._rows(first, end, (FEATURE_PRESENT_COLUMN, *stored))
        present = found.column(FEATURE_PRESENT_COLUMN)
        typed = present.is_valid().to_numpy()
        places = np.flatnonzero(typed)
        some = found if len(places) == found.num_rows else found.filter(pa.array(typed))
        table, fits = self._typed(some, columns, wanted)
        if not fits.all():
            table, places = table.filter(pa.array(fits)), places[fits]
        if typed.all():
            return table, places
        rest = np.flatnonzero(~typed)
        others, fitting = parse_json_rows(self.read_json(first, end).take(pa.array(rest)), columns)
        every = np.concatenate([places, rest[fitting]])
        order = np.argsort(every, kind="stable")
        return pa.concat_tables([table, others]).take(pa.array(order)), every[order]

    def _source(self, column: TableColumn) -> tuple[Feature | None, bool]:
        """Give the feature of a column, None where no typed row has it, and whether typed columns hold its values."""
        place = self._place.get(column.name)
        if place is None:
            return None, True
        feature = self.features[place]
        kinds = _READABLE.get(column.kind, _TEXTS)
        return feature, feature.kind in kinds or feature.kind is FeatureKind.NULL

    def _typed(
        self, rows: pa.Table, columns: Sequence[TableColumn], wanted: Sequence[tuple[Feature | None, bool]]
    ) -> tuple[pa.Table, NDArray[np.bool_]]:
        """Give the columns of rows that are in columns, and which of the rows fit."""
        schema = build_model_input_schema(columns)
        arrays = []
        for field, (feature, _) in zip(schema, wanted, strict=True):
            if feature is None or feature.column is None:
                arrays.append(pa.chunked_array([pa.nulls(rows.num_rows, field.type)]))
            else:
                arrays.append(rows.column(feature.column).cast(field.type, safe=False))
        table = pa.table(arrays, schema=schema)
        fits, unsure = rows_within_type_ranges(table, columns)
        if unsure.any():
            required = [self._place.get(column.name) for column in columns if column.required]
            if None in required:
                fits &= ~unsure
            else:
                fits &= ~unsure | self._has(
                    rows.column(FEATURE_PRESENT_COLUMN), [place for place in required if place is not None]
                )
        return table, fits

    def _has(self, present: pa.ChunkedArray, places: Sequence[int]) -> NDArray[np.bool_]:
        """Tell which rows have all of some features, null or not; few sets of features come in many rows."""
        coded = present.combine_chunks().dictionary_encode()
        sets = np.array(
            [
                np.unpackbits(np.frombuffer(bits, dtype=np.uint8))[list(places)].all()
                for bits in coded.dictionary.to_pylist()
            ],
            dtype=bool,
        )
        return np.asarray(sets[coded.indices.to_numpy()])

    def find_feature(self, name: str) -> Feature | None:
        """Give a feature by its name; None where no row in columns has it."""
        place = self._place.get(name)
        return None if place is None else self.features[place]

    def read_column(self, first: int, end: int, feature: Feature) -> pa.Array | None:
        """Give the typed column of a feature, null where a row lacks it; None where a row of the range is only JSON."""
        found = self._rows(first, end, (FEATURE_PRESENT_COLUMN, str(feature.column)))
        return None if found.column(0).null_count else found.column(1).combine_chunks()

    def read_json(self, first: int, end: int) -> pa.Array:
        """Give the JSON of a range of rows."""
        return self._rows(first, end, (_JSON,)).column(_JSON).combine_chunks().cast(pa.string())

    def _rows(self, first: int, end: int, names: tuple[str, ...]) -> pa.Table:
        """Read some columns of a range of rows."""
        groups = range(
            int(np.searchsorted(self._ends, first, side="right")) - 1,
            int(np.searchsorted(self._ends, end, side="left")),
        )
        parts = []
        for group in groups:
            start = int(self._ends[group])
            table = self._group(group, names)
            parts.append(table.slice(max(0, first - start), end - max(first, start)))
        return pa.concat_tables(parts)

    def _group(self, group: int, names: tuple[str, ...]) -> pa.Table:
        """Read some columns of one row group, or give once more what was read last."""
        held, table = self._held.get(names, (-1, None))
        if held != group:
            with parquet_errors_as_os_errors(self._path):
                table = self._file.read_row_group(group, columns=list(names), use_threads=False)
            self._held[names] = (group, table)
        return table
