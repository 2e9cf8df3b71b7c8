"""Compute the digest of a table's Parquet files with Arrow or DuckDB, to check a restored copy."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from surefoot.adapters.datalayer.row_digest import digest_record_batches
from surefoot.core.errors import DataTampered
from surefoot.core.tables.table_checkpoint import TableDigest

_BATCH_ROWS = 50_000


def arrow_digest(files: Sequence[Path]) -> TableDigest:
    """Digest of the rows of Parquet files, read by pyarrow.

    Raises:
        DataTampered: A file is no Parquet file.
    """
    if not files:
        return digest_record_batches(pa.RecordBatchReader.from_batches(pa.schema([]), []))
    try:
        schema = pa.unify_schemas([pq.read_schema(file) for file in files], promote_options="default")
        found = ds.dataset([str(file) for file in files], schema=schema.remove_metadata(), format="parquet")
        scanner = found.scanner(batch_size=_BATCH_ROWS)
        return digest_record_batches(scanner.to_reader())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataTampered(f"pyarrow cannot read the table: {_line(error)}") from error


def duckdb_digest(files: Sequence[Path]) -> TableDigest:
    """Digest of the rows of Parquet files, read by DuckDB.

    Raises:
        DataTampered: A file is no Parquet file.
    """
    if not files:
        return digest_record_batches(pa.RecordBatchReader.from_batches(pa.schema([]), []))
    try:
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            found = connection.sql(
                "SELECT * FROM read_parquet($files, union_by_name = true, hive_partitioning = false)",
                params={"files": [str(file) for file in files]},
            )
            return digest_record_batches(found.to_arrow_reader(_BATCH_ROWS))
    except (duckdb.Error, pa.ArrowException) as error:
        raise DataTampered(f"DuckDB cannot read the table: {_line(error)}") from error


def check_restored_copy(expected: TableDigest, found: TableDigest, name: str) -> None:
    """Compare the digest of a restored scratch copy with the checkpoint's, and raise where they differ.

    Raises:
        DataTampered: It finds other rows, another schema or another digest.
    """
    if found.rows != expected.rows:
        raise DataTampered(f"the scratch copy has {found.rows} rows by {name}, the checkpoint {expected.rows}")
    if found.schema != expected.schema:
        raise DataTampered(f"the scratch copy has other columns by {name} than the checkpoint")
    if found.digest != expected.digest:
        raise DataTampered(f"the scratch copy has other values by {name} than the checkpoint")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
