"""Compute a digest of a table's rows that does not depend on their order."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from surefoot.core.tables.table_checkpoint import TableDigest

_MODULUS = 1 << 256
_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Units of a time stamp [ns]."""


@dataclass
class RowDigest:
    """The digest of a table, one row after another; memory does not grow with their number.

    Each row is hashed by itself and the hashes are added up, so the order of rows and files does not matter, and a
    row that is there twice counts twice.

    Attributes:
        columns: Name and type of each column.
    """

    columns: Mapping[str, str]
    _rows: int = 0
    _sum: int = 0
    _order: list[str] = field(default_factory=list)

    def add(self, rows: Iterable[Sequence[object]]) -> None:
        """Add rows whose values are plain Python values, in the order of the sorted names of the columns."""
        for row in rows:
            found = hashlib.blake2b(repr(tuple(row)).encode("utf-8", "surrogatepass"), digest_size=32).digest()
            self._sum = (self._sum + int.from_bytes(found)) % _MODULUS
            self._rows += 1

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Add the rows of an Arrow batch."""
        names = sorted(self.columns)
        self.add(zip(*(_arrow_values(batch.column(name)) for name in names), strict=True) if names else ())

    def finish(self) -> TableDigest:
        """The digest of everything that was added."""
        schema = hashlib.sha256(json.dumps(sorted(self.columns.items())).encode()).hexdigest()
        whole = f"{schema} {self._rows} {self._sum:064x}".encode()
        return TableDigest(self._rows, f"sha256:{hashlib.sha256(whole).hexdigest()}", f"sha256:{schema}")


def digest_record_batches(reader: pa.RecordBatchReader) -> TableDigest:
    """Digest of all rows that an Arrow record-batch reader returns."""
    found = RowDigest(_canonical_column_types(reader.schema))
    for batch in reader:
        found.add_batch(batch)
    return found.finish()


def _canonical_column_types(schema: pa.Schema) -> dict[str, str]:
    """Names and types of columns, in words that do not depend on who has read them."""
    return {item.name: _type_name(item.type) for item in schema}


def _type_name(kind: pa.DataType) -> str:
    """What a type holds: readers choose different encodings and units for the same values."""
    if pa.types.is_dictionary(kind):
        return _type_name(kind.value_type)
    if _is_text(kind):
        return "string"
    if _is_binary(kind):
        return "binary"
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamp with time zone"
    if pa.types.is_date(kind):
        return "date"
    if pa.types.is_time(kind):
        return "time"
    if pa.types.is_map(kind):
        return f"map<{_type_name(kind.key_type)}, {_type_name(kind.item_type)}>"
    if pa.types.is_struct(kind):
        inner = ", ".join(f"{item.name}: {_type_name(item.type)}" for item in kind)
        return f"struct<{inner}>"
    if _is_list(kind):
        return f"list<{_type_name(kind.value_type)}>"
    return str(kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    found = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return bool(found or pa.types.is_fixed_size_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    found = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(found or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _arrow_values(values: pa.Array) -> list[object]:
    """The values of a column, equal for equal contents whatever their encoding."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        scale = _UNIT_NS[kind.unit]
        return [None if one is None else one * scale for one in values.cast(pa.int64()).to_pylist()]
    if pa.types.is_date32(kind):
        found: list[object] = values.cast(pa.int32()).to_pylist()
        return found
    if pa.types.is_struct(kind) or _is_list(kind) or pa.types.is_map(kind):
        return [canonical_value(one) for one in values.to_pylist()]
    plain: list[object] = values.to_pylist()
    return plain


def canonical_value(value: Any) -> object:
    """A value as a Python value whose text is the same wherever it was read."""
    match value:
        case None | bool() | int() | float() | str() | bytes() | Decimal():
            return value
        case memoryview() | bytearray():
            return bytes(value)
        case datetime():
            if value.tzinfo is None:
                return f"{value.isoformat()}"
            return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value / timedelta(microseconds=1)
        case UUID():
            return str(value)
        case Mapping():
            return tuple((str(key), canonical_value(one)) for key, one in sorted(value.items()))
        case list() | tuple():
            return tuple(canonical_value(one) for one in value)
        case _:
            return repr(value)
