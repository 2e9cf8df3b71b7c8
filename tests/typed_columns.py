"""Read one range of a compacted table, for tests that look at one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from surefoot.adapters.feature_tables.typed_column_reader import TypedColumnReader
from surefoot.models.model_protocols import TableColumn


def read_typed_features(
    parquet: Path, first: int, end: int, columns: Sequence[TableColumn]
) -> tuple[pa.Table, NDArray[np.intp]] | None:
    """Open a table for one range of rows."""
    with TypedColumnReader(parquet) as features:
        return features.read_rows(first, end, columns)
