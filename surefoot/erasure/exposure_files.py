"""Find and erase requests in exposure files, which list the requests that a rolled-back version answered."""

import secrets
from collections.abc import Sequence
from pathlib import Path

import duckdb

from surefoot.adapters.predictions.erasure.erasure_record import ErasureProgressReport, ErasureRecord
from surefoot.adapters.predictions.erasure.table_erasure import remaining_rows_sql
from surefoot.adapters.predictions.log_files import quote_sql_string
from surefoot.adapters.predictions.table_publication import file_sha256, query_row, sync_path
from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.naming.model_names import model_file_name

_FOLDERS = {"exposure": "exposure lists", "corrections": "corrected answers"}
"""Folders of tables with a row a request, and what they are called."""


def _tables(home: Path, model: str) -> list[tuple[str, Path]]:
    name = model_file_name(model)
    return [
        (place, path) for folder, place in _FOLDERS.items() for path in sorted((home / folder / name).glob("*.parquet"))
    ]


def find_exposed_requests(home: Path, model: str, spellings: Sequence[str], named: Sequence[str]) -> dict[str, float]:
    """Requests of a unit, and named ones, in these tables, which last longer than the log.

    Args:
        home: The state folder.
        model: Registered model.
        spellings: How the unit may stand in records.
        named: Further requests.

    Returns:
        When each was received [Unix seconds], by request id.

    Raises:
        EvidenceUnavailable: A table cannot be read.
    """
    found: dict[str, float] = {}
    try:
        with duckdb.connect() as db:
            for _, path in _tables(home, model):
                sql = f"""SELECT request, min("at") FROM read_parquet({quote_sql_string(str(path))})
                    WHERE list_contains($1, unit) OR list_contains($2, request) GROUP BY 1"""  # noqa: S608 - our own file
                for request, at in db.execute(sql, [list(spellings), list(named)]).fetchall():
                    found[str(request)] = min(float(at), found.get(str(request), float("inf")))
    except (duckdb.Error, OSError) as error:
        raise EvidenceUnavailable(f"the lists of exposed requests of {model} cannot be read: {error}") from error
    return found


def erase_from_exposure_files(home: Path, model: str, record: ErasureRecord, report: ErasureProgressReport) -> None:
    """Write each of these tables that has an erased request again without it, in its place.

    Args:
        home: The state folder.
        model: Registered model.
        record: What is erased.
        report: Is told how far it is.

    Raises:
        EvidenceUnavailable: A table cannot be read or written.
    """
    found = _tables(home, model)
    try:
        with duckdb.connect() as db:
            db.execute("SET threads = 1")
            record.erased.register(db)
            for done, (place, path) in enumerate(found):
                report(place, done, len(found))
                _erase_from(db, place, path, str(path.relative_to(home)), record)
    except (duckdb.Error, OSError) as error:
        raise EvidenceUnavailable(f"a table of {model} is not erased yet, repeat the command: {error}") from error


def _erase_from(db: duckdb.DuckDBPyConnection, place: str, path: Path, name: str, record: ErasureRecord) -> None:
    source = f"SELECT * FROM read_parquet({quote_sql_string(str(path))})"  # noqa: S608 - our own file
    matches = f"FROM ({source}) t JOIN erased e ON t.request = e.erased_request"
    found, held = query_row(db, f"SELECT count(*), count(new_request) {matches}")
    if not found:
        if name in record.replaced and name not in record.digests:  # a run was killed after it was written
            record.settle(name, file_sha256(path))
        return
    record.count(place, name, found - held, held)
    record.new_name(name, lambda: name)
    fresh = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        select = remaining_rows_sql(source, record.erased, {"unit"})
        db.execute(f"COPY ({select}) TO {quote_sql_string(str(fresh))} (FORMAT parquet, COMPRESSION zstd)")
        fresh.chmod(0o640)  # as the log: what a version answered is as private as what it was asked
        sync_path(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    record.settle(name, file_sha256(path))
