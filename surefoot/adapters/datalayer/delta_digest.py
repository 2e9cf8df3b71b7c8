"""Compute a Delta Lake table's digest with DuckDB, as an independent check."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from surefoot.adapters.datalayer.delta_log import LoggedVersion
from surefoot.adapters.datalayer.row_digest import digest_record_batches
from surefoot.core.errors import DataTampered, Rejected
from surefoot.core.tables.table_checkpoint import TableDigest

_BATCH_ROWS = 50_000
_TYPES = {
    "byte": "TINYINT",
    "short": "SMALLINT",
    "integer": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMPTZ",
    "timestamp_ntz": "TIMESTAMP",
}


def duckdb_delta_digest(table: Path, version: LoggedVersion) -> TableDigest:
    """Digest of the rows of one table version, read by DuckDB.

    Args:
        table: Folder of the table.
        version: What its log says of the version.

    Raises:
        Rejected: The version uses something that is not understood here.
        DataTampered: A data file cannot be read.
    """
    if version.configuration.get("delta.columnMapping.mode", "none") != "none":
        raise Rejected(f"{table} maps column names (delta.columnMapping.mode): the second reader does not")
    if any(one.masked for one in version.files):
        raise Rejected(
            f"version {version.number} of {table} has deletion vectors, which the second reader does not read:"
            " rewrite its files (REORG TABLE ... APPLY (PURGE)) or use 'on_rollback: correct'"
        )
    types = {str(one["name"]): _type(one["type"]) for one in version.schema["fields"]}
    empty = ", ".join(f"NULL::{kind} AS {_quoted(name)}" for name, kind in types.items())
    queries, parameters = [f"SELECT {empty} WHERE false"], {}
    groups: dict[tuple[tuple[str, str | None], ...], list[str]] = defaultdict(list)
    for one in version.files:
        groups[one.partition].append(str(table / one.path))
    for place, (partition, files) in enumerate(sorted(groups.items(), key=lambda item: item[1])):
        parameters[f"files{place}"] = files
        values = ""
        for number, (name, value) in enumerate(partition):
            parameters[f"value{place}_{number}"] = value or None  # type: ignore[assignment]
            values += f", CAST($value{place}_{number} AS {types[name]}) AS {_quoted(name)}"
        queries.append(
            f"SELECT *{values} FROM read_parquet($files{place}, union_by_name = true, hive_partitioning = false)"  # noqa: S608 - names are quoted
        )
    try:
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            found = connection.sql(" UNION ALL BY NAME ".join(queries), params=parameters)
            return digest_record_batches(found.to_arrow_reader(_BATCH_ROWS))
    except (duckdb.Error, pa.ArrowException) as error:
        raise DataTampered(f"DuckDB cannot read the table: {' '.join(str(error).split())[:200]}") from error


def _type(kind: Any) -> str:
    """DuckDB's name of a type of the log.

    Raises:
        Rejected: The type is not known here.
    """
    if isinstance(kind, Mapping) and kind["type"] == "array":
        return f"{_type(kind['elementType'])}[]"
    if isinstance(kind, Mapping) and kind["type"] == "map":
        return f"MAP({_type(kind['keyType'])}, {_type(kind['valueType'])})"
    if isinstance(kind, Mapping) and kind["type"] == "struct":
        inner = (f"{_quoted(one['name'])} {_type(one['type'])}" for one in kind["fields"])
        return f"STRUCT({', '.join(inner)})"
    if isinstance(kind, str) and kind.startswith("decimal("):
        return kind.upper()
    if isinstance(kind, str) and kind in _TYPES:
        return _TYPES[kind]
    raise Rejected(f"a column of type {kind} is not read by the second reader")


def _quoted(name: object) -> str:
    return '"' + str(name).replace('"', '""') + '"'
