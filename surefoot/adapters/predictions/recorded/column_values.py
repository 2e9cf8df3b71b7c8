"""Convert an Arrow column of recorded requests to a NumPy array or a list of values."""

from typing import Any

import numpy as np


def arrow_column_values(column: Any) -> Any:
    """Convert a numeric Arrow column to a float array, and any other one to a list."""
    import pyarrow as pa  # noqa: PLC0415 - only who backtests needs it

    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    return column.to_pylist()
