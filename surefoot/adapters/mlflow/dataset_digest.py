"""Compute the digest of a whole data set, beyond MLflow's first 10,000 rows."""

import datetime as dt
import decimal
import hashlib
import json
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.core.errors import Rejected

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_SCALARS = (bool, int, float, complex, decimal.Decimal, dt.date, dt.time, dt.timedelta, uuid.UUID)
_WIDEST = 8  # an 80-bit float carries padding bytes that differ from run to run [bytes]


def data_frame_digest(frame: "DataFrame") -> str:
    """Digest every row and column of a table, with the columns' names and types.

    The order of rows and of columns counts; the index does not. A null is a null, whichever way it
    is written (None, NaN, NaT, NA), and differs from every value.

    Returns:
        "sha256:" and 64 hex digits.

    Raises:
        Rejected: A column holds values that have no canonical form, for example objects of a class of yours.
    """
    hasher = hashlib.sha256()
    heads = [[str(name), str(dtype)] for name, dtype in zip(frame.columns, frame.dtypes, strict=True)]
    hasher.update(json.dumps([len(frame), heads], ensure_ascii=True).encode())
    for place, (name, _) in enumerate(heads):
        column = frame.iloc[:, place]
        nulls = column.isna().to_numpy(dtype=bool)
        hasher.update(np.packbits(nulls).tobytes())
        for part in _parts(column, nulls, name):
            hasher.update(part)
    return "sha256:" + hasher.hexdigest()


def _parts(column: "Series[Any]", nulls: np.ndarray, name: str) -> Iterable[bytes]:
    kind, width = column.dtype.kind, getattr(column.dtype, "itemsize", _WIDEST)
    if kind in "iufb" and width <= _WIDEST:
        fixed: Any = np.dtype(bool) if kind == "b" else np.dtype(f"<{kind}{width}")
        # The null mask is digested already; here every null becomes the same bytes.
        values = column.to_numpy(dtype=fixed, na_value=fixed.type(0)) if nulls.any() else column.to_numpy(dtype=fixed)
        return [np.ascontiguousarray(values).tobytes()]
    if hasattr(column.dtype, "tz"):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)  # the zone is digested as part of the type
    if kind in "mM" and isinstance(column.dtype, np.dtype):
        return [column.to_numpy().astype("<i8").tobytes()]
    texts = [b"" if null else _bytes(value, name) for value, null in zip(column, nulls, strict=True)]
    # Lengths first: otherwise ("ab", "c") and ("a", "bc") would be the same bytes.
    lengths = np.fromiter(map(len, texts), dtype="<i8", count=len(texts))
    return [lengths.tobytes(), b"".join(texts)]


def _bytes(value: object, name: str) -> bytes:
    if isinstance(value, str):
        return b"s" + value.encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray)):
        return b"b" + value
    if value is None:
        return b"n"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _SCALARS):
        # A timestamp of pandas prints its nanoseconds, a float its shortest exact form.
        return f"v{type(value).__name__}:{value!s}".encode()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return b"l" + _framed(value, name)
    if isinstance(value, dict):
        return b"d" + _framed([part for key in sorted(value, key=str) for part in (key, value[key])], name)
    raise Rejected(f"column {name} holds a {type(value).__name__}, which has no canonical form: turn it into text")


def _framed(values: Iterable[object], name: str) -> bytes:
    return b"".join(len(part).to_bytes(8, "little") + part for part in (_bytes(value, name) for value in values))
