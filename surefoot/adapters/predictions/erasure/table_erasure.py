"""Rewrite the Parquet tables of a prediction log without given requests."""

from pathlib import Path

import duckdb

from surefoot.adapters.predictions.erasure.erasure_record import ErasureProgressReport, ErasureRecord
from surefoot.adapters.predictions.erasure.requests_to_erase import RequestsToErase, feature_text_sql
from surefoot.adapters.predictions.feature_columns import RECORD_COLUMNS_SQL, choose_features
from surefoot.adapters.predictions.feature_samples import sample_table_features
from surefoot.adapters.predictions.log_files import (
    FILE_KINDS,
    PART,
    PREDICTION_FILES,
    WHOLE,
    FileKind,
    list_current_log_files,
    quote_sql_string,
)
from surefoot.adapters.predictions.prediction_log import register_sql_functions
from surefoot.adapters.predictions.table_publication import (
    TableContents,
    TablePublisher,
    file_sha256,
    new_table_name,
    open_sorting_database,
    query_row,
    sync_path,
)


def erase_from_tables(folder: Path, scratch: Path, record: ErasureRecord, report: ErasureProgressReport) -> None:
    """Write each table that has an erased request again without it, under a new name that is noted beforehand.

    Args:
        folder: The log of the model, of which no compaction is running.
        scratch: Folder for what is not finished.
        record: What is erased.
        report: Is told how far it is.

    Raises:
        OSError: A table cannot be read or written.
        duckdb.Error: Likewise.
    """
    with open_sorting_database(scratch) as db:
        register_sql_functions(db)
        record.erased.register(db)
        tables = TablePublisher(db, folder, scratch)
        for kind in FILE_KINDS:
            tables.clear(kind)
            for new in [new for new in record.replaced.values() if new.startswith(f"{kind.name}-")]:
                if new not in record.digests and (folder / new).exists():  # a run was killed after it was written
                    record.settle(new, file_sha256(folder / new))
            found = list_current_log_files(folder, kind)[1]
            for done, path in enumerate(found):
                report(f"{kind.name} in tables", done, len(found))
                _erase_from(db, tables, path, kind, scratch, record)
            tables.clear(kind)
            report(f"{kind.name} in tables", len(found), len(found))


def _erase_from(
    db: duckdb.DuckDBPyConnection,
    tables: TablePublisher,
    path: Path,
    kind: FileKind,
    scratch: Path,
    record: ErasureRecord,
) -> None:
    source = f"read_parquet({quote_sql_string(str(path))})"
    matches = f"FROM {source} t JOIN erased e ON t.request = e.erased_request"
    found, held = query_row(db, f"SELECT count(*), count(new_request) {matches}")
    if not found:
        return
    record.count(f"{kind.name} in tables", path.name, found - held, held)
    (total,) = query_row(db, f"SELECT count(*) FROM {source}")  # noqa: S608 - same
    rows, ending = total - (found - held), WHOLE if path.name.endswith(WHOLE) else PART
    new = record.new_name(path.name, lambda: new_table_name(kind, ending) if rows else "")
    if not rows:
        path.unlink()
        sync_path(path.parent)
        return
    # Types are chosen from what is left: a name that only an erased row has must not stand in the footer.
    left = scratch / f"left-{path.name}"
    select = remaining_rows_sql(f"SELECT {RECORD_COLUMNS_SQL} FROM {source}", record.erased, set(kind.columns))  # noqa: S608 - same
    db.execute(f"COPY ({select}) TO {quote_sql_string(str(left))} (FORMAT parquet, COMPRESSION zstd)")
    features = choose_features(sample_table_features([left])) if kind is PREDICTION_FILES else ()
    contents = TableContents(f"SELECT * FROM read_parquet({quote_sql_string(str(left))})", rows, features)  # noqa: S608 - same
    made = tables.publish(kind, ending, [path], contents, new)
    left.unlink()
    record.settle(new, file_sha256(made))


def remaining_rows_sql(source: str, erased: RequestsToErase, columns: set[str]) -> str:
    """SQL of the rows of a query without those of erased requests, and with pseudonyms in those that are kept.

    Args:
        source: The query; the connection has the table `erased`.
        erased: What is erased.
        columns: Columns of the query.
    """
    spellings = "[" + ", ".join(quote_sql_string(text) for text in erased.spellings) + "]::VARCHAR[]"
    pseudonym = quote_sql_string(erased.pseudonym)
    replaced = ["coalesce(new_request, request) AS request"]
    if "unit" in columns:
        hit = f"new_request IS NOT NULL AND list_contains({spellings}, unit)"
        replaced.append(f"CASE WHEN {hit} THEN {pseudonym} ELSE unit END AS unit")
    if "features" in columns and erased.columns:
        replaced.append(f"{_features_sql(erased, spellings)} AS features")
    return f"""
        SELECT t.* REPLACE ({", ".join(replaced)}) FROM ({source}) t LEFT JOIN erased e ON t.request = e.erased_request
        WHERE erased_request IS NULL OR new_request IS NOT NULL
        """  # noqa: S608 - quoted


def _features_sql(erased: RequestsToErase, spellings: str) -> str:
    """SQL of the features of a row, with a pseudonym for the unit in the rows that are kept."""
    made = "features"
    for column in erased.columns:
        hit = (
            f"new_request IS NOT NULL AND json_type(features) = 'OBJECT'"
            f" AND list_contains({spellings}, canonical_text({feature_text_sql(column)}))"
        )
        patch = f"json_object({quote_sql_string(column)}, {quote_sql_string(erased.pseudonym)})"
        made = f"CASE WHEN {hit} THEN json_merge_patch({made}, {patch}) ELSE {made} END"
    return made
