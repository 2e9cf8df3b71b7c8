"""Read the features of chosen rows from a compacted prediction-log file."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from surefoot.adapters.feature_tables.typed_column_reader import TypedColumnReader
from surefoot.adapters.predictions.feature_columns import Feature, FeatureKind
from surefoot.models.model_protocols import TableColumn


class CompactedFeatures:
    """Features of the rows of one table, by their numbers in it, from any thread."""

    def __init__(self, parquet: Path) -> None:
        """Open the table.

        Raises:
            OSError: It cannot be read.
        """
        self._features = TypedColumnReader(parquet)
        self._lock = threading.Lock()

    @property
    def has_typed_columns(self) -> bool:
        """Whether the table has typed columns."""
        return bool(self._features.features)

    def close(self) -> None:
        """Close the table."""
        with self._lock:
            self._features.close()

    def typed_rows(
        self, number: NDArray[np.int64], columns: Sequence[TableColumn]
    ) -> tuple[pa.Table, NDArray[np.intp]] | None:
        """Give the rows that fit some columns, and their places among the wanted ones; None without typed columns."""
        first, end = int(number[0]), int(number[-1]) + 1
        with self._lock:
            found = self._features.read_rows(first, end, columns)
        if found is None or len(number) == end - first:
            return found
        table, fits = found
        places = np.searchsorted(number, fits + first)
        wanted = number[np.minimum(places, len(number) - 1)] == fits + first
        return table.filter(pa.array(wanted)), places[wanted]

    def json_texts(self, number: NDArray[np.int64]) -> pa.Array:
        """Give the features of some rows as JSON."""
        with self._lock:
            texts = self._features.read_json(int(number[0]), int(number[-1]) + 1)
        return _some(texts, number)

    def feature_as_json(self, number: NDArray[np.int64], name: str) -> pa.Array | None:
        """Give one feature of some rows as JSON texts, null where it is missing; None where no column has it of all."""
        feature = self._features.find_feature(name)
        if feature is None or feature.column is None:
            return None
        with self._lock:
            found = self._features.read_column(int(number[0]), int(number[-1]) + 1, feature)
        return None if found is None else _json_texts(_some(found, number), feature)


def open_compacted_features(parquet: Path) -> CompactedFeatures | None:
    """Open a table; None where it has no typed columns, or is gone: who reads the log will see that.

    Raises:
        OSError: It cannot be read.
    """
    try:
        made = CompactedFeatures(parquet)
    except FileNotFoundError:
        return None
    if made.has_typed_columns:
        return made
    made.close()
    return None


def _some(column: pa.Array, number: NDArray[np.int64]) -> pa.Array:
    """Rows of a range."""
    return column if len(column) == len(number) else column.take(pa.array(number - int(number[0])))


def _json_texts(column: pa.Array, feature: Feature) -> pa.Array:
    """A typed column as JSON; texts as a dictionary, of which each is written once."""
    if feature.kind is not FeatureKind.TEXT:
        return encode_numbers_as_json(column) if pa.types.is_floating(column.type) else column.cast(pa.string())
    coded = column.dictionary_encode()
    written = pa.array([orjson.dumps(text).decode() for text in coded.dictionary.to_pylist()], type=pa.string())
    return pa.DictionaryArray.from_arrays(coded.indices, written)


def encode_numbers_as_json(column: pa.Array) -> pa.Array:
    """Numbers as JSON texts that are read as numbers with a fraction again, even where it is nought."""
    texts = column.cast(pa.string())
    return pc.if_else(pc.match_substring_regex(texts, "[.e]"), texts, pc.binary_join_element_wise(texts, ".0", ""))
